"""Fragments of IP packets."""

from __future__ import annotations

import struct
from typing import NamedTuple

from portlb_app.net.packets.addresses import Address
from portlb_app.net.packets.ip import PORTS, TCP, parse_frame


class FragmentKey(NamedTuple):
    """What all fragments of one packet share. Addresses are numbers, which are cheaper to hash."""

    version: int
    source: int
    destination: int
    protocol: int
    identifier: int


class Fragment(NamedTuple):
    """One fragment; source, destination, protocol and identifier name its packet (RFC 791, 3.2).

    `offset` and `size` are in bytes. A first fragment has `ports` (source, destination) and `flags` (TCP), if its
    protocol has them. For IPv6 the protocol in the key is 0, because later fragments may have another one (RFC 8200,
    4.5).
    """

    source: Address
    destination: Address
    protocol: int
    identifier: int
    offset: int
    size: int
    more: bool
    ports: tuple[int, int] | None
    flags: int
    dscp: int = 0

    @property
    def key(self) -> FragmentKey:
        """What all fragments of one packet share."""
        version = self.source.version
        protocol = self.protocol if version == 4 else 0
        return FragmentKey(version, int(self.source), int(self.destination), protocol, self.identifier)


def parse_fragment(frame: bytes) -> Fragment | None:
    """The fragment in an Ethernet frame; None without one, or for one that no host would reassemble.

    No host reassembles an empty fragment, one that ends beyond 64 kB, or one that is not the last and does not end at a
    multiple of 8 bytes. A first fragment must also be long enough for the ports, and TCP's flags, by which it is judged
    (RFC 1858, 3).
    """
    ip = parse_frame(frame)
    if ip is None or not ip.fragment or ip.end > len(frame):
        return None
    size = ip.end - ip.start
    if not size or ip.offset + size > 0xFFFF or (ip.more and size % 8):
        return None
    ports, flags = None, 0
    if not ip.offset and ip.protocol in PORTS:
        if size < (14 if ip.protocol == TCP else 4):
            return None
        sport, dport = struct.unpack_from("!HH", frame, ip.start)
        ports = (sport, dport)
        if ip.protocol == TCP:
            (flags,) = struct.unpack_from("!H", frame, ip.start + 12)
    return Fragment(
        ip.source, ip.destination, ip.protocol, ip.identifier, ip.offset, size, ip.more, ports, flags & 0xFFF, ip.dscp
    )
