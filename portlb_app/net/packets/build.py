"""Frames that the controller makes itself: TCP segments and echo requests."""

from __future__ import annotations

import struct
from typing import NamedTuple

from portlb_app.net.packets.addresses import Address
from portlb_app.net.packets.checksums import checksum
from portlb_app.net.packets.ip import ICMP, ICMP6, TCP

_TTL = 64
_DONT_FRAGMENT = 0x4000


class Ends(NamedTuple):
    """Where a frame is from, and where it goes: MAC addresses (48 bits) and IP addresses of one family."""

    source_mac: int
    destination_mac: int
    source: Address
    destination: Address


def make_segment(
    ends: Ends, ports: tuple[int, int], seq: int, ack: int, flags: int, window: int, data: bytes = b"", mss: int = 0
) -> bytes:
    """A TCP segment (RFC 9293, 3.1) from the first of `ports` to the second; `mss`: the option, if it is not 0."""
    options = struct.pack("!BBH", 2, 4, mss) if mss else b""
    word = (20 + len(options)) // 4 << 12 | flags
    head = struct.pack("!HHIIHHHH", *ports, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, word, window, 0, 0)
    return _frame(ends, TCP, head + options + data, 16)


def make_echo_request(ends: Ends, identifier: int, sequence: int, data: bytes = b"") -> bytes:
    """An echo request (RFC 792, RFC 4443)."""
    kind, protocol = (8, ICMP) if ends.source.version == 4 else (128, ICMP6)
    return _frame(ends, protocol, struct.pack("!BBHHH", kind, 0, 0, identifier, sequence) + data, 2)


def _frame(ends: Ends, protocol: int, payload: bytes, at: int) -> bytes:
    """The frame with this payload, whose checksum is at the offset `at`."""
    addresses = ends.source.packed + ends.destination.packed
    pseudo = b"" if protocol == ICMP else addresses + struct.pack("!II", len(payload), protocol)
    payload = payload[:at] + struct.pack("!H", checksum(pseudo + payload)) + payload[at + 2 :]
    ethernet = ends.destination_mac.to_bytes(6, "big") + ends.source_mac.to_bytes(6, "big")
    if ends.source.version == 6:
        head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, _TTL)
        return ethernet + b"\x86\xdd" + head + addresses + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, _DONT_FRAGMENT, _TTL, protocol, 0) + addresses
    return ethernet + b"\x08\x00" + head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload
