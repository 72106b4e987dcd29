"""ICMP errors, and the packets they quote (RFC 792, RFC 4443)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from portlb_app.net.packets.addresses import Address
from portlb_app.net.packets.checksums import amend
from portlb_app.net.packets.ip import ICMP, ICMP6, ICMP6_ERRORS, ICMP_ERRORS, PORTS, IpHeader, parse_frame, parse_ip
from portlb_app.net.packets.rewrite import replace_addresses


@dataclass(frozen=True)
class Quote:
    """The packet that an ICMP error quotes: `ports` (source, destination) if the quote shows them, `label` its IPv6
    flow label or 0. `sender` and `receiver` are those of the error itself.
    """

    sender: Address
    receiver: Address
    source: Address
    destination: Address
    protocol: int
    ports: tuple[int, int] | None
    label: int = 0


def parse_quote(frame: bytes) -> Quote | None:
    """The packet that the ICMP or ICMPv6 error in an Ethernet frame quotes; None without an error or a whole IP header.

    A quote of a protocol with ports needs 8 bytes behind its header (RFC 792), unless it is of a later fragment. An
    error about an error is None: no host may send one (RFC 1122, 3.2.2; RFC 4443, 2.4 e).
    """
    found = _quoted(frame)
    if found is None:
        return None
    outer, inner, _ = found
    ports = None
    if inner.protocol in PORTS and not inner.offset:
        sport, dport = struct.unpack_from("!HH", frame, inner.start)
        ports = (sport, dport)
    label = 0
    if inner.source.version == 6:
        label = int.from_bytes(frame[outer.start + 8 : outer.start + 12], "big") & 0xFFFFF
    return Quote(outer.source, outer.destination, inner.source, inner.destination, inner.protocol, ports, label)


def _quoted(frame: bytes) -> tuple[IpHeader, IpHeader, bytes] | None:
    """The IP header of an error, the one it quotes, and the bytes up to the error's end."""
    outer = parse_frame(frame)
    if outer is None or outer.fragment or outer.end > len(frame):
        return None
    frame = frame[: outer.end]
    version = outer.source.version
    errors = ICMP_ERRORS if version == 4 else ICMP6_ERRORS
    if outer.protocol != (ICMP if version == 4 else ICMP6) or outer.end < outer.start + 8:
        return None
    if frame[outer.start] not in errors:
        return None
    inner = parse_ip(frame, outer.start + 8, version)
    if inner is None:
        return None
    if inner.offset:
        return outer, inner, frame
    if inner.protocol in PORTS and len(frame) < inner.start + 8:
        return None
    if inner.protocol in (ICMP, ICMP6) and (len(frame) <= inner.start or _is_error(inner, frame[inner.start])):
        return None
    return outer, inner, frame


def _is_error(ip: IpHeader, kind: int) -> bool:
    if ip.source.version == 4:
        return ip.protocol == ICMP and kind in ICMP_ERRORS
    return ip.protocol == ICMP6 and kind < 128


def requote(frame: bytes, source: Address | None = None, destination: Address | None = None) -> bytes | None:
    """Replace addresses in the packet that an ICMP error quotes, for hosts that know it under others (row N1).

    The checksums of the quoted header, of the quoted transport (as far as it is quoted) and of the error itself are
    amended; a wrong one stays wrong, and a UDP checksum of 0 (none, RFC 768) stays 0. None for a frame that
    `parse_quote` does not read, or for an address of the other family.
    """
    found = _quoted(frame)
    if found is None:
        return None
    outer, inner, whole = found
    changed = bytearray(frame)
    if not replace_addresses(changed, outer.start + 8, inner, source, destination, end=len(whole)):
        return None
    amend(changed, outer.start + 2, *_even(whole[outer.start + 4 :], bytes(changed[outer.start + 4 : len(whole)])))
    return bytes(changed)


def _even(old: bytes, new: bytes) -> tuple[bytes, bytes]:
    return old + bytes(len(old) % 2), new + bytes(len(new) % 2)
