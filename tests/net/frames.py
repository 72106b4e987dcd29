"""Frames of TCP connections to a VIP, made byte by byte, each with the hook of an agent that it passes.

Every checksum in them is right, so that comparing frames verifies those of an agent, too.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from portlb_app.agent.mapping import ServerMapping
from tests.net.network import ACK, SYN

Address = IPv4Address | IPv6Address


class Family(NamedTuple):
    """The addresses of one IP version."""

    version: int
    client: Address
    vip: Address
    router: Address
    other: Address


FAMILIES = (
    Family(4, *map(ip_address, ("10.0.0.1", "10.0.0.100", "10.0.9.9", "10.0.0.7"))),
    Family(6, *map(ip_address, ("fd00::1", "fd00::100", "fd00:9::9", "fd00::7"))),
)
V4, V6 = FAMILIES
VIPS = (ip_address("10.0.0.200"), V4.vip, ip_address("fd00::200"), V6.vip)
CPORT = 40000
X, Y = 20, 1  # a redirect port and the service port announced for it; the application listens on X
OWN = 9  # a service port that is its application's port
BEHIND, BEHIND_Y, APPLICATION = 30, 3, 8080  # redirect port and service port, both translated to the application's
SAME = 22  # announced as itself
SECOND_Y = 5  # a second service port of X's application
MAPPING = ServerMapping(
    VIPS,
    announced_ports={X: Y, BEHIND: BEHIND_Y, SAME: SAME},
    applications={Y: X, SECOND_Y: X, OWN: OWN, BEHIND: APPLICATION, BEHIND_Y: APPLICATION, SAME: SAME},
)
ISN, SERVER_ISN = 1000, 5000
PASS, DROP = 0xFFFFFFFF, 2  # TC_ACT_UNSPEC, TC_ACT_SHOT
IN, OUT = "ingress", "egress"
MORE, LATER = 0x2000, 0x0010  # fragments: the first, and one from byte 128 on
TOO_BIG, EXCEEDED, PROBLEM, REFUSED, ECHO = range(5)
ICMP_TYPES = {
    4: {TOO_BIG: (3, 4), EXCEEDED: (11, 0), PROBLEM: (12, 0), REFUSED: (3, 13), ECHO: (8, 0)},
    6: {TOO_BIG: (2, 0), EXCEEDED: (3, 0), PROBLEM: (4, 0), REFUSED: (1, 1), ECHO: (128, 0)},
}


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def ip(
    source: Address, destination: Address, protocol: int, payload: bytes, extra: int = 0, fragment: int = 0
) -> bytes:  # fmt: skip
    """An IP packet; `extra` bytes of options (IPv6: of a destination options header), a fragment if `fragment`."""
    addresses = source.packed + destination.packed
    if source.version == 4:
        extra += -extra % 4
        total = 20 + extra + len(payload)
        head = struct.pack("!BBHHHBBH", 0x45 + extra // 4, 0, total, 7, fragment, 64, protocol, 0)
        head += addresses + bytes([1]) * extra
        return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload
    if extra:
        extra += -extra % 8
        payload = struct.pack("!BBBB", protocol, extra // 8 - 1, 1, extra - 4) + bytes(extra - 4) + payload
        protocol = 60
    if fragment:
        payload = struct.pack("!BBHI", protocol, 0, (fragment & 0x1FFF) << 3 | bool(fragment & MORE), 7) + payload
        protocol = 44
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + addresses + payload


def pseudo_header(source: Address, destination: Address, protocol: int, length: int) -> bytes:
    if source.version == 4:
        return source.packed + destination.packed + struct.pack("!HH", protocol, length)
    return source.packed + destination.packed + struct.pack("!II", length, protocol)


def ethernet(packet: bytes, kind: int | None = None) -> bytes:
    if kind is None:
        kind = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
    return bytes.fromhex("020000000102020000000101") + struct.pack("!H", kind) + packet


def tcp_segment(
    source: Address, destination: Address, sport: int, dport: int, flags: int, seq: int, ack: int,
    options: bytes = b"", data: bytes = b"",
) -> bytes:  # fmt: skip
    word = (20 + len(options)) // 4 << 12 | flags
    segment = struct.pack("!HHIIHHHH", sport, dport, seq, ack, word, 64240, 0, 0) + options + data
    pseudo = pseudo_header(source, destination, 6, len(segment))
    return segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]


def tcp(
    source: Address, destination: Address, sport: int, dport: int, flags: int, seq: int = 1, ack: int = 0
) -> bytes:  # fmt: skip
    return ethernet(ip(source, destination, 6, tcp_segment(source, destination, sport, dport, flags, seq, ack)))


class Packet(NamedTuple):
    """A frame and the hook it passes."""

    hook: str
    frame: bytes


class Side:
    """Builds the frames of one connection as one of the two hosts sees them."""

    def __init__(
        self, family: Family, sends: str, hears: str, cport: int = CPORT, client: Address | None = None
    ) -> None:
        self._client, self._vip = client or family.client, family.vip
        self._client_hook, self._server_hook = sends, hears
        self._cport = cport

    def from_client(
        self, dport: int, flags: int, seq: int = ISN + 1, ack: int = SERVER_ISN + 1, options: bytes = b"",
        data: bytes = b"", extra: int = 0, fragment: int = 0, cport: int = 0,
    ) -> Packet:  # fmt: skip
        segment = tcp_segment(
            self._client, self._vip, cport or self._cport, dport, flags, seq, ack, options, data
        )
        return Packet(self._client_hook, ethernet(ip(self._client, self._vip, 6, segment, extra, fragment)))

    def from_server(
        self, sport: int, flags: int, seq: int = SERVER_ISN + 1, ack: int = ISN + 1, options: bytes = b"",
        data: bytes = b"", extra: int = 0, fragment: int = 0, cport: int = 0,
    ) -> Packet:  # fmt: skip
        segment = tcp_segment(
            self._vip, self._client, sport, cport or self._cport, flags, seq, ack, options, data
        )
        return Packet(self._server_hook, ethernet(ip(self._vip, self._client, 6, segment, extra, fragment)))

    def syn(self, port: int, flags: int = 0, seq: int = ISN, options: bytes = b"", data: bytes = b"") -> Packet:
        return self.from_client(port, SYN | flags, seq, 0, options, data)

    def synack(
        self, port: int, flags: int = 0, seq: int = SERVER_ISN, ack: int = ISN + 1, options: bytes = b""
    ) -> Packet:
        return self.from_server(port, SYN | ACK | flags, seq, ack, options)


def option(port: int, flags: int = 4, kind: int = 253, length: int = 8, exid: int = 0x5250, type_: int = 1) -> bytes:
    return struct.pack("!BBHBBH", kind, length, exid, flags << 4 | type_, 0, port)


def bare_option(flags: int) -> bytes:
    """REDIRECT_OPT of type "none"."""
    return b"\1\1" + struct.pack("!BBHBB", 253, 6, 0x5250, flags << 4, 0)


REDIRECT_FLAG, CONFIRM_FLAG, RESET_FLAG, IN_PLACE_FLAG = 8, 4, 2, 1


def icmp_error(
    source: Address, destination: Address, quoted: bytes, kind: int = TOO_BIG, fragment: int = 0
) -> bytes:
    type_, code = ICMP_TYPES[source.version][kind]
    body = struct.pack("!BBHI", type_, code, 0, 1400) + quoted
    protocol = 1 if source.version == 4 else 58
    pseudo = pseudo_header(source, destination, protocol, len(body)) if source.version == 6 else b""
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    return ethernet(ip(source, destination, protocol, body, fragment=fragment))


def quote(packet: Packet, tcp_bytes: int = 8) -> bytes:
    """The head of a packet as an ICMP error quotes it."""
    if packet.frame[14] >> 4 == 4:
        header = (packet.frame[14] & 15) * 4
    else:
        header = 40 + ((packet.frame[55] + 1) * 8 if packet.frame[20] == 60 else 0)
    return packet.frame[14 : 14 + header + tcp_bytes]


def transport(packet: Packet) -> bytes:
    """The TCP segment in a frame without extra headers."""
    return packet.frame[34:] if packet.frame[14] >> 4 == 4 else packet.frame[54:]


MSS = bytes.fromhex("020405b4")
TIMESTAMPS = bytes.fromhex("0101080a0000000100000000")
FULL = bytes([1] * 36)  # no room for 8 bytes more
MD5 = bytes([1, 1, 19, 18]) + bytes(16)
AO = bytes([29, 16, 1, 1]) + bytes(12)
