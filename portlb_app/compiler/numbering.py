"""Numbers made from names, so that a name keeps its number when other names come and go."""

from __future__ import annotations

import zlib
from collections.abc import Iterable


def server_numbers(names: Iterable[str]) -> dict[str, int]:
    """By server of one VIP, its number: 32 bits, not 0.

    The number is the CRC-32 of the name. If two names have the same (once in millions of VIPs), the later name in the
    alphabet takes the next free number.
    """
    taken: dict[int, str] = {}
    for name in sorted(names):
        number = zlib.crc32(name.encode())
        while number in taken or number == 0:
            number = (number + 1) % (1 << 32)
        taken[number] = name
    return {name: number for number, name in taken.items()}
