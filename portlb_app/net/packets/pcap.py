"""Captures as tcpdump writes them."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from portlb_app.net.packets.tcp import Segment, parse_tcp


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
        segment = parse_tcp(frame)
        if segment is not None:
            yield segment
