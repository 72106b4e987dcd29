"""Multicast listener discovery (RFC 3810)."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import NamedTuple

from portlb_app.net.packets.ip import ETHERNET, ICMP6, parse_frame

MLD_QUERY = 130
"""ICMPv6 type of multicast listener queries (RFC 3810, 5.1)."""


class MldQuery(NamedTuple):
    """A query for the listeners of a group, or of all groups (``::``), in version 1 or 2 of the protocol."""

    version: int
    group: IPv6Address


def parse_mld_query(frame: bytes) -> MldQuery | None:
    """The query of a multicast router; None for any other frame (RFC 3810, 5.1.14 and 8.1)."""
    ip = parse_frame(frame)
    if ip is None or ip.fragment or ip.protocol != ICMP6 or ip.source.version != 6 or ip.end > len(frame):
        return None
    size, hops = ip.end - ip.start, frame[ETHERNET + 7]
    if size < 24 or frame[ip.start] != MLD_QUERY or hops != 1 or not ip.source.is_link_local or 24 < size < 28:
        return None
    return MldQuery(1 if size == 24 else 2, IPv6Address(frame[ip.start + 8 : ip.start + 24]))
