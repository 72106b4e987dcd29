"""Packets as bytes, in both families, made independently of what reads them: addresses are of `ipaddress`."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address
ICMP6 = 58


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(family: int, packet: bytes, destination: int = 0x020000000064, source: int = 0x020000000001) -> bytes:
    """A frame around an IP packet of a family (4 or 6)."""
    kind = b"\x08\x00" if family == 4 else b"\x86\xdd"
    return destination.to_bytes(6, "big") + source.to_bytes(6, "big") + kind + packet


def ip(
    source: Address,
    destination: Address,
    protocol: int,
    data: bytes,
    options: int = 0,
    extensions: tuple[tuple[int, bytes], ...] = (),
    fragment: tuple[int, int, bool] | None = None,
) -> bytes:
    """An IP packet: `options` bytes of IPv4 options, IPv6 `extensions`, `fragment` (identifier, offset, more)."""
    addresses = source.packed + destination.packed
    if source.version == 4:
        identifier, offset, more = fragment or (0x1234, 0, False)
        size = 20 + options + len(data)
        word = more << 13 | offset // 8
        head = struct.pack("!BBHHHBBH", 0x45 + options // 4, 0, size, identifier, word, 64, protocol, 0) + addresses
        head += b"\x01" * options
        return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + data
    if fragment is not None:
        identifier, offset, more = fragment
        data = struct.pack("!BBHI", protocol, 0, offset | more, identifier) + data
        protocol = 44
    for number, rest in reversed(extensions):
        data, protocol = bytes([protocol, 0]) + rest + data, number
    return struct.pack("!IHBB", 6 << 28, len(data), protocol, 64) + addresses + data


def icmp_error(source: Address, destination: Address, kind: int, packet: bytes, rest: int = 0) -> bytes:
    """An ICMP or ICMPv6 message that quotes a packet; `rest` is its second word (such as the MTU)."""
    whole = struct.pack("!BBHI", kind, 4 if source.version == 4 else 0, 0, rest) + packet
    covered = pseudo(source, destination, ICMP6, whole) + whole if source.version == 6 else whole
    return whole[:2] + struct.pack("!H", checksum(covered)) + whole[4:]


def udp_datagram(source: Address, destination: Address, sport: int, dport: int, data: bytes) -> bytes:
    """A UDP datagram with its checksum."""
    whole = struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data
    return whole[:6] + struct.pack("!H", checksum(pseudo(source, destination, 17, whole) + whole) or 0xFFFF) + data


def tcp_segment(
    source: Address, destination: Address, sport: int, dport: int, data: bytes, flags: int = 0x018, options: bytes = b""
) -> bytes:
    """A TCP segment with its checksum; `options` in whole words."""
    words = 5 + len(options) // 4
    whole = struct.pack("!HHIIHHHH", sport, dport, 1, 2, words << 12 | flags, 0xFFFF, 0, 0) + options + data
    return whole[:16] + struct.pack("!H", checksum(pseudo(source, destination, 6, whole) + whole)) + whole[18:]


def pseudo(source: Address, destination: Address, protocol: int, whole: bytes) -> bytes:
    """The pseudo-header that checksums cover (RFC 9293, 3.1; RFC 8200, 8.1)."""
    size = len(whole)
    tail = struct.pack("!BBH", 0, protocol, size) if source.version == 4 else struct.pack("!II", size, protocol)
    return source.packed + destination.packed + tail
