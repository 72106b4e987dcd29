"""Refusals: answers to packets that cannot be carried."""

from __future__ import annotations

import struct

from portlb_app.net.packets.addresses import Address
from portlb_app.net.packets.checksums import checksum
from portlb_app.net.packets.ip import ETHERNET, ICMP, ICMP6, TCP, IpHeader, parse_frame
from portlb_app.net.packets.tcp import parse_tcp


def make_refusal(frame: bytes) -> bytes | None:
    """The frame that refuses a packet at once; None where a host must not answer (RFC 1122, 3.2.2).

    A SYN gets a reset (RFC 9293, 3.10.7.1); other packets get "administratively prohibited" (RFC 1812, 5.2.7.1;
    RFC 4443, 3.1). Further segments, later fragments, ICMP that is no request, and packets to several hosts or not from
    a single one get no answer.
    """
    ip = parse_frame(frame)
    if ip is None or ip.offset or ip.end > len(frame) or frame[0] & 1 or not _is_one_host(ip.source):
        return None
    segment = parse_tcp(frame)
    if segment is not None:
        if segment.flags & 0x017 != 0x002:
            return None
        word = 5 << 12 | 0x014
        numbers = (segment.dport, segment.sport, 0, (segment.seq + 1 + segment.size) & 0xFFFFFFFF, word, 0, 0, 0)
        return _reply(frame, ip, TCP, 16, struct.pack("!HHIIHHHH", *numbers))
    asks = frame[ip.start : ip.start + 1] == (b"\x08" if ip.source.version == 4 else b"\x80")
    if ip.protocol == TCP or (ip.protocol in (ICMP, ICMP6) and not asks):
        return None
    kind, protocol, quoted = ((3, 13), ICMP, 548) if ip.source.version == 4 else ((1, 1), ICMP6, 1232)
    quote = frame[ETHERNET : min(ip.end, ETHERNET + quoted)]
    return _reply(frame, ip, protocol, 2, struct.pack("!BBHI", *kind, 0, 0) + quote)


def _is_one_host(source: Address) -> bool:
    """Whether an address is that of a single host, which may be answered (RFC 1122, 3.2.2)."""
    is_broadcast = source.version == 4 and int(source) == 0xFFFFFFFF
    return not (source.is_multicast or source.is_unspecified or source.is_loopback or is_broadcast)


def _reply(frame: bytes, ip: IpHeader, protocol: int, at: int, above: bytes) -> bytes:
    """A frame back to the sender of `frame` with the payload `above`, whose checksum is at the offset `at`."""
    addresses = ip.destination.packed + ip.source.packed
    pseudo = b"" if protocol == ICMP else addresses + struct.pack("!II", len(above), protocol)
    above = above[:at] + struct.pack("!H", checksum(pseudo + above)) + above[at + 2 :]
    ethernet = frame[6:12] + frame[:6] + frame[12:14]
    if ip.source.version == 6:
        return ethernet + struct.pack("!IHBB", 6 << 28, len(above), protocol, 64) + addresses + above
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(above), 0, 0, 64, protocol, 0) + addresses
    return ethernet + head[:10] + struct.pack("!H", checksum(head)) + head[12:] + above
