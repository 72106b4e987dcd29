"""The slots that a pool begins with: made from the names and weights of its servers, and nothing else.

So every restart and every switch computes the same ones. Of a pool with 256 slots they are made by greedy rendezvous
hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998) with a quota for each server
by its weight: every pair of slot and server has a score, and the pairs are taken in the order of their scores, as long
as the slot is free and the server's quota is not used up. Of a larger pool there are too many pairs: its servers take
turns, in the order in which they are awarded slots, and each takes the next free slot of an order of its own (as in
Maglev, NSDI 2016).

From then on `assignment.move` changes slots, and moves as few as possible.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache

from portlb_app.pipeline import SLOTS
from portlb_app.selection.names import score
from portlb_app.selection.quotas import awards, quotas

_LARGE = 64
"""Tables of more than 256 slots that are remembered."""
_FEW = 128
"""So many free slots are sooner looked at than found by passing those that are not."""


@lru_cache(maxsize=8192)
def _scores(server: str) -> array[int]:
    """A server's score for each of 256 slots."""
    return array("Q", (score(slot, server) for slot in range(SLOTS)))


@lru_cache(maxsize=8192)
def _best(server: str) -> tuple[int, ...]:
    """The 256 slots in the order of a server's scores for them."""
    return tuple(sorted(range(SLOTS), key=_scores(server).__getitem__))


@lru_cache(maxsize=8192)
def _walk(server: str) -> tuple[int, int]:
    """Where the order begins in which a server wants the slots of a large pool, and how far it goes each time."""
    return score("first", server), score("step", server)


def slots(servers: tuple[str, ...], weights: tuple[int, ...] = (), bits: int = 0) -> tuple[str, ...]:
    """The slots of a pool: 256 names, times 2^bits, each server's share exact to one slot; empty for an empty pool.

    Without weights all are equal; a server of weight 0 has no slot. The order of the servers does not matter.
    ValueError for more servers than slots, a name that occurs twice, or weights that are not one per server.
    """
    return _slots_of_large(servers, weights, bits) if bits else _slots_of_small(servers, weights)


@lru_cache(maxsize=1024)
def _slots_of_small(servers: tuple[str, ...], weights: tuple[int, ...]) -> tuple[str, ...]:
    """Every server asks for the slots that it has the best scores for, and each slot takes the best that asks.

    A server that a slot takes no more asks for its next one. That ends where taking all pairs in the order of their
    scores ends, because servers and slots have the same opinion of a pair (Gale and Shapley, "College admissions and
    the stability of marriage", 1962). Most pairs are never looked at.
    """
    wanted = quotas(_weighed(servers, weights), SLOTS)
    asking = {server: iter(_best(server)) for server in wanted}
    taken: dict[int, tuple[int, str]] = {}
    for server, most in wanted.items():
        for _ in range(most):
            asks = server
            while asks:
                slot = next(asking[asks])
                offer = _scores(asks)[slot], asks
                holder = taken.get(slot)
                if holder is None or offer < holder:
                    taken[slot] = offer
                    asks = holder[1] if holder else ""
    return tuple(taken[slot][1] for slot in range(SLOTS)) if taken else ()


@lru_cache(maxsize=_LARGE)
def _slots_of_large(servers: tuple[str, ...], weights: tuple[int, ...], bits: int) -> tuple[str, ...]:
    weighed, last = _weighed(servers, weights), (SLOTS << bits) - 1
    result = [""] * (last + 1)
    at, step = {}, {}
    for server in servers:
        first, far = _walk(server)
        at[server], step[server] = first & last, far & last | 1
    takers = awards(weighed, last + 1)
    walks = max(0, len(takers) - _FEW)
    for server in takers[:walks]:
        slot, far = at[server], step[server]
        while result[slot]:
            slot = slot + far & last  # an odd step passes all of them
        result[slot] = server
        at[server] = slot
    free = [slot for slot, holder in enumerate(result) if not holder]
    for server in takers[walks:]:  # it is a long way to a free slot now: the number of steps to each is known, too
        slot, back = at[server], pow(step[server], -1, last + 1)
        steps = min([(each - slot) * back & last for each in free])
        slot = slot + steps * step[server] & last
        result[slot] = server
        free.remove(slot)
    return tuple(result) if takers else ()


