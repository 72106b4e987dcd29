"""Bytes of packets to values: what is on the wire, for who has to look at it.

Every parser here takes bytes from an attacker: it reads within what it was given, walks options within the header's own
bound, and returns None for what is not what it reads. (`ryu.lib.packet` loops for ever on a TCP option of length 0, and
drops the bits this protocol lives by.)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

REDIRECT = 0x800
"""The REDIRECT header bit, in the low 12 bits of the 16-bit word at offset 12 of a TCP header."""
CONFIRM = 0x400
"""The REDIRECT_CONFIRM header bit."""
OPTION_KIND = 253
"""TCP option kind of REDIRECT_OPT: shared experimental use (RFC 6994)."""
OPTION_EXID = 0x5250
"""The experiment's identifier within that kind."""
TYPE_PORT = 1

_ETHERNET = 14
_NAMES = (("SYN", 0x002), ("ACK", 0x010), ("FIN", 0x001), ("RST", 0x004), ("REDIRECT", REDIRECT), ("CONFIRM", CONFIRM))


@dataclass(frozen=True)
class Segment:
    """An unfragmented IPv4 TCP segment; ``flags`` as Open vSwitch's 12-bit ``tcp_flags``, ``size`` bytes of data.

    ``data`` may be shorter than ``size`` where a capture cut it.
    """

    source: IPv4Address
    destination: IPv4Address
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
    """The TCP segment in an Ethernet frame; None if it holds no whole header of one, or a fragment."""
    if len(frame) < _ETHERNET + 20 or frame[12:14] != b"\x08\x00" or frame[23] != 6 or frame[14] >> 4 != 4:
        return None
    start = _ETHERNET + (frame[14] & 15) * 4
    total, fragment = struct.unpack_from("!H2xH", frame, 16)
    if start < _ETHERNET + 20 or fragment & 0x3FFF or len(frame) < start + 20:
        return None
    sport, dport, seq, ack, word = struct.unpack_from("!HHIIH", frame, start)
    header = start + (word >> 12) * 4
    end = _ETHERNET + total
    if header < start + 20 or header > len(frame) or header > end:
        return None
    return Segment(
        source=IPv4Address(frame[26:30]),
        destination=IPv4Address(frame[30:34]),
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
