"""How many slots each server of a pool has."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from functools import lru_cache
from itertools import chain

from portlb_app.selection.names import score

_ALL_BUT_ROUNDING = 1 - 1e-9


def awards(weights: Mapping[str, int], count: int) -> list[str]:
    """The servers in the order in which they get so many slots by Webster's method; each once at first.

    A server's slot number n (1, 2, …) has its turn by (2n - 1) / weight; of several whose turn it is, a score of their
    names decides. As with every divisor method, a server that competes with fewer others never gets fewer slots: so
    none of its slots moves when another one leaves. A server of weight 0 gets none. ValueError for more servers than
    slots.
    """
    found = quotas(weights, count)
    result = sorted(found, key=_rank)
    equal: dict[int, list[str]] = {}
    """The servers of each weight, which have their turns together."""
    for server in result:
        equal.setdefault(weights[server], []).append(server)
    takers: dict[float, list[str]] = {}
    for weight, servers in equal.items():
        turns = [odd / weight for odd in range(3, 2 * max(map(found.__getitem__, servers)), 2)]
        shared = {turn: sorted(takers[turn] + servers, key=_rank) for turn in takers.keys() & turns}
        takers.update(dict.fromkeys(turns, servers))
        takers.update(shared)
    result += chain.from_iterable(map(takers.__getitem__, sorted(takers)))
    return result[:count]


def quotas(weights: Mapping[str, int], count: int) -> dict[str, int]:
    """The number of slots of each server out of so many, in proportion to the weights.

    Each has at least one, unless its weight is 0. Empty if all are; ValueError for more servers than slots.
    """
    found = {server: 1 for server, weight in weights.items() if weight}
    if len(found) > count:
        raise ValueError(f"{len(found)} servers share {count} slots")
    if not found:
        return found
    turn = _turn([weights[server] for server in found], count) * _ALL_BUT_ROUNDING
    for server in found:
        found[server] = max(1, int((turn * weights[server] + 1) / 2))
    following = [((2 * slots + 1) / weights[server], _rank(server), server) for server, slots in found.items()]
    heapq.heapify(following)
    for _ in range(count - sum(found.values())):
        _, rank, server = following[0]
        found[server] += 1
        heapq.heapreplace(following, ((2 * found[server] + 1) / weights[server], rank, server))
    return found


def _turn(weights: list[int], count: int) -> float:
    """A turn by which so many slots are not awarded yet, but almost.

    By a turn t, a server has got at most (t * weight + 1) / 2 slots, and 1 if that is less.
    """
    while True:
        turn = (2 * count - len(weights)) / sum(weights)
        large = [weight for weight in weights if turn * weight >= 1]
        if len(large) == len(weights):
            return turn
        count -= len(weights) - len(large)
        weights = large


@lru_cache(maxsize=8192)
def _rank(server: str) -> int:
    return score("quota", server)
