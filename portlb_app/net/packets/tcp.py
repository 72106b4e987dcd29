"""TCP segments (RFC 9293)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from portlb_app.net.packets.addresses import Address
from portlb_app.net.packets.checksums import checksum
from portlb_app.net.packets.ip import TCP, parse_frame
from portlb_app.net.packets.option import (
    OPTION_EXID,
    OPTION_KIND,
    OPTION_REDIRECT,
    REDIRECT,
    TYPE_PORT,
    options,
)


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
    dscp: int = 0

    @property
    def announced(self) -> int | None:
        """The port that REDIRECT_OPT names; None without a well-formed one."""
        for kind, value in options(self.options):
            if kind == OPTION_KIND and len(value) == 6 and value[:2] == OPTION_EXID.to_bytes(2, "big"):
                if value[2] & 0x0F == TYPE_PORT:
                    return int.from_bytes(value[4:6], "big") or None
        return None

    @property
    def asks_redirect(self) -> bool:
        """Whether the segment asks for REDIRECT, by the header bit or by REDIRECT_OPT."""
        if self.flags & REDIRECT:
            return True
        for kind, value in options(self.options):
            if kind == OPTION_KIND and len(value) in (4, 6) and value[:2] == OPTION_EXID.to_bytes(2, "big"):
                return bool(value[2] >> 4 & OPTION_REDIRECT)
        return False


def parse_tcp(frame: bytes) -> Segment | None:
    """The TCP segment in an Ethernet frame; None without a whole TCP header, or for a fragment."""
    ip = parse_frame(frame)
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
        dscp=ip.dscp,
    )


def bare_ack(source: Address, destination: Address, sport: int, dport: int) -> bytes:
    """A frame with a bare TCP acknowledgement: MAC addresses and numbers 0, checksums correct."""
    segment = struct.pack("!HHIIHHHH", sport, dport, 0, 0, 5 << 12 | 0x010, 0xFFFF, 0, 0)
    pseudo = source.packed + destination.packed + struct.pack("!II", len(segment), 6)
    segment = segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
    addresses = source.packed + destination.packed
    if source.version == 6:
        return bytes(12) + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(segment), 6, 64) + addresses + segment
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0x4000, 64, 6, 0) + addresses
    return bytes(12) + b"\x08\x00" + head[:10] + struct.pack("!H", checksum(head)) + head[12:] + segment
