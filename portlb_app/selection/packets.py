"""`least-packets` (row L3): slots move from servers that get more packets than their share to those that get fewer.

The switch counts the packets of each slot. A slot with much traffic can be most of a server's load (one large transfer
of UDP), so this moves slots and not shares: of the fullest server that slot which, at the emptiest one, makes both most
alike. Nothing moves within a dead band, or while there is little to count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

DEAD_BAND = 0.1
"""How far above its share the fullest server may be."""
ENOUGH = 100
"""Packets of a pool between two looks, below which nothing moves."""


def moves(
    table: Sequence[str], packets: Sequence[float], weights: Mapping[str, int], most: int
) -> list[tuple[int, str]]:
    """Which slots go to which servers, at most so many.

    `packets`: those of each slot since the last look. A server of weight 0, or with a single slot, gives none away.
    """
    used = {server: weight for server, weight in weights.items() if weight}
    total, sum_of_weights = sum(packets), sum(used.values())
    if len(used) < 2 or total < ENOUGH:
        return []
    load, held = dict.fromkeys(used, 0.0), dict.fromkeys(used, 0)
    slots_of: dict[str, list[int]] = {server: [] for server in used}
    for slot, server in enumerate(table):
        if server in used:
            load[server] += packets[slot]
            held[server] += 1
            slots_of[server].append(slot)
    share = {server: total * weight / sum_of_weights for server, weight in used.items()}
    found: list[tuple[int, str]] = []
    moved: set[int] = set()
    while len(found) < most:
        giver = max(used, key=lambda server: (load[server] / share[server], server))
        taker = min(used, key=lambda server: (load[server] / share[server], server))
        over, room = load[giver] - share[giver], share[taker] - load[taker]
        if over <= DEAD_BAND * share[giver] or held[giver] < 2:
            break
        wanted = min(over, (over + room) / 2)
        some = [slot for slot in slots_of[giver] if slot not in moved and 0 < packets[slot] <= over + room]
        if not some:
            break
        slot = min(some, key=lambda each: (abs(packets[each] - wanted), each))
        if max(_over(load[giver] - packets[slot], share[giver]), _over(load[taker] + packets[slot], share[taker])) >= (
            _over(load[giver], share[giver])
        ):
            break  # it would only change sides
        found.append((slot, taker))
        moved.add(slot)
        load[giver] -= packets[slot]
        load[taker] += packets[slot]
        held[giver] -= 1
        held[taker] += 1
        slots_of[giver].remove(slot)
    return found


def _over(load: float, share: float) -> float:
    return load / share
