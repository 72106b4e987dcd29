"""The internet checksum (RFC 1071), and how it is amended."""

from __future__ import annotations

import struct


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071); an odd last byte counts as if a zero followed."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def amend(data: bytearray, at: int, old: bytes, new: bytes, never_zero: bool = False) -> None:
    """Amend the checksum at `at` for bytes that changed from `old` to `new`, of equal and even length (RFC 1624, 3).

    `never_zero`: a checksum of 0 would mean that there is none, so it is sent as 0xFFFF (RFC 768; RFC 3828, 3.1).
    """
    total = 0xFFFF - int.from_bytes(data[at : at + 2], "big")
    for before, after in zip(*(struct.unpack(f"!{len(old) // 2}H", each) for each in (old, new)), strict=True):
        total += 0xFFFF - before + after
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    checksum = 0xFFFF - total
    data[at : at + 2] = (0xFFFF if never_zero and not checksum else checksum).to_bytes(2, "big")
