"""From the slots of a pool to those of fewer, more or other servers, moving as few of them as possible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from portlb_app.selection import quotas, scores, slots


def slots_among(servers: tuple[str, ...], weights: tuple[int, ...], some: frozenset[str]) -> tuple[str, ...]:
    """The slots of a pool of which only `some` servers can be reached; see `among`."""
    return among(slots(servers, weights), servers, weights, some) if servers else ()


@lru_cache(maxsize=8192)
def among(
    table: tuple[str, ...], servers: tuple[str, ...], weights: tuple[int, ...], some: frozenset[str]
) -> tuple[str, ...]:
    """The slots of a table in which only `some` servers can be reached: these keep their own slots.

    They share the slots of the others: by the servers' weights if these decided about the table, else by the number of
    slots that each has. So switches on one path that hash alike agree on a packet's server; switches that hash in
    different ways still share fairly. A server without a slot gets none.
    """
    present = Counter(table)
    reached = [server for server in servers if server in some and server in present]
    if not reached:
        return ()
    if len(reached) == len(present):
        return table
    shares = _shares(table, servers, weights)
    quota = quotas({server: shares[server] for server in reached})
    free = {server: quota[server] - present[server] for server in reached}
    candidates = {server: scores(server) for server, more in free.items() if more}
    result = list(table)
    for slot, server in enumerate(table):
        if server not in free:
            result[slot] = nearest = min(candidates, key=lambda each: (candidates[each][slot], each))
            free[nearest] -= 1
            if not free[nearest]:
                del candidates[nearest]
    return tuple(result)


@lru_cache(maxsize=1024)
def _shares(table: tuple[str, ...], servers: tuple[str, ...], weights: tuple[int, ...]) -> Mapping[str, int]:
    """What the shares of a table's servers are in proportion to: their weights, or their slots."""
    present = dict(Counter(table))
    by_weight = {server: weight for server, weight in zip(servers, weights, strict=True) if server in present}
    return by_weight if by_weight.keys() == present.keys() and quotas(by_weight) == present else present


def adjusted(
    table: Sequence[str | None], weights: Mapping[str, int], homes: Sequence[Sequence[str | None]] = ()
) -> tuple[str, ...]:
    """A table in which each server has its share of the slots by its weight, as few slots as possible having moved.

    `homes`: tables that say, the first one first, which server a slot that must move shall rather go to; so a server
    that leaves and comes back has its old slots again. A slot without a server, or with one that has no weight, goes to
    another one. Empty without servers.
    """
    if not weights:
        return ()
    present = Counter(table)
    surplus = dict(present)
    lacks: dict[str, int] = {}
    for server, quota in quotas(weights).items():
        surplus[server] = present[server] - quota
        if surplus[server] < 0:
            lacks[server] = -surplus[server]
    if not lacks:
        return tuple(server for server in table if server is not None)
    result = list(table)
    for _, _, slot, server in sorted(_moves(table, surplus, lacks, homes)):
        holder = result[slot]
        if lacks[server] and holder == table[slot] and surplus.get(holder, 1) > 0:
            result[slot] = server
            lacks[server] -= 1
            if holder is not None:
                surplus[holder] -= 1
    return tuple(server for server in result if server is not None)


def _moves(
    table: Sequence[str | None],
    surplus: Mapping[str | None, int],
    lacks: Mapping[str, int],
    homes: Sequence[Sequence[str | None]],
) -> Iterator[tuple[int, int, int, str]]:
    """Every move that may be made, with what orders them: how far home is, the score, the slot, and to which server."""
    points = {server: scores(server) for server in lacks}
    for slot, holder in enumerate(table):
        if holder is None or surplus[holder] > 0:
            for server in lacks:
                rank = next((rank for rank, home in enumerate(homes) if home[slot] == server), len(homes))
                yield rank, points[server][slot], slot, server
