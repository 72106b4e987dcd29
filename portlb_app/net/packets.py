"""Bytes of packets to values: what is on the wire, for who has to look at it.

Every parser here takes bytes from an attacker: it reads within what it was given, walks options within the header's own
bound, and returns None for what is not what it reads. (`ryu.lib.packet` loops for ever on a TCP option of length 0, and
drops the bits this protocol lives by.)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

REDIRECT = 0x800
"""The REDIRECT header bit, in the low 12 bits of the 16-bit word at offset 12 of a TCP header."""
CONFIRM = 0x400
"""The REDIRECT_CONFIRM header bit."""
OPTION_KIND = 253
"""TCP option kind of REDIRECT_OPT: shared experimental use (RFC 6994)."""
OPTION_EXID = 0x5250
"""The experiment's identifier within that kind."""
TYPE_PORT = 1

OPTION_REDIRECT = 0x8
"""The flag of REDIRECT_OPT that repeats the REDIRECT bit."""

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
MLD_QUERY = 130
"""ICMPv6 type of multicast listener queries (RFC 3810, 5.1)."""
EXTENSIONS = 8
"""IPv6 extension headers that are walked; a packet with more is not read."""


Address = IPv4Address | IPv6Address


@dataclass(frozen=True)
class Segment:
    """An unfragmented TCP segment; ``flags`` as Open vSwitch's 12-bit ``tcp_flags``, ``size`` bytes of data.

    ``data`` may be shorter than ``size`` where a capture cut it.
    """

    source: Address
    destination: Address
    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    options: bytes
    data: bytes
    size: int

    @property
    def announced(self) -> int | None:
        """The port REDIRECT_OPT names; None without a well-formed one."""
        for kind, value in options(self.options):
            if kind == OPTION_KIND and len(value) == 6 and value[:2] == OPTION_EXID.to_bytes(2, "big"):
                if value[2] & 0x0F == TYPE_PORT:
                    return int.from_bytes(value[4:6], "big") or None
        return None

    @property
    def asks_redirect(self) -> bool:
        """Whether REDIRECT is asked for, by the header bit or by REDIRECT_OPT."""
        if self.flags & REDIRECT:
            return True
        for kind, value in options(self.options):
            if kind == OPTION_KIND and len(value) in (4, 6) and value[:2] == OPTION_EXID.to_bytes(2, "big"):
                return bool(value[2] >> 4 & OPTION_REDIRECT)
        return False


def options(header: bytes) -> Iterator[tuple[int, bytes]]:
    """The options of a TCP header, kind and value; ends at the first malformed one (RFC 9293, 3.2)."""
    at = 0
    while at < len(header):
        kind = header[at]
        if kind == 0:
            return
        if kind == 1:
            at += 1
            continue
        length = header[at + 1] if at + 1 < len(header) else 0
        if length < 2 or at + length > len(header):
            return
        yield kind, header[at + 2 : at + length]
        at += length


def tcp(frame: bytes) -> Segment | None:
    """The TCP segment in an Ethernet frame; None if it holds no whole header of one, or a fragment."""
    ip = _network(frame)
    if ip is None or ip.fragment or ip.protocol != TCP or len(frame) < ip.start + 20:
        return None
    sport, dport, seq, ack, word = struct.unpack_from("!HHIIH", frame, ip.start)
    header = ip.start + (word >> 12) * 4
    if header < ip.start + 20 or header > len(frame) or header > ip.end:
        return None
    return Segment(
        source=ip.source,
        destination=ip.destination,
        sport=sport,
        dport=dport,
        seq=seq,
        ack=ack,
        flags=word & 0xFFF,
        options=frame[ip.start + 20 : header],
        data=frame[header : ip.end],
        size=ip.end - header,
    )


def frames(content: bytes) -> Iterator[bytes]:
    """The frames in a pcap file's bytes, as tcpdump writes it on this machine; ends where the file is cut."""
    at = 24
    while at + 16 <= len(content):
        (length,) = struct.unpack_from("=I", content, at + 8)
        if at + 16 + length > len(content):
            return
        yield content[at + 16 : at + 16 + length]
        at += 16 + length


def capture(content: bytes) -> Iterator[Segment]:
    """The TCP segments in a pcap file's bytes."""
    for frame in frames(content):
        segment = tcp(frame)
        if segment is not None:
            yield segment


