"""Packets with other addresses (row N1)."""

from __future__ import annotations

from portlb_app.net.packets.addresses import Address
from portlb_app.net.packets.checksums import amend
from portlb_app.net.packets.ip import DCCP, ETHERNET, ICMP6, TCP, UDP, UDPLITE, IpHeader, parse_frame

_CHECKSUMS = {TCP: 16, UDP: 6, DCCP: 6, UDPLITE: 6}
"""Where a transport header has a checksum that covers the IP addresses (RFC 9293, 3.1; RFC 768; RFC 4340, 9; RFC 3828,
3.1). SCTP's covers none (RFC 9260, 6.8)."""


def readdress(frame: bytes, source: Address | None = None, destination: Address | None = None) -> bytes | None:
    """Replace addresses of the IP packet or fragment in an Ethernet frame.

    The checksum of the IPv4 header is amended, and that of the transport (TCP, UDP, UDP-Lite, DCCP, ICMPv6) if this
    part of the packet has it; a wrong one stays wrong. None for a frame without IP, or an address of the other family.
    """
    ip = parse_frame(frame)
    if ip is None:
        return None
    changed = bytearray(frame)
    if not replace_addresses(changed, ETHERNET, ip, source, destination):
        return None
    return bytes(changed)


def replace_addresses(
    data: bytearray,
    at: int,
    ip: IpHeader,
    source: Address | None,
    destination: Address | None,
    end: int | None = None,
) -> bool:
    """Replace addresses in the IP header at `at`, and amend the checksums that cover them and lie before `end`.

    Returns False for an address of the other family.
    """
    spans = ((12, 16), (16, 20)) if ip.source.version == 4 else ((8, 24), (24, 40))
    field = _CHECKSUMS.get(ip.protocol, 2 if ip.protocol == ICMP6 and ip.source.version == 6 else None)
    for (begin, stop), old, new in zip(spans, (ip.source, ip.destination), (source, destination), strict=True):
        if new is None or new == old:
            continue
        if new.version != old.version:
            return False
        data[at + begin : at + stop] = new.packed
        if old.version == 4:
            amend(data, at + 10, old.packed, new.packed)
        if field is not None and not ip.offset and ip.start + field + 2 <= (len(data) if end is None else end):
            offset = ip.start + field
            if ip.protocol != UDP or data[offset : offset + 2] != bytes(2):
                amend(data, offset, old.packed, new.packed, never_zero=ip.protocol in (UDP, UDPLITE))
    return True
