"""`round-robin` and `elevator`: every period each slot gets the next server of the list.

The list has each server as often as its weight says, spread evenly (the order in which `quotas.awards` gives slots).
Slots stand at its places, and all move on by one: so shares are as exact as ever in every turn. The elevator goes up
the list of servers and down again, and stays at each end for one period more.
"""

from __future__ import annotations

from collections.abc import Mapping

from portlb_app.selection.quotas import awards

_SPREAD = 0x9E3779B1
"""Odd, so that its multiples are different places for all slots."""


def round_robin(weights: Mapping[str, int], count: int, turn: int) -> tuple[str, ...]:
    """The slots of a pool in this turn."""
    places = awards(weights, count)
    return tuple(places[(slot * _SPREAD + turn) % count] for slot in range(count)) if places else ()


def elevator(weights: Mapping[str, int], count: int, turn: int) -> tuple[str, ...]:
    """The slots of a pool in this turn."""
    floors = sum(1 for weight in weights.values() if weight)
    if not floors:
        return ()
    within = turn % (2 * floors)
    return round_robin(weights, count, min(within, 2 * floors - 1 - within))
