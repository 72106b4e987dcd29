"""Bytes of packets to values: what is on the wire, for who has to look at it.

Every parser here takes bytes from an attacker: it reads within what it was given, walks options within the header's own
bound, and returns None for what is not what it reads. (`ryu.lib.packet` loops for ever on a TCP option of length 0, and
drops the bits this protocol lives by.)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

REDIRECT = 0x800
"""The REDIRECT header bit, in the low 12 bits of the 16-bit word at offset 12 of a TCP header."""
CONFIRM = 0x400
"""The REDIRECT_CONFIRM header bit."""
OPTION_KIND = 253
"""TCP option kind of REDIRECT_OPT: shared experimental use (RFC 6994)."""
OPTION_EXID = 0x5250
"""The experiment's identifier within that kind."""
TYPE_PORT = 1

ETHERNET = 14
"""Bytes of an Ethernet header without a VLAN tag."""
_NAMES = (("SYN", 0x002), ("ACK", 0x010), ("FIN", 0x001), ("RST", 0x004), ("REDIRECT", REDIRECT), ("CONFIRM", CONFIRM))


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
    def flag_names(self) -> str:
        """The flags a reader of the protocol looks for, in words."""
        return " ".join(name for name, bit in _NAMES if self.flags & bit)


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
    """The TCP segment in an Ethernet frame; None if it holds no whole header of one right behind its IP header."""
    kind = frame[12:14]
    if kind == b"\x08\x00" and len(frame) >= ETHERNET + 20:
        start, end = ETHERNET + (frame[14] & 15) * 4, ETHERNET + int.from_bytes(frame[16:18], "big")
        version, protocol, fragment = frame[14] >> 4, frame[23], int.from_bytes(frame[20:22], "big") & 0x3FFF
        source: Address = IPv4Address(frame[26:30])
        destination: Address = IPv4Address(frame[30:34])
    elif kind == b"\x86\xdd" and len(frame) >= ETHERNET + 40:
        start, end = ETHERNET + 40, ETHERNET + 40 + int.from_bytes(frame[18:20], "big")
        version, protocol, fragment = frame[14] >> 4, frame[20], 0
        source, destination = IPv6Address(frame[22:38]), IPv6Address(frame[38:54])
    else:
        return None
    if version != source.version or protocol != 6 or fragment or start < ETHERNET + 20 or len(frame) < start + 20:
        return None
    sport, dport, seq, ack, word = struct.unpack_from("!HHIIH", frame, start)
    header = start + (word >> 12) * 4
    if header < start + 20 or header > len(frame) or header > end:
        return None
    return Segment(
        source=source,
        destination=destination,
        sport=sport,
        dport=dport,
        seq=seq,
        ack=ack,
        flags=word & 0xFFF,
        options=frame[start + 20 : header],
        data=frame[header:end],
        size=end - header,
    )


def capture(content: bytes) -> Iterator[Segment]:
    """The TCP segments in a pcap file's bytes, as tcpdump writes it on this machine; ends where the file is cut."""
    at = 24
    while at + 16 <= len(content):
        (length,) = struct.unpack_from("=I", content, at + 8)
        if at + 16 + length > len(content):
            return
        segment = tcp(content[at + 16 : at + 16 + length])
        if segment is not None:
            yield segment
        at += 16 + length


def bare_ack(source: Address, destination: Address, sport: int, dport: int) -> bytes:
    """A frame (MAC addresses 0) with a TCP acknowledgement without data or options, all numbers 0, checksums right."""
    segment = struct.pack("!HHIIHHHH", sport, dport, 0, 0, 5 << 12 | 0x010, 0xFFFF, 0, 0)
    pseudo = source.packed + destination.packed + struct.pack("!II", len(segment), 6)
    segment = segment[:16] + struct.pack("!H", _checksum(pseudo + segment)) + segment[18:]
    addresses = source.packed + destination.packed
    if source.version == 6:
        return bytes(12) + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(segment), 6, 64) + addresses + segment
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0x4000, 64, 6, 0) + addresses
    return bytes(12) + b"\x08\x00" + head[:10] + struct.pack("!H", _checksum(head)) + head[12:] + segment


def _checksum(data: bytes) -> int:
    """The internet checksum of an even number of bytes (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total