def bare_ack(source: Address, destination: Address, sport: int, dport: int) -> bytes:
    """A frame (MAC addresses 0) with a TCP acknowledgement without data or options, all numbers 0, checksums right."""
    segment = struct.pack("!HHIIHHHH", sport, dport, 0, 0, 5 << 12 | 0x010, 0xFFFF, 0, 0)
    pseudo = source.packed + destination.packed + struct.pack("!II", len(segment), 6)
    segment = segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
    addresses = source.packed + destination.packed
    if source.version == 6:
        return bytes(12) + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(segment), 6, 64) + addresses + segment
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0x4000, 64, 6, 0) + addresses
    return bytes(12) + b"\x08\x00" + head[:10] + struct.pack("!H", checksum(head)) + head[12:] + segment


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071); an odd last byte counts as if a zero followed."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


# ---- fragments and quotes --------------------------------------------------------------------------------------------


_address4 = lru_cache(maxsize=4096)(IPv4Address)
_address6 = lru_cache(maxsize=4096)(IPv6Address)
"""Addresses by their bytes: half of them are a VIP's, and to make one costs more than to read the rest of a header."""


class _Ip(NamedTuple):
    """An IP header in some bytes: where what it carries begins and ends, and what fragment that is.

    `end` is what the header says and may lie behind the bytes; `protocol` is what comes after all extension headers;
    `identifier` is 0 and `fragment` false for a whole packet; `offset` is in bytes.
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


def _ip(data: bytes, at: int, version: int) -> _Ip | None:
    """The IP header at `at`; None if it is no whole one of that version (RFC 791, 3.1; RFC 8200, 3 and 4)."""
    if version == 4:
        return _ip4(data, at)
    return _ip6(data, at)


def _ip4(data: bytes, at: int) -> _Ip | None:
    if len(data) < at + 20 or data[at] >> 4 != 4:
        return None
    length, identifier, word = struct.unpack_from("!HHH", data, at + 2)
    start, end = at + (data[at] & 15) * 4, at + length
    if start < at + 20 or start > len(data) or end < start:
        return None
    return _Ip(
        source=_address4(data[at + 12 : at + 16]),
        destination=_address4(data[at + 16 : at + 20]),
        protocol=data[at + 9],
        start=start,
        end=end,
        fragment=bool(word & 0x3FFF),
        identifier=identifier if word & 0x3FFF else 0,
        offset=(word & 0x1FFF) * 8,
        more=bool(word & 0x2000),
    )


_WALKED = frozenset({0, 43, 60, 135, 139, 140})
"""IPv6 extension headers with a length in units of 8 bytes: hop-by-hop, routing, destination options, mobility, HIP,
shim6. (51, authentication, counts in 4; 44 is the fragment header.)"""


def _ip6(data: bytes, at: int) -> _Ip | None:
    if len(data) < at + 40 or data[at] >> 4 != 6:
        return None
    source, destination = _address6(data[at + 8 : at + 24]), _address6(data[at + 24 : at + 40])
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
    return _Ip(source, destination, protocol, start, end, fragment, identifier, offset, more)


def _network(frame: bytes) -> _Ip | None:
    """The IP header of an Ethernet frame without a VLAN tag."""
    version = {b"\x08\x00": 4, b"\x86\xdd": 6}.get(frame[12:14])
    return None if version is None else _ip(frame, ETHERNET, version)


def refusal(frame: bytes) -> bytes | None:
    """The frame that tells a sender at once that it gets no answer; None where nothing may be said (RFC 1122, 3.2.2).

    To a SYN a reset (RFC 9293, 3.10.7.1); to other packets, but for further segments, later fragments and ICMP that
    asks nothing, "administratively prohibited" (RFC 1812, 5.2.7.1; RFC 4443, 3.1). What came to several hosts, or not
    from one, is not answered.
    """
    ip = _network(frame)
    if ip is None or ip.offset or ip.end > len(frame) or frame[0] & 1 or not _is_one_host(ip.source):
        return None
    segment = tcp(frame)
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
    """Whether something may be answered there (RFC 1122, 3.2.2)."""
    is_broadcast = source.version == 4 and int(source) == 0xFFFFFFFF
    return not (source.is_multicast or source.is_unspecified or source.is_loopback or is_broadcast)


def _reply(frame: bytes, ip: _Ip, protocol: int, at: int, above: bytes) -> bytes:
    """A frame back to the sender of another, with `above` in its packet, whose checksum is at the offset `at`."""
    addresses = ip.destination.packed + ip.source.packed
    pseudo = b"" if protocol == ICMP else addresses + struct.pack("!II", len(above), protocol)
    above = above[:at] + struct.pack("!H", checksum(pseudo + above)) + above[at + 2 :]
    ethernet = frame[6:12] + frame[:6] + frame[12:14]
    if ip.source.version == 6:
        return ethernet + struct.pack("!IHBB", 6 << 28, len(above), protocol, 64) + addresses + above
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(above), 0, 0, 64, protocol, 0) + addresses
    return ethernet + head[:10] + struct.pack("!H", checksum(head)) + head[12:] + above


class MldQuery(NamedTuple):
    """A question who listens to a group; to any, if `group` is ``::``. `version` 1 or 2 of the protocol is spoken."""

    version: int
    group: IPv6Address


def mld_query(frame: bytes) -> MldQuery | None:
    """The question of a multicast router or querier; None for a frame that is none (RFC 3810, 5.1.14 and 8.1)."""
    ip = _network(frame)
    if ip is None or ip.fragment or ip.protocol != ICMP6 or ip.source.version != 6 or ip.end > len(frame):
        return None
    size, hops = ip.end - ip.start, frame[ETHERNET + 7]
    if size < 24 or frame[ip.start] != MLD_QUERY or hops != 1 or not ip.source.is_link_local or 24 < size < 28:
        return None
    return MldQuery(1 if size == 24 else 2, IPv6Address(frame[ip.start + 8 : ip.start + 24]))


class FragmentKey(NamedTuple):
    """What all fragments of one packet share; addresses as numbers, whose hashes cost less than theirs."""

    version: int
    source: int
    destination: int
    protocol: int
    identifier: int


class Fragment(NamedTuple):
    """One fragment of a packet: source, destination, protocol and identifier tell which packet (RFC 791, 3.2).

    `offset` and `size` in bytes; `ports` (source, destination) and `flags` (TCP) of a first fragment whose protocol has
    them. For IPv6 the protocol is 0 in the key: later fragments need not know what the first one's headers lead to
    (RFC 8200, 4.5).
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

    @property
    def key(self) -> FragmentKey:
        """What all fragments of one packet share."""
        version = self.source.version
        protocol = self.protocol if version == 4 else 0
        return FragmentKey(version, int(self.source), int(self.destination), protocol, self.identifier)


