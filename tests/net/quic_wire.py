"""QUIC on the wire: what datagrams are, how many a host's kernel has got, and a client that gets a new address."""

from __future__ import annotations

import contextlib
import struct
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.net.balancer import Balancer
from tests.net.inside import on
from tests.net.network import Namespace


@dataclass(frozen=True)
class Datagram:
    """One at a client's interface: whether it comes from a client, the VIP's port and the client's, and the payload."""

    up: bool
    port: int
    client_port: int
    payload: bytes

    @property
    def kinds(self) -> tuple[str, ...]:
        """What the packets in it are (RFC 9000, 12.2 and 17.2); those behind one that is cut are left out."""
        found, at = list[str](), 0
        while at < len(self.payload) and self.payload[at]:  # 0: padding
            kind, at = _packet(self.payload, at)
            found.append(kind)
        return tuple(found)


def _packet(data: bytes, at: int) -> tuple[str, int]:
    """The kind of the packet at a place, and where it ends."""
    first, end = data[at], len(data)
    if not first & 0x80:
        return "1-RTT", end
    if data[at + 1 : at + 5] == bytes(4):
        return "version negotiation", end
    kind = ("initial", "0-RTT", "handshake", "retry")[first >> 4 & 3]
    if kind == "retry" or len(data) < at + 7:
        return kind, end
    at += 6 + data[at + 5]  # the first connection ID
    at += 1 + data[at]
    if kind == "initial":
        length, at = _number(data, at)
        at += length
    length, at = _number(data, at)
    return kind, at + length


def _number(data: bytes, at: int) -> tuple[int, int]:
    """An integer of variable length (RFC 9000, 16), and where it ends."""
    size = 1 << (data[at] >> 6)
    return int.from_bytes(data[at : at + size], "big") & (1 << 8 * size - 2) - 1, at + size


def parse(frame: bytes, ports: Collection[int]) -> Datagram:
    """The datagram in a frame, where the VIP has these ports."""
    header = 14 + (20 if frame[12:14] == b"\x08\x00" else 40)
    source, destination = struct.unpack_from("!HH", frame, header)
    up = destination in ports
    return Datagram(up, destination if up else source, source if up else destination, frame[header + 8 :])


def hellos(seen: Iterable[Datagram]) -> Counter[int]:
    """How many datagrams with the client's hello each client port has sent, after the first Retry if there was one.

    A server may send a Retry for each datagram of a hello; a client heeds the first one (RFC 9000, 17.2.5.2). They are
    the Initials until the server's handshake begins, for which it needs the whole hello. Before that it may acknowledge
    a part of it.
    """
    counted, retried, answered = Counter[int](), set[int](), set[int]()
    for each in seen:
        if not each.up and "handshake" in each.kinds:
            answered.add(each.client_port)
        elif not each.up and "retry" in each.kinds and each.client_port not in retried:
            retried.add(each.client_port)
            counted[each.client_port] = 0
        elif each.up and each.client_port not in answered and "initial" in each.kinds:
            counted[each.client_port] += 1
    return counted


@contextlib.contextmanager
def new_address(made: Balancer) -> Iterator[str]:
    """The client's address by the version of IP that is spoken is another one meanwhile."""
    address, router = ("10.1.0.3", "10.1.0.1") if made.family == 4 else ("fd00:1::3", "fd00:1::1")
    version = f"-{made.family}"
    made.client.run("ip", "address", "add", f"{address}/{24 if made.family == 4 else 64}", "dev", "eth0")
    made.client.run("ip", version, "route", "replace", "default", "via", router, "dev", "eth0", "src", address)
    try:
        yield address
    finally:
        made.client.run("ip", version, "route", "replace", "default", "via", router, "dev", "eth0")
        made.client.run("ip", "address", "del", f"{address}/{24 if made.family == 4 else 64}", "dev", "eth0")


def received(host: Namespace) -> int:
    """Datagrams that a host's kernel has got: for a program, in vain, or for no program."""
    with on(host):
        lines = Path("/proc/thread-self/net/snmp").read_text().splitlines()
        pairs = [line.split() for line in Path("/proc/thread-self/net/snmp6").read_text().splitlines()]
    names, values = (line.split()[1:] for line in lines if line.startswith("Udp: "))
    counted = dict(zip(names, values, strict=True))
    kinds = ("InDatagrams", "NoPorts", "InErrors")
    of_v6 = sum(int(value) for name, value in pairs if name in {f"Udp6{kind}" for kind in kinds})
    return sum(int(counted[kind]) for kind in kinds) + of_v6
