"""The slots of one pool over time: those that it has, those that it shall have, and how fast it gets there. Pure.

What a pool shall have follows from its algorithm (`goal`): with lots and turns from the time alone; else from the slots
that it has, of which as few as possible move (`moves.next_table`), by the weights of its servers or by the shares that
their load has given them. How fast it gets there is a matter of `moves` and `slow_start` (`pace`).

A configuration that is only proposed has the slots that it would begin with: so it makes no difference whether a change
is tried or live, and no time passes in a trial.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from portlb_app.backends.formers import Formers
from portlb_app.backends.loads import AT_ONCE, USUAL
from portlb_app.backends.moves import Table, next_table, whole
from portlb_app.backends.pace import Pace, first_step
from portlb_app.backends.pools import Pool
from portlb_app.config import FEEDBACK, FREE, Algorithm, Moves
from portlb_app.pipeline import SLOTS
from portlb_app.selection import packets
from portlb_app.selection.shuffled import shuffled
from portlb_app.selection.turns import elevator, round_robin

_TURNING = {Algorithm.RANDOM: shuffled, Algorithm.ROUND_ROBIN: round_robin, Algorithm.ELEVATOR: elevator}


@dataclass
class KeptSlots:
    """The slots of a pool: those that it has (`table`), and had when it last had all servers (`home`).

    None: those that follow from its configuration alone. `is_known`: a switch was read that has the pool, or none has.
    `goal`: those that it shall have; `used`: the servers that these are of; `formers`: those that slots had before.
    `turn`: the turn of an algorithm that has some. `counted`: by switch, the packets of each slot as it has counted
    them; `looked_at`: when that was compared last.
    """

    table: Table | None = None
    home: Table | None = None
    is_known: bool = False
    goal: Table | None = None
    used: frozenset[str] | None = None
    turn: int | None = None
    counted: dict[int, tuple[int, ...]] = field(default_factory=dict)
    looked_at: float | None = None
    formers: Formers = field(default_factory=Formers)
    pace: Pace = field(default_factory=Pace)

    def hold(self, table: Table) -> None:
        """A switch has these slots. A server with a part of its slots goes on from there (`settle`)."""
        self.table = self.home = table
        self.used = None

    def leave(self, before: Pool, after: Pool) -> None:
        """The configuration of the pool changes: what follows from it alone are other slots than it has."""
        self.table = self._present(before, after)

    def proposed(self, before: Pool, pool: Pool, ready: Collection[str], serving: Collection[str]) -> Table | None:
        """The slots that the pool would begin with, if it were to be so now."""
        present, used = self._present(before, pool), frozenset(pool.foremost(serving or ready))
        goal = self._next(pool, present, ready, serving)
        return self._begun(pool, present, goal, used, self._newcomers(pool, used))

    def settle(self, pool: Pool, ready: Collection[str], serving: Collection[str], now: float) -> None:
        """The pool or its servers have changed."""
        used = frozenset(pool.foremost(serving or ready))
        goal = self._next(pool, self.table, ready, serving)
        came = self._newcomers(pool, used)
        for server in came:
            self.pace.begin(server, now)
        for server in set(self.pace.since) - used:
            self.pace.end(server)
        if self.used is None:
            self._resume(pool, goal, used, now)
        self.table = self._begun(pool, self.table, goal, used, came)
        self.goal, self.used = goal, used
        self._remember_home(pool, ready)

    @property
    def is_moving(self) -> bool:
        """Whether slots move as time passes."""
        return self.goal != self.table or bool(self.pace.since)

    def tick(self, pool: Pool, ready: Collection[str], serving: Collection[str], now: float) -> bool:
        """Time passes. Whether slots have moved."""
        before = self.table
        if pool.selecting.reshuffles:
            turn = int(now // pool.selecting.period)
            if self.turn is None:
                self.turn = turn  # what switches hold stays until the next turn
            if turn == self.turn:
                return False
            self.turn = turn
            self.settle(pool, ready, serving, now)
            return self.table != before
        if self.goal == self.table:
            self.pace.rest(now)
            return False
        if self._moves(pool).per_second == 0:
            return False
        present = pool.default if self.table is None else self.table
        goal = pool.default if self.goal is None else whole(self.goal)
        if len(present) != len(goal):
            return False
        table = self.pace.step(present, goal, self.used or (), self._moves(pool), pool.slow_start, now)
        self.table = None if table == pool.default else table
        self._remember_home(pool, ready)
        return self.table != before

    def count(self, pool: Pool, dpid: int, counted: Sequence[int], now: float) -> bool:
        """A switch has counted these packets of each slot by now. Whether that moves slots.

        A counter that is smaller than before has begun anew: the switch's group was changed.
        """
        before = self.counted.get(dpid, ())
        self.counted[dpid] = tuple(counted)
        present = whole(pool.default if self.table is None else self.table)
        is_about_it = pool.selecting.algorithm is Algorithm.LEAST_PACKETS and len(counted) == len(present)
        if not is_about_it or len(before) != len(counted) or self.goal != self.table:
            return False
        came = [new - old if new >= old else new for old, new in zip(before, counted, strict=True)]
        weights = {name: weight for name, weight in pool.weight_of.items() if name in (self.used or ())}
        rate, passed = (pool.moves or USUAL).per_second, now - self.looked_at if self.looked_at is not None else 0.0
        self.looked_at = now
        most = AT_ONCE if rate is None else min(AT_ONCE, math.floor(rate * passed))
        found = packets.moves(present, came, weights, most)
        if not found:
            return False
        table = list(present)
        for slot, server in found:
            table[slot] = server
        self.put(pool, table)
        return True

    def put(self, pool: Pool, table: Sequence[str]) -> None:
        """Load has decided: the pool shall have these slots, and has them."""
        self.table = self.goal = self.home = None if tuple(table) == pool.default else tuple(table)

    # ---- inside ----

    def _present(self, before: Pool, after: Pool) -> Table | None:
        """The slots that the pool has, also where they follow from a configuration that is another one now."""
        if self.table is not None or before is after or before.default == after.default:
            return self.table
        return before.default

    def _next(
        self, pool: Pool, present: Table | None, ready: Collection[str], serving: Collection[str]
    ) -> Table | None:
        if ready and not serving and pool.fail_open.most is None:
            return ()  # rather none than one that does not work
        used = pool.foremost(serving or ready)
        turning = _TURNING.get(pool.selecting.algorithm) if pool.selecting.reshuffles else None
        if turning is not None and self.turn is not None and used:
            return turning({server: pool.weight_of[server] for server in used}, SLOTS << pool.bits, self.turn)
        if turning is not None and present is not None and set(present) == set(used):
            return present  # until the next turn
        return next_table(pool, present, self.home, ready, serving, pool.selecting.algorithm in FEEDBACK)

    def _remember_home(self, pool: Pool, ready: Collection[str]) -> None:
        if self.table == self.goal and self.used == frozenset(pool.members) <= frozenset(ready):
            self.home = self.table

    def _moves(self, pool: Pool) -> Moves:
        return FREE if pool.moves is None else pool.moves

    def _newcomers(self, pool: Pool, used: frozenset[str]) -> frozenset[str]:
        """The servers whose slow start begins: not all that there are, and none when the controller starts."""
        if not self.used or not pool.slow_start:
            return frozenset()
        return used - self.used if used & self.used else frozenset()

    def _resume(self, pool: Pool, goal: Table | None, used: frozenset[str], now: float) -> None:
        if not pool.slow_start or self.table is None:
            return
        wanted, held = whole(pool.default if goal is None else goal), whole(self.table)
        for server in used:
            share = held.count(server) / len(held), wanted.count(server) / len(wanted)
            if 0 < share[0] < share[1]:
                self.pace.resume(server, share[0] / share[1], pool.slow_start, now)

    def _begun(
        self,
        pool: Pool,
        present: Table | None,
        goal: Table | None,
        used: frozenset[str],
        came: Collection[str],
    ) -> Table | None:
        """The slots with which the way to the goal begins."""
        wanted = pool.default if goal is None else whole(goal)
        present = pool.default if present is None else present
        moves = FREE if pool.selecting.reshuffles else self._moves(pool)
        slow = {*self.pace.since, *came}
        if not wanted or len(present) != len(wanted) or (moves.per_second is None and not slow):
            return goal
        table = first_step(present, wanted, used, moves.per_second is None, slow)
        return None if table == pool.default else table