def fragment(frame: bytes) -> Fragment | None:
    """The fragment in an Ethernet frame; None if it holds none, or one no host would put together.

    That is: an empty one, one that ends beyond 64 kB or, but for the last, not at a multiple of 8 bytes; and a first
    one too short for the ports (and, of TCP, the flags) by which it is judged (RFC 1858, 3).
    """
    ip = _network(frame)
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
        ip.source, ip.destination, ip.protocol, ip.identifier, ip.offset, size, ip.more, ports, flags & 0xFFF
    )


@dataclass(frozen=True)
class Quote:
    """What an ICMP error says it is about: a packet from `source`; `ports` if it shows a source and destination port.

    `sender` and `receiver` are those of the error itself. `label` is the packet's IPv6 flow label, 0 if it has none.
    """

    sender: Address
    receiver: Address
    source: Address
    destination: Address
    protocol: int
    ports: tuple[int, int] | None
    label: int = 0


def quote(frame: bytes) -> Quote | None:
    """What the ICMP or ICMPv6 error in an Ethernet frame quotes; None if it is no error, or quotes no whole IP header.

    8 bytes behind the quoted header suffice (RFC 792); with less a protocol that has ports makes None, unless the quote
    is of a later fragment. An error about an error is None: nobody may send one (RFC 1122, 3.2.2; RFC 4443, 2.4 e).
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


def _quoted(frame: bytes) -> tuple[_Ip, _Ip, bytes] | None:
    """The IP header of an error, the one it quotes, and the bytes up to the error's end."""
    outer = _network(frame)
    if outer is None or outer.fragment or outer.end > len(frame):
        return None
    frame = frame[: outer.end]
    version = outer.source.version
    errors = ICMP_ERRORS if version == 4 else ICMP6_ERRORS
    if outer.protocol != (ICMP if version == 4 else ICMP6) or outer.end < outer.start + 8:
        return None
    if frame[outer.start] not in errors:
        return None
    inner = _ip(frame, outer.start + 8, version)
    if inner is None:
        return None
    if inner.offset:
        return outer, inner, frame
    if inner.protocol in PORTS and len(frame) < inner.start + 8:
        return None
    if inner.protocol in (ICMP, ICMP6) and (len(frame) <= inner.start or _is_error(inner, frame[inner.start])):
        return None
    return outer, inner, frame


