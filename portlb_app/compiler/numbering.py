"""Numbers made from names, so that a name keeps its number when other names come and go."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from portlb_app.pipeline import NUMBERS


def server_numbers(names: Iterable[str]) -> dict[str, int]:
    """By server of one VIP, its number: 32 bits, not 0.

    The number is the CRC-32 of the name. If two names have the same (once in millions of VIPs), the later name in the
    alphabet takes the next free number.
    """
    return _numbers(names, 1 << 32)


def mark_numbers(names: Iterable[str]) -> dict[str, int]:
    """By server of one VIP, its number as a former one of a slot: 16 bits, not 0, by the same rule.

    Two of 200 names have the same in one VIP of four; a server that comes or goes then changes the other's number.
    """
    return _numbers(names, NUMBERS)


def _numbers(names: Iterable[str], limit: int) -> dict[str, int]:
    taken: dict[int, str] = {}
    for name in sorted(names):
        number = zlib.crc32(name.encode()) % limit
        while number in taken or number == 0:
            number = (number + 1) % limit
        taken[number] = name
    return {name: number for number, name in taken.items()}
