"""The slots of pools by the plainest code: what `portlb_app.selection` computes in a tenth of the time.

Every function says what slots are in the words of the module it stands for, and takes no short cut.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from portlb_app.pipeline import SLOTS
from portlb_app.selection.names import score

_SPREAD = 0x9E3779B1


def awards(weights: Mapping[str, int]) -> Iterator[str]:
    """The servers in the order in which they get slots (Webster), without end; each once at first."""
    ranked = sorted((server for server in weights if weights[server]), key=lambda server: score("quota", server))
    yield from ranked
    next_shares = [(3 / weights[server], rank, server, 3) for rank, server in enumerate(ranked)]
    heapq.heapify(next_shares)
    while next_shares:
        _, rank, server, odd = next_shares[0]
        yield server
        heapq.heapreplace(next_shares, ((odd + 2) / weights[server], rank, server, odd + 2))


def quotas(weights: Mapping[str, int], count: int) -> dict[str, int]:
    """How many slots each server has out of so many."""
    found = {server: 0 for server, weight in weights.items() if weight}
    for server, _ in zip(awards(weights), range(count), strict=False):
        found[server] += 1
    return found


def slots(weights: Mapping[str, int], bits: int) -> tuple[str, ...]:
    """The slots that a pool begins with."""
    return _large(weights, SLOTS << bits) if bits else _small(weights)


def _small(weights: Mapping[str, int]) -> tuple[str, ...]:
    """All pairs of slot and server in the order of their scores, while the slot is free and the quota not used up."""
    free = quotas(weights, SLOTS)
    result: dict[int, str] = {}
    for _, slot, server in sorted((score(slot, server), slot, server) for server in free for slot in range(SLOTS)):
        if free[server] and slot not in result:
            result[slot] = server
            free[server] -= 1
    return tuple(result[slot] for slot in range(SLOTS)) if result else ()


def _large(weights: Mapping[str, int], count: int) -> tuple[str, ...]:
    """In the order of awards, each server takes the next free slot of its own order."""
    result: dict[int, str] = {}
    at = {server: score("first", server) % count for server in weights}
    for server, _ in zip(awards(weights), range(count), strict=False):
        while at[server] in result:
            at[server] = (at[server] + (score("step", server) % count | 1)) % count
        result[at[server]] = server
    return tuple(result[slot] for slot in range(count)) if result else ()


def move(
    before: Sequence[str | None], weights: Mapping[str, int], homes: Sequence[Sequence[str | None]]
) -> tuple[str, ...]:
    """The slots of a pool that had others, of which as few as possible move."""
    wanted, held, result = quotas(weights, len(before)), Counter(before), list(before)
    lack = {server: max(0, most - held[server]) for server, most in wanted.items()}
    surplus = {server: more - wanted.get(server or "", 0) for server, more in held.items()}
    spread = sorted(range(len(before)), key=lambda slot: slot * _SPREAD % (1 << 32))
    for home in (*homes, slots(weights, (len(before) // SLOTS).bit_length() - 1)):
        for slot in spread if home else ():
            giver, taker = before[slot], home[slot % len(home)]
            if surplus[giver] > 0 and result[slot] == giver and taker is not None and lack.get(taker):
                result[slot] = taker
                surplus[giver] -= 1
                lack[taker] -= 1
    takers = iter(sorted((score(server, turn), server) for server, more in lack.items() for turn in range(more)))
    for slot in spread:
        if surplus[before[slot]] > 0 and result[slot] == before[slot]:
            surplus[before[slot]] -= 1
            result[slot] = next(takers)[1]
    return tuple(server for server in result if server is not None)
