"""From the slots that a pool has to those it is to have: as few as possible change their server.

A server that has more slots than its quota gives the surplus away, one that has left gives all; who has fewer takes
them. Nothing else moves: no slot changes between two servers whose quotas are met. Of the slots that may move, those
come first that the taker would have in a pool that begins anew (`table.slots`); so a server that leaves and comes back
has its own slots again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TypeVar

from portlb_app.pipeline import MAX_GROUP_BITS, SLOTS
from portlb_app.selection.names import score
from portlb_app.selection.quotas import quotas
from portlb_app.selection.table import slots

Server = TypeVar("Server", str, "str | None")
_SPREAD = 0x9E3779B1
"""Odd, so that its multiples run through all slots; two slots that follow each other get far apart."""


def resize(table: Sequence[Server], bits: int) -> tuple[Server, ...]:
    """The same table with 2^bits groups of 256 slots.

    With more groups no connection moves: a further bit of the source port chooses between two groups that are equal.
    With fewer, half of the groups go, and every slot of theirs that differs moves.
    """
    count = SLOTS << bits
    return (tuple(table) * (count // len(table) or 1))[:count] if table else ()


def move(
    before: Sequence[str | None],
    weights: Mapping[str, int],
    bits: int | None = None,
    homes: Sequence[Sequence[str | None]] = (),
) -> tuple[str, ...]:
    """The slots of a pool with these weights, of which as few as possible differ from those `before`.

    A slot `before` may have no server. `bits`: the number of its groups, if it is not to be as before. `homes`: tables
    that say, the first one first, to which server a slot that must move rather goes; the last one is always the table
    that a new pool of these servers begins with. The order of the weights does not matter.
    """
    servers = tuple(sorted(server for server, weight in weights.items() if weight))
    each = tuple(weights[server] for server in servers)
    if not before or not servers:
        return slots(servers, each, bits or 0)
    if bits is not None and len(before) != SLOTS << bits:
        before = resize(before, bits)
    wanted = quotas(weights, len(before))
    held = Counter(before)
    lack = {server: most - held[server] for server, most in wanted.items() if most > held[server]}
    result = list(before)
    surplus = {server: more - wanted.get(server or "", 0) for server, more in held.items()}
    givers = {server for server, more in surplus.items() if more > 0}
    movable = [slot for slot in _spread(len(before)) if before[slot] in givers] if lack else []
    for home in homes:
        movable = _send_home(result, movable, surplus, lack, home)
    if lack:
        anew = slots(servers, each, (len(before) // SLOTS).bit_length() - 1)
        _share_out(result, _send_home(result, movable, surplus, lack, anew), surplus, lack)
    return tuple(server for server in result if server is not None)


def _send_home(
    result: list[str | None],
    movable: list[int],
    surplus: dict[str | None, int],
    lack: dict[str, int],
    home: Sequence[str | None],
) -> list[int]:
    """Of the slots of servers with too many, let those move that another table gives to one that lacks some.

    Returns the slots that have not moved.
    """
    if not home:
        return movable
    left, size = [], len(home)
    for slot in movable:
        giver, taker = result[slot], home[slot % size]
        if not surplus[giver]:
            continue
        if taker is None or taker not in lack:
            left.append(slot)
            continue
        result[slot] = taker
        surplus[giver] -= 1
        lack[taker] -= 1
        if not lack[taker]:
            del lack[taker]
    return left


def _share_out(
    result: list[str | None], movable: list[int], surplus: dict[str | None, int], lack: Mapping[str, int]
) -> None:
    """Give what is still too many to the servers that still lack some, in an order as if drawn by lot."""
    takers = iter(sorted((score(server, turn), server) for server, more in lack.items() for turn in range(more)))
    for slot in movable:
        giver = result[slot]
        if surplus[giver]:
            surplus[giver] -= 1
            result[slot] = next(takers)[1]


@lru_cache(maxsize=MAX_GROUP_BITS + 1)
def _spread(count: int) -> tuple[int, ...]:
    """All slots, in an order in which those that follow each other are far apart."""
    return tuple(sorted(range(count), key=[slot * _SPREAD % (1 << 32) for slot in range(count)].__getitem__))
