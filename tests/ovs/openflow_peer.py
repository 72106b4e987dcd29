"""A raw peer of the controller's OpenFlow port, for tests that say what no switch would."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import struct
import time
from collections.abc import Iterator

VERSION = 6
HELLO, ERROR, ECHO_REQUEST, ECHO_REPLY, EXPERIMENTER, FEATURES_REQUEST, FEATURES_REPLY = range(7)
PACKET_IN, PORT_STATUS, PACKET_OUT, MULTIPART_REQUEST, MULTIPART_REPLY = 10, 12, 13, 18, 19
BARRIER_REQUEST, BARRIER_REPLY, BUNDLE_CONTROL = 20, 21, 33
FLOW_DESC, TABLE_STATS, PORT_STATS, GROUP_DESC, METER_FEATURES, PORT_DESC = 1, 3, 4, 7, 11, 13
BESIDE = {PORT_STATS: b"", TABLE_STATS: b"", METER_FEATURES: struct.pack("!IIIBB2x", 64, 2, 15, 8, 0)}
"""What a read ends with, and what a switch says to it that has no ports and no flows, and forwards in user space."""
SOON = 3.0
"""Seconds in which the controller has to notice; an unbounded parser would never."""
PATIENCE = 15.0
"""Seconds until an answer must come. It is long because it only passes when the test fails."""


def message(kind: int, body: bytes = b"", xid: int = 1, version: int = VERSION) -> bytes:
    """A message; its length wraps as Open vSwitch's does."""
    return struct.pack("!BBHI", version, kind, (8 + len(body)) & 0xFFFF, xid) + body


def element(kind: int, length: int, rest: bytes = b"") -> bytes:
    """A hello element."""
    return struct.pack("!HH", kind, length) + rest


def multipart(kind: int, body: bytes, xid: int = 1, flags: int = 0) -> bytes:
    """A multipart reply."""
    return message(MULTIPART_REPLY, struct.pack("!HH4x", kind, flags) + body, xid)


def features(dpid: int, xid: int = 1, auxiliary: int = 0) -> bytes:
    """A features reply."""
    return message(FEATURES_REPLY, struct.pack("!QIBB2xII", dpid, 0, 254, auxiliary, 0, 0), xid)


def port(length: int, properties: bytes = b"", number: int = 1, state: int = 0) -> bytes:
    """A port's description."""
    return struct.pack("!IH2x6s2x16sII", number, length, bytes(6), b"p", 0, state) + properties


def port_status(body: bytes, reason: int = 0) -> bytes:
    """What happens to a port."""
    return message(PORT_STATUS, struct.pack("!B7x", reason) + body)


def packet_in(cookie: int, frame: bytes, in_port: int = 1, total: int | None = None) -> bytes:
    """A packet that is handed up; both lengths wrap as Open vSwitch's do."""
    match = struct.pack("!HHIIxxxx", 1, 12, 0x80000004, in_port)
    total = len(frame) if total is None else total
    head = struct.pack("!IHBBQ", 0xFFFFFFFF, total & 0xFFFF, 1, 0, cookie)
    return message(PACKET_IN, head + match + bytes(2) + frame)


GOOD_HELLO = message(HELLO, element(1, 8, struct.pack("!I", 1 << VERSION)))


def hosts() -> Iterator[str]:
    """Addresses of loopback, one for each peer: a host that breaks rules again and again has to wait."""
    for number in itertools.count(1):
        yield f"127.{1 + (number >> 14)}.{number >> 7 & 0x7F}.{1 + (number & 0x7F)}"


_HOSTS = hosts()


class Peer:
    """A connection to the controller, from a host of its own unless one is given."""

    def __init__(self, port: int, host: str = "", tls: ssl.SSLContext | None = None) -> None:
        self.host = host or next(_HOSTS)
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE, source_address=(self.host, 0))
        if tls:
            self.socket = tls.wrap_socket(self.socket)

    def send(self, *data: bytes) -> None:
        """Send bytes; it is no error if the controller has closed the connection."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(b"".join(data))

    def receive(self) -> tuple[int, int, bytes]:
        """The next message: type, xid, body."""
        header = self._exactly(8)
        _, kind, length, xid = struct.unpack("!BBHI", header)
        return kind, xid, self._exactly(length - 8)

    def until(self, kind: int) -> tuple[int, bytes]:
        """Skip messages until one of this type: xid, body."""
        while True:
            got, xid, body = self.receive()
            if got == kind:
                return xid, body

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise ConnectionError("closed")
            data += more
        return data

    def claim(self, dpid: int, auxiliary: int = 0) -> None:
        """The handshake up to its datapath id."""
        self.send(GOOD_HELLO)
        xid, _ = self.until(FEATURES_REQUEST)
        self.send(features(dpid, xid, auxiliary))

    def connect_as(self, dpid: int) -> None:
        """The handshake of an honest switch without ports."""
        self.claim(dpid)
        xid, _ = self.until(MULTIPART_REQUEST)
        self.send(multipart(PORT_DESC, b"", xid))

    def is_closed(self) -> bool:
        """Whether the controller closes the connection soon."""
        deadline = time.monotonic() + SOON
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while time.monotonic() < deadline:
                self.socket.settimeout(max(0.01, deadline - time.monotonic()))
                try:
                    if not self.socket.recv(1 << 16):
                        return True
                except TimeoutError:
                    return False
            return False
        return True

    def answers(self) -> bool:
        """Whether the controller still answers on this connection, promptly."""
        self.send(message(ECHO_REQUEST, b"ping", 77))
        return self.until(ECHO_REPLY) == (77, b"ping")

    def answer_echo(self) -> None:
        """Answer the controller's next echo request."""
        xid, body = self.until(ECHO_REQUEST)
        self.send(message(ECHO_REPLY, body, xid))

    def close(self) -> None:
        """End the connection."""
        self.socket.close()


class Claims(Peer):
    """Claims to be a configured switch, and answers a question with what a test says."""

    def receive(self) -> tuple[int, int, bytes]:
        """The next message; barriers, and how it is beside its tables, are answered at once."""
        kind, xid, body = super().receive()
        if kind == BARRIER_REQUEST:
            self.send(message(BARRIER_REPLY, xid=xid))
        if kind == MULTIPART_REQUEST and (asked := int.from_bytes(body[:2], "big")) in BESIDE:
            self.send(multipart(asked, BESIDE[asked], xid))
        return kind, xid, body

    def answer_read(self, flows: bytes = b"", groups: bytes = b"", meters: bytes = b"") -> None:
        """Answer what is asked about tables, and then about what is beside them."""
        for body in (flows, groups, meters):
            xid, request = self.until(MULTIPART_REQUEST)
            self.send(multipart(int.from_bytes(request[:2], "big"), body, xid))
        asked = [int.from_bytes(self.until(MULTIPART_REQUEST)[1][:2], "big") for _ in BESIDE]
        assert asked == list(BESIDE), "a read ends with these"

    def until_bundle(self) -> tuple[int, bytes]:
        """Answer the barrier behind meters, and skip to the bundle: xid, body."""
        xid, _ = self.until(BARRIER_REQUEST)
        self.send(message(BARRIER_REPLY, b"", xid))
        return self.until(BUNDLE_CONTROL)