def _weighed(servers: tuple[str, ...], weights: tuple[int, ...]) -> dict[str, int]:
    weights = weights or (1,) * len(servers)
    if len(set(servers)) != len(servers):
        raise ValueError("a pool has each of its servers once")
    if len(weights) != len(servers) or min(weights, default=0) < 0:
        raise ValueError("every server has a weight")
    return dict(zip(servers, weights, strict=True))


def slots_among(
    servers: tuple[str, ...], weights: tuple[int, ...], some: frozenset[str], bits: int = 0
) -> tuple[str, ...]:
    """The slots of a pool of which only `some` servers can be reached: these keep their own slots."""
    among = _among_large if bits else _among_small
    return among(servers, weights, some, bits)


def _among(servers: tuple[str, ...], weights: tuple[int, ...], some: frozenset[str], bits: int) -> tuple[str, ...]:
    return restrict(slots(servers, weights, bits), _weighed(servers, weights), some)


_among_small, _among_large = lru_cache(maxsize=8192)(_among), lru_cache(maxsize=_LARGE)(_among)


def restrict(table: tuple[str, ...], weights: Mapping[str, int], some: frozenset[str]) -> tuple[str, ...]:
    """A table of which only `some` servers can be reached: these keep their own slots.

    They share the slots of the others by weight. So switches on one path that hash alike agree on a packet's server;
    switches that hash in different ways still share fairly. Empty if none can be reached.
    """
    holders = set(table)
    if holders <= some:
        return table
    here = {server: weights.get(server) or 1 for server in sorted(holders & some)}
    if not here:  # those that can be reached have no slots: they stand in
        here = {server: weight for server, weight in sorted(weights.items()) if server in some and weight}
    if not here:
        return ()
    free = quotas(here, max(len(table), len(here)))
    for server in table:
        if server in here:
            free[server] -= 1
    shared = [slot for slot, server in enumerate(table) if server not in here]
    takers = _by_score(shared, free) if len(table) == SLOTS else _in_turn(free, len(shared))
    result = list(table)
    for slot, taker in zip(shared, takers, strict=True):
        result[slot] = taker
    return tuple(result)


def shares(table: tuple[str, ...], weights: Mapping[str, int]) -> Mapping[str, int]:
    """What the shares of a table's servers are in proportion to: their weights, or else the slots that they have."""
    present = Counter(table)
    by_weight = {server: weights[server] for server in present if weights.get(server)}
    is_by_weight = len(by_weight) == len(present) and quotas(by_weight, len(table)) == present
    return by_weight if is_by_weight else present


def _by_score(shared: list[int], free: Mapping[str, int]) -> Iterator[str]:
    """For each of these slots, of the servers that lack slots the one with the best score for it."""
    candidates = {server: more for server, more in free.items() if more > 0} or dict.fromkeys(free, len(shared))
    for slot in shared:
        server = min(candidates, key=lambda each: (_scores(each)[slot], each))
        yield server
        candidates[server] -= 1
        if not candidates[server] and len(candidates) > 1:
            del candidates[server]


def _in_turn(free: Mapping[str, int], count: int) -> list[str]:
    """So many servers, each as often as it lacks slots, in an order as if drawn by lot."""
    turns = [(score(server, turn), server) for server, more in free.items() for turn in range(max(0, more))]
    return [server for _, server in sorted(turns)[:count]]


def choose(slots: tuple[str, ...], *words: object) -> str:
    """The server of the slot that a hash of `words` chooses; there must be slots.

    For packets that the switch cannot hash by their ports. The switch's own hash would choose another slot.
    """
    return slots[score("choose", *words) % len(slots)]
