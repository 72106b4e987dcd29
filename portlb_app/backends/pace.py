"""How fast slots move that need not: `moves` and `slow_start` of a redirect port. Pure.

A slot of a server that is gone, down or drained moves at once. All others move from a server that works to another, and
take with them the connections of plain clients that stand on them. So they move one by one: as many as `moves` allows,
and to a server in slow start only as many as it may have by now. Only slots that differ from the goal move, and each
goes where the goal says: no slot moves twice, and the end is the same as if all moved at once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from portlb_app.config import Moves

MOST_CREDIT = 1.0
"""Seconds of moves that may be saved up."""


@dataclass
class Pace:
    """What is remembered of a pool: moves that are allowed by now, and since when servers are in slow start."""

    credit: float = 0.0
    at: float | None = None
    since: dict[str, float] = field(default_factory=dict)

    def begin(self, server: str, now: float) -> None:
        """A server is new, or back: its slow start begins, unless it goes on."""
        self.since.setdefault(server, now)

    def resume(self, server: str, share: float, seconds: float, now: float) -> None:
        """A server has this part of its slots already, and the controller has just started: it goes on from there."""
        self.since[server] = now - seconds * share

    def end(self, server: str) -> None:
        """A server has left, or does not work."""
        self.since.pop(server, None)

    def rest(self, now: float) -> None:
        """Nothing is to move; what could have is not saved up."""
        self.credit, self.at = 0.0, now
        self.since.clear()

    def step(
        self,
        present: Sequence[str | None],
        goal: Sequence[str],
        working: Collection[str],
        moves: Moves,
        slow_start: int,
        now: float,
    ) -> tuple[str, ...]:
        """The slots of the pool now, on their way from `present` to `goal`."""
        wanted = Counter(goal)
        most = {server: self._may_have(server, wanted[server], slow_start, now) for server in self.since}
        self.since = {name: since for name, since in self.since.items() if now - since < slow_start}
        table, moved = _step(present, goal, working, self.allowed(moves, now), most)
        self.spend(moved)
        return table

    def spend(self, moved: int) -> None:
        """So many slots have moved."""
        self.credit = max(0.0, self.credit - moved)

    def _may_have(self, server: str, wanted: int, slow_start: int, now: float) -> int:
        """The slots that a server in slow start may have: one at first, all of them at the end."""
        passed = (now - self.since[server]) / slow_start if slow_start else 1.0
        return wanted if passed >= 1 else max(1, math.floor(wanted * passed))

    def allowed(self, moves: Moves, now: float) -> int | None:
        """How many slots may move by now; None: all."""
        passed, self.at = now - (self.at if self.at is not None else now), now
        if moves.per_second is None:
            return None
        self.credit = min(self.credit + passed * moves.per_second, max(1.0, MOST_CREDIT * moves.per_second))
        return math.floor(self.credit)


def first_step(
    present: Sequence[str | None], goal: Sequence[str], working: Collection[str], at_once: bool, slow: Collection[str]
) -> tuple[str, ...]:
    """The slots with which the way begins: what must move, and if all may, what does not go to a slow server.

    Such a server has one slot at first, or those that it has.
    """
    most = {server: max(1, sum(each == server for each in present)) for server in slow}
    return _step(present, goal, working, None if at_once else 0, most)[0]


def _step(
    present: Sequence[str | None],
    goal: Sequence[str],
    working: Collection[str],
    allowed: int | None,
    most: Mapping[str, int],
) -> tuple[tuple[str, ...], int]:
    """The slots now, and how many moved that need not.

    Of these, those come first that are far apart in the table, so that no group of it empties before the others.
    """
    table: list[str] = [server if server is not None else goal[slot] for slot, server in enumerate(present)]
    working = set(working)
    left = [slot for slot, server in enumerate(present) if server != goal[slot]]
    for slot in left:
        if present[slot] not in working:
            table[slot] = goal[slot]
    room = {server: limit - table.count(server) for server, limit in most.items()}
    moved = 0
    for slot in sorted(left, key=lambda each: (each * 0x9E3779B1 % (1 << 32), each)):
        taker = goal[slot]
        if table[slot] == taker or (allowed is not None and moved >= allowed) or room.get(taker, 1) <= 0:
            continue
        table[slot] = taker
        moved += 1
        if taker in room:
            room[taker] -= 1
    return tuple(table), moved
