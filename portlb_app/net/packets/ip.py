"""IP headers (RFC 791, RFC 8200)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from portlb_app.net.packets.addresses import Address, address4, address6

ICMP, TCP, UDP, DCCP, ICMP6, SCTP, UDPLITE = 1, 6, 17, 33, 58, 132, 136
"""IP protocol numbers (and next headers of IPv6)."""
PORTS = frozenset({TCP, UDP, SCTP})
"""Protocols whose header begins with a source and a destination port."""
ICMP_ERRORS = frozenset({3, 11, 12})
"""ICMP types that quote the packet they are about (RFC 792; RFC 1122, 3.2.2)."""
ICMP6_ERRORS = frozenset({1, 2, 3, 4})
"""The same of ICMPv6 (RFC 4443, 2.1)."""
ETHERNET = 14
"""Bytes of an Ethernet header without a VLAN tag."""
EXTENSIONS = 8
"""IPv6 extension headers that are walked; a packet with more is not read."""


class IpHeader(NamedTuple):
    """An IP header: what it says of the payload from `start` to `end`, and which fragment of a packet that is.

    `end` is what the header says, and may lie behind the bytes there are. `protocol` is that of the payload, behind all
    extension headers. A whole packet has `fragment` false and `identifier` 0. `offset` is in bytes.
    """

    source: Address
    destination: Address
    protocol: int
    start: int
    end: int
    fragment: bool = False
    identifier: int = 0
    offset: int = 0
    more: bool = False
    dscp: int = 0


def parse_ip(data: bytes, at: int, version: int) -> IpHeader | None:
    """The IP header at `at`; None without a whole one of that version (RFC 791, 3.1; RFC 8200, 3 and 4)."""
    if version == 4:
        return _parse_ip4(data, at)
    return _parse_ip6(data, at)


def _parse_ip4(data: bytes, at: int) -> IpHeader | None:
    if len(data) < at + 20 or data[at] >> 4 != 4:
        return None
    length, identifier, word = struct.unpack_from("!HHH", data, at + 2)
    start, end = at + (data[at] & 15) * 4, at + length
    if start < at + 20 or start > len(data) or end < start:
        return None
    return IpHeader(
        source=address4(data[at + 12 : at + 16]),
        destination=address4(data[at + 16 : at + 20]),
        protocol=data[at + 9],
        start=start,
        end=end,
        fragment=bool(word & 0x3FFF),
        identifier=identifier if word & 0x3FFF else 0,
        offset=(word & 0x1FFF) * 8,
        more=bool(word & 0x2000),
        dscp=data[at + 1] >> 2,
    )


_WALKED = frozenset({0, 43, 60, 135, 139, 140})
"""IPv6 extension headers with a length in units of 8 bytes: hop-by-hop, routing, destination options, mobility, HIP,
shim6. (51, authentication, counts in 4; 44 is the fragment header.)"""


def _parse_ip6(data: bytes, at: int) -> IpHeader | None:
    if len(data) < at + 40 or data[at] >> 4 != 6:
        return None
    source, destination = address6(data[at + 8 : at + 24]), address6(data[at + 24 : at + 40])
    end = at + 40 + int.from_bytes(data[at + 4 : at + 6], "big")
    protocol, start = data[at + 6], at + 40
    fragment, identifier, offset, more = False, 0, 0, False
    for _ in range(EXTENSIONS):
        if offset or (protocol not in _WALKED and protocol not in (44, 51)):
            break
        if len(data) < start + 8:
            return None
        size = 8
        if protocol == 44:
            if fragment:
                return None
            word, identifier = struct.unpack_from("!HI", data, start + 2)
            fragment, offset, more = True, word & 0xFFF8, bool(word & 1)
        elif protocol == 51:
            size = (data[start + 1] + 2) * 4
        else:
            size = (data[start + 1] + 1) * 8
        protocol, start = data[start], start + size
    else:
        if not offset and (protocol in _WALKED or protocol in (44, 51)):
            return None
    if start > len(data) or start > end:
        return None
    if fragment and not offset and not more:  # an atomic fragment is a whole packet (RFC 6946)
        fragment, identifier = False, 0
    dscp = int.from_bytes(data[at : at + 2], "big") >> 6 & 0x3F
    return IpHeader(source, destination, protocol, start, end, fragment, identifier, offset, more, dscp)


def parse_frame(frame: bytes) -> IpHeader | None:
    """The IP header of an Ethernet frame without a VLAN tag."""
    version = {b"\x08\x00": 4, b"\x86\xdd": 6}.get(frame[12:14])
    return None if version is None else parse_ip(frame, ETHERNET, version)
