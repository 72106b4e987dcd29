"""One end of a TCP connection made packet by packet, so that a test can lie with it; the other end is a real socket.

It sits on an interface of the router between the hosts of `world`, with an address that nobody else answers for.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from ipaddress import ip_address

from portlb_app.net import packets
from portlb_app.net.packets import Segment
from tests.net.frames import ethernet, ip, tcp_segment
from tests.net.inside import on
from tests.net.network import ACK, PATIENCE, Namespace

MASK = 0xFFFFFFFF
"""Of a sequence number."""
QUIET = 0.3
"""Seconds without a packet that show that none comes."""


class Peer:
    """`port` is its own, `its_port` the other end's, on the wire; `seq` and `ack` are the numbers it sends next."""

    def __init__(
        self, router: Namespace, interface: str, host: Namespace, address: str, its_address: str, port: int = 0
    ) -> None:
        """Stand at the router's `interface`, which leads to `host`, as `address`."""
        with on(router):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self._socket.bind((interface, 0))
        mac = host.run("cat", "/sys/class/net/eth0/address").stdout.strip()
        self._head = bytes.fromhex(mac.replace(":", "")) + bytes.fromhex("020000000999")
        self.address, self.its_address = ip_address(address), ip_address(its_address)
        self.port, self.its_port = port, 0
        self.seq, self.ack = 100_000, 0

    @property
    def ack(self) -> int:
        """The next number expected; what is assigned may be beyond 32 bits."""
        return self._ack

    @ack.setter
    def ack(self, number: int) -> None:
        self._ack = number & MASK

    def close(self) -> None:
        """Send and hear nothing more."""
        self._socket.close()

    def send(
        self, flags: int, data: bytes = b"", options: bytes = b"", port: int | None = None,
        its_port: int | None = None, seq: int | None = None, ack: int | None = None,
    ) -> None:  # fmt: skip
        """Send one segment, with the numbers and ports given instead of those that are due."""
        segment = tcp_segment(
            self.address, self.its_address, port or self.port, its_port or self.its_port, flags,
            (self.seq if seq is None else seq) & MASK, (self.ack if ack is None else ack) & MASK, options, data,
        )  # fmt: skip
        self._socket.send(self._head + ethernet(ip(self.address, self.its_address, 6, segment))[12:])

    def hear(self, which: Callable[[Segment], object] = lambda _: True, patience: float = PATIENCE) -> Segment:
        """Return the next segment of this kind from the other end."""
        found = self.listen(which, patience)
        assert found is not None, "nothing of that kind came"
        return found

    def listen(self, which: Callable[[Segment], object] = lambda _: True, patience: float = QUIET) -> Segment | None:
        """Return the next segment of this kind, None if there is none for so long."""
        deadline = time.monotonic() + patience
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                frame, (_, _, kind, *_) = self._socket.recvfrom(65536)
            except TimeoutError:
                return None
            segment = packets.parse_tcp(frame)
            if kind == socket.PACKET_OUTGOING or segment is None:
                continue
            if (segment.source, segment.destination) == (self.its_address, self.address) and which(segment):
                return segment
        return None

    def forget(self) -> None:
        """Look only at what comes from now on."""
        while self.listen(patience=0.05):
            pass

    def say(self, data: bytes, flags: int = ACK, **where: int) -> None:
        """Send data and count it as sent."""
        self.send(flags, data, **where)
        self.seq += len(data)
