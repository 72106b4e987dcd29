"""Slots follow the load: pools with `selection: least`, by what servers' agents report. Pure.

Once a second each such pool is looked at, and so many slots move as its `moves` allow: one a second by default, of a
pool with 2^k groups 2^k. Between two looks nothing moves but what must, because a server goes or comes (`shares`): the
factors of the servers are in the slots that they have, and are taken from there by a controller that starts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from portlb_app.config import Algorithm, Config, Moves
from portlb_app.pipeline import SLOTS
from portlb_app.selection import least, quotas
from portlb_app.selection.least import Feedback, Report
from portlb_app.topology.conditions import PoolKey

EVERY = 1.0
"""Seconds between two looks at a pool."""
USUAL = Moves(1)
"""How fast load moves slots where a port does not say."""
AT_ONCE = 8
"""The most slots of 256 that move in one look, if `moves` sets no limit."""


class Loads:
    """The feedback of each pool."""

    def __init__(self) -> None:
        self._states: dict[PoolKey, Feedback] = {}
        self._looked_at: dict[PoolKey, float] = {}
        self._budgets: dict[PoolKey, int] = {}

    def adopt(self, config: Config) -> None:
        """Look after the pools of this configuration."""
        self._budgets = {
            (vip.name, pool.port): AT_ONCE if rate is None else rate
            for vip in config.vips
            for pool in vip.redirect_ports
            if pool.selecting.algorithm is Algorithm.LEAST
            for rate in [(pool.moves or USUAL).per_second]
        }
        self._states = {key: each for key, each in self._states.items() if key in self._budgets}

    def __contains__(self, key: PoolKey) -> bool:
        return key in self._budgets

    def due(self, now: float) -> list[PoolKey]:
        """The pools that are to be looked at now."""
        return [key for key in self._budgets if now - self._looked_at.get(key, -EVERY) >= EVERY]

    def look(
        self,
        key: PoolKey,
        table: Sequence[str],
        weights: Mapping[str, int],
        reports: Mapping[str, Report],
        now: float,
    ) -> tuple[str, ...]:
        """The slots of a pool after a look at its servers' load. `weights`: those of the servers that have slots."""
        before = self._states.get(key) or least.taken_from(Counter(table), weights)
        passed = now - self._looked_at.get(key, now - EVERY)
        self._looked_at[key] = now
        state = self._states[key] = least.step(before, weights, reports, now)
        wanted = quotas(least.weights(state, weights), len(table))
        budget = self._budgets[key] * max(1, len(table) // SLOTS)
        return least.shift(table, wanted, min(budget * max(1, round(passed)), AT_ONCE * max(1, len(table) // SLOTS)))


def shares(
    table: Sequence[str | None], weights: Mapping[str, int], home: Sequence[str | None] = ()
) -> dict[str, int]:
    """Weights by which these servers keep the slots that they have, in proportion, and newcomers get their part.

    That is what a newcomer had in the table `home`, or else what its weight says.
    """
    held, known = Counter(table), Counter(home)
    there = {server for server, weight in weights.items() if held[server] and weight}
    count, total = sum(held[server] for server in there), sum(weights[server] for server in there)
    unit, before = count / total if total else 1.0, sum(known[server] for server in there)

    def part(server: str, weight: int) -> int:
        if server in there or not weight:
            return held[server] if weight else 0
        return max(1, round(known[server] * count / before if before and known[server] else weight * unit))

    return {server: part(server, weight) for server, weight in weights.items()}
