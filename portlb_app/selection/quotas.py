"""How many slots each server of a pool has."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping

from portlb_app.selection.names import score


def awards(weights: Mapping[str, int]) -> Iterator[str]:
    """The servers in the order in which they get slots by Webster's method, without end; each once at first.

    As with every divisor method, a server that competes with fewer others never gets fewer slots: so none of its slots
    moves when another one leaves. A server of weight 0 gets none.
    """
    ranked = sorted((server for server in weights if weights[server]), key=lambda server: score("quota", server))
    yield from ranked
    next_shares = [(3 / weights[server], rank, server, 3) for rank, server in enumerate(ranked)]
    heapq.heapify(next_shares)
    while next_shares:
        _, rank, server, odd = next_shares[0]
        yield server
        heapq.heapreplace(next_shares, ((odd + 2) / weights[server], rank, server, odd + 2))


def quotas(weights: Mapping[str, int], count: int) -> dict[str, int]:
    """The number of slots of each server out of so many, in proportion to the weights.

    Each has at least one, unless its weight is 0. Empty if all are; ValueError for more servers than slots.
    """
    found = {server: 0 for server, weight in weights.items() if weight}
    if len(found) > count:
        raise ValueError(f"{len(found)} servers share {count} slots")
    for server, _ in zip(awards(weights), range(count), strict=False):
        found[server] += 1
    return found
