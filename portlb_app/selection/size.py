"""How many slots a pool has: enough that no server gets noticeably more than its share.

Up to 32 servers share 256 slots. A larger pool has 2^k times as many, in 2^k groups of 256: k is the smallest for which
a server has 32 slots on average and the fullest one has less than 2 % more than its share, and at most 7. With equal
weights that makes 2048 slots of 50 servers, 8192 of 200 and 16,384 of 500. When some of them are down, the others still
have equal shares.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from portlb_app.pipeline import MAX_GROUP_BITS, SLOTS
from portlb_app.selection.quotas import quotas

SMALL = 32
"""Up to so many servers, 256 slots are enough: equal ones differ by at most one slot in eight or nine."""
_EACH = 32
"""The least slots that a server of a large pool has, on average."""
_MOST = 0.02
"""How far above its share the fullest server of a large pool may be."""


def fewest_bits(servers: int) -> int:
    """k of the smallest pool in which so many servers have a slot each."""
    return max(0, (servers - 1).bit_length() - (SLOTS - 1).bit_length())


def deviation(weights: Mapping[str, int], count: int) -> float:
    """How far the fullest server of a pool with so many slots is above its share: 0.02 means 2 %."""
    total, found = sum(weights.values()), quotas(weights, count)
    return max((found[server] * total / (count * weights[server]) for server in found), default=1.0) - 1


def group_bits(weights: Mapping[str, int], most: int = MAX_GROUP_BITS) -> int:
    """k of a pool with these weights, if it may be up to `most`."""
    named = tuple(sorted(weights.items()))
    return 0 if len(named) <= SMALL else _group_bits(named, most)


@lru_cache(maxsize=1024)
def _group_bits(named: tuple[tuple[str, int], ...], most: int) -> int:
    weights = dict(named)
    used = sum(1 for weight in weights.values() if weight)
    needed = (max(used * _EACH, SLOTS) - 1).bit_length() - (SLOTS - 1).bit_length()
    by_bits = {}
    for bits in range(min(needed, most), most + 1):
        if used > SLOTS << bits:
            continue
        by_bits[bits] = deviation(weights, SLOTS << bits)
        if by_bits[bits] < _MOST:
            return bits
    return min(by_bits, key=lambda bits: (by_bits[bits], bits), default=needed)
