"""What follows from servers and slots: what tables are made of, what agents are asked to do, what there is to tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from portlb_app.backends.moves import whole
from portlb_app.backends.pools import Pool, Pools
from portlb_app.backends.reports import Report
from portlb_app.backends.servers import Servers
from portlb_app.backends.slots import Slots
from portlb_app.backends.states import Evidence, Judgement
from portlb_app.backends.usable import fails_open, ready_servers, serving_servers
from portlb_app.config import Config, Wanted
from portlb_app.config.overrides import Overrides
from portlb_app.net.heartbeat import Order
from portlb_app.topology.conditions import ALL_SERVERS, PoolKey, PoolSlots


@dataclass(frozen=True)
class ServerState:
    """What there is to tell about a server: what is seen of it in each of its pools, and what says so."""

    name: str
    seen: Mapping[PoolKey, Judgement]
    evidence: tuple[Evidence, ...]
    report: Report | None = None
    """What its agent has said, as long as that counts."""


@dataclass(frozen=True)
class PoolState:
    """What there is to tell about a pool. `fails_open`: too few of its servers are up, so all are used, or if no port
    of theirs works its slots stay as they are.

    `slots`: those that it shall have; None for those that follow from its servers and weights alone.
    """

    key: PoolKey
    pool: Pool
    slots: tuple[str, ...] | None
    fails_open: bool


class Answers:
    """The questions. Slots are settled before one that is about them is answered."""

    def __init__(self, servers: Servers, slots: Slots) -> None:
        self._servers, self._slots = servers, slots
        self._made: dict[int, tuple[Pools, int, tuple[Mapping[PoolKey, PoolSlots], frozenset[str]]]] = {}

    def conditions(self, config: Config) -> tuple[Mapping[PoolKey, PoolSlots], frozenset[str]]:
        """The slots that do not follow from this configuration alone, and the servers that get nothing.

        The same objects are returned until something changes.
        """
        self._slots.settle()
        live, version = self._servers.pools, self._servers.version + self._slots.version
        is_live = config is live.config
        made = self._made.get(is_live)
        if made is not None and made[0].config is config and made[1] == version:
            return made[2]
        pools = live if is_live else self._of_proposed(config, live.overrides)
        result = self._slots.of(pools), pools.used.closed
        self._made[is_live] = pools, version, result
        return result

    def _of_proposed(self, config: Config, overrides: Overrides) -> Pools:
        made = self._made.get(False)
        if made is not None and made[0].config is config and made[0].overrides is overrides:
            return made[0]
        return Pools(config, overrides)

    def slots_of(self, config: Config, overrides: Overrides) -> tuple[Mapping[PoolKey, PoolSlots], frozenset[str]]:
        """The same as `conditions`, for a configuration and overrides that are only looked at."""
        self._slots.settle()
        live = self._servers.pools
        is_live = config is live.config and overrides is live.overrides
        pools = live if is_live else Pools(config, overrides)
        return self._slots.of(pools), pools.used.closed

    def tables(self, overrides: Overrides | None) -> Mapping[PoolKey, tuple[str, ...]]:
        """The slots of every pool of the live configuration, as they are to be, or would be with other overrides."""
        self._slots.settle()
        live = self._servers.pools
        pools = live if overrides is None else Pools(live.config, overrides)
        explicit = self._slots.of(pools)
        return {key: explicit[key].servers if key in explicit else pool.default for key, pool in pools.items()}

    def orders(self, unix: float) -> Mapping[str, Order]:
        """What agents are asked to do at this time of day, by server."""
        self._slots.settle()
        pools, found = self._servers.pools, dict[str, Order]()
        for (name, kind), override in pools.overrides:
            if kind != "state" or name not in self._servers.known or pools.wanted(name) is Wanted.READY:
                continue
            order = Order(0)
            if override.move and self._has_left(name):
                order |= Order.MOVE
            if override.deadline is not None and unix >= override.deadline:
                order |= Order.RESET
            if order:
                found[name] = order
        return found

    def _has_left(self, name: str) -> bool:
        """Whether all redirect ports of a server have other servers, and no slot of it."""
        keys = [key for key in self._servers.pools.of(name) if key[1] != ALL_SERVERS]
        tables = [self._slots.table(key) or () for key in keys]
        return bool(tables) and all(table and name not in table for table in tables)

    def failing_open(self) -> frozenset[PoolKey]:
        """The pools that use all of their servers because too few are up by their checks."""
        self._slots.settle()
        return frozenset(self._slots.failing_open)

    def servers(self) -> Iterable[ServerState]:
        """Every server of the live configuration."""
        for name, each in self._servers.known.items():
            evidence = tuple(each.evidence.values())
            yield ServerState(name, dict(each.judgements), evidence, self._servers.reports.of(name))

    def pools(self) -> Iterable[PoolState]:
        """Every pool of the live configuration that switches hold."""
        self._slots.settle()
        for key in self._servers.pools:
            if (state := self.pool(key)) is not None:
                yield state

    def pool(self, key: PoolKey) -> PoolState | None:
        """One of them."""
        known, pools = self._servers.known, self._servers.pools
        pool = pools.get(key)
        if pool is None or not pool.has_group:
            return None
        ready = ready_servers(known, pools, key)
        table = self._slots.table(key)
        slots = None if table is None else whole(table)
        has_none = bool(ready) and table != () and not serving_servers(known, pool, key, ready)
        return PoolState(key, pool, slots, fails_open(known, pool, key, ready) or has_none)
