"""Properties, actions and instructions: pieces that begin with their type and their length."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from portlb_app.openflow.messages import Malformed

REMEMBERED = 1024
"""The longest list of actions, or of match fields, in bytes, whose meaning is remembered for the next one like it. A
switch chooses what it tells, and thousands of the longest would take gigabytes."""


def pieces(data: bytes, align: int = 1) -> Iterator[tuple[int, bytes]]:
    """(type, whole piece) of each piece in `data`. Type and length have 16 bits; each piece is padded to `align` bytes.

    Malformed if the lengths do not fit `data`.
    """
    offset = 0
    while offset < len(data):
        if len(data) - offset < 4:
            raise Malformed(f"{len(data) - offset} bytes are left over")
        kind, length = struct.unpack_from("!HH", data, offset)
        if not 4 <= length <= len(data) - offset:
            raise Malformed(f"a piece of type {kind:#x} says it has {length} bytes of {len(data) - offset}")
        yield kind, data[offset : offset + length]
        offset += -(-length // align) * align
