"""`random`: the servers draw lots for the slots, and again every period.

The lots of a turn follow from its number, so whoever computes them gets the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping

from portlb_app.selection.names import score
from portlb_app.selection.quotas import quotas

_MULTIPLIER = 6364136223846793005
"""Of Knuth's 64-bit generator (MMIX): of its numbers only the upper half is used."""


def shuffled(weights: Mapping[str, int], count: int, turn: int) -> tuple[str, ...]:
    """The slots of a pool in this turn: each server has its quota of so many slots, drawn by lot."""
    wanted = quotas(weights, count)
    table = [server for server in sorted(wanted) for _ in range(wanted[server])]
    state = score("turn", turn, *sorted(wanted))
    for last in range(len(table) - 1, 0, -1):
        state = (state * _MULTIPLIER + 1) % (1 << 64)
        other = (state >> 32) % (last + 1)
        table[last], table[other] = table[other], table[last]
    return tuple(table)