def _is_error(ip: _Ip, kind: int) -> bool:
    if ip.source.version == 4:
        return ip.protocol == ICMP and kind in ICMP_ERRORS
    return ip.protocol == ICMP6 and kind < 128


def requote(frame: bytes, source: Address | None = None, destination: Address | None = None) -> bytes | None:
    """The ICMP error in a frame with other addresses in the packet it quotes, and every checksum as right as it was.

    For hosts that know their packets under another address than the network does (row N1). What changes: the quoted
    address; the quoted header's checksum; the quoted transport's checksum, as far as it is quoted (a UDP checksum of 0
    means none and stays, RFC 768); the error's own checksum. None for a frame `quote` does not read, or an address of
    the other family.
    """
    found = _quoted(frame)
    if found is None:
        return None
    outer, inner, whole = found
    changed = bytearray(frame)
    if not _replace(changed, outer.start + 8, inner, source, destination, end=len(whole)):
        return None
    _amend(changed, outer.start + 2, *_even(whole[outer.start + 4 :], bytes(changed[outer.start + 4 : len(whole)])))
    return bytes(changed)


_CHECKSUMS = {TCP: 16, UDP: 6, DCCP: 6, UDPLITE: 6}
"""Where a transport header has a checksum that covers the IP addresses (RFC 9293, 3.1; RFC 768; RFC 4340, 9; RFC 3828,
3.1). SCTP's covers none (RFC 9260, 6.8)."""


def _replace(
    data: bytearray,
    at: int,
    ip: _Ip,
    source: Address | None,
    destination: Address | None,
    end: int | None = None,
) -> bool:
    """Put addresses into the IP header at `at`, and amend the checksums that cover them and lie before `end`.

    False for an address of the other family.
    """
    places = ((12, 16), (16, 20)) if ip.source.version == 4 else ((8, 24), (24, 40))
    field = _CHECKSUMS.get(ip.protocol, 2 if ip.protocol == ICMP6 and ip.source.version == 6 else None)
    for (begin, stop), old, new in zip(places, (ip.source, ip.destination), (source, destination), strict=True):
        if new is None or new == old:
            continue
        if new.version != old.version:
            return False
        data[at + begin : at + stop] = new.packed
        if old.version == 4:
            _amend(data, at + 10, old.packed, new.packed)
        if field is not None and not ip.offset and ip.start + field + 2 <= (len(data) if end is None else end):
            place = ip.start + field
            if ip.protocol != UDP or data[place : place + 2] != bytes(2):
                _amend(data, place, old.packed, new.packed, never_zero=ip.protocol in (UDP, UDPLITE))
    return True


def _even(old: bytes, new: bytes) -> tuple[bytes, bytes]:
    return old + bytes(len(old) % 2), new + bytes(len(new) % 2)


def _amend(data: bytearray, at: int, old: bytes, new: bytes, never_zero: bool = False) -> None:
    """Amend the checksum at `at` for bytes that changed from `old` to `new`, of equal and even length (RFC 1624, 3).

    `never_zero`: 0 means that there is none, and is sent as 0xFFFF (RFC 768; RFC 3828, 3.1).
    """
    total = 0xFFFF - int.from_bytes(data[at : at + 2], "big")
    for before, after in zip(*(struct.unpack(f"!{len(old) // 2}H", each) for each in (old, new)), strict=True):
        total += 0xFFFF - before + after
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    checksum = 0xFFFF - total
    data[at : at + 2] = (0xFFFF if never_zero and not checksum else checksum).to_bytes(2, "big")


def readdress(frame: bytes, source: Address | None = None, destination: Address | None = None) -> bytes | None:
    """The IP packet or fragment in an Ethernet frame with other addresses, and every checksum as right as it was.

    What changes: an address, the IPv4 header's checksum, and the transport's checksum (TCP, UDP, UDP-Lite, DCCP,
    ICMPv6) if this part of the packet has it, which is right for the whole. None for a frame without IP, or an
    address of the other family.
    """
    ip = _network(frame)
    if ip is None:
        return None
    changed = bytearray(frame)
    if not _replace(changed, ETHERNET, ip, source, destination):
        return None
    return bytes(changed)
