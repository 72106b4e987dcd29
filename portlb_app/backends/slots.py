"""The slots of all live pools: which each has, and how they move as servers, load and time ask for.

`KeptSlots` (`kept`) moves those of one pool; here is when, and what a slot remembers of it (`formers`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from portlb_app.backends.formers import Formers
from portlb_app.backends.kept import KeptSlots
from portlb_app.backends.loads import Loads
from portlb_app.backends.moves import Table, whole
from portlb_app.backends.pools import Pools
from portlb_app.backends.servers import Servers
from portlb_app.backends.states import Cause
from portlb_app.backends.usable import able_servers, fails_open, ready_servers, serving_servers
from portlb_app.config import Turns
from portlb_app.pipeline import mark
from portlb_app.topology.conditions import ALL_SERVERS, HeldSlots, PoolKey, PoolSlots


class Slots:
    """The slots of the pools of the live configuration.

    `failing_open`: the pools that use all of their servers, because too few are up. `version`: another one whenever
    slots have moved.
    """

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._loads = Loads()
        self._kept: dict[PoolKey, KeptSlots] = {}
        self._timed: set[PoolKey] = set()
        """The pools whose slots move as time passes."""
        self.failing_open: set[PoolKey] = set()
        self.causes: dict[PoolKey, Cause] = {}
        """Why the slots of each pool were looked at last, or moved; taken by what tells of it."""
        self.version = 0

    def __len__(self) -> int:
        return len(self._kept)

    # ---- what happens ----

    def adopt(self, pools: Pools) -> None:
        """These pools are about to be live, in place of those of the servers."""
        is_first, before = not self._kept, self._servers.pools
        for key in self._kept.keys() - pools.keys():
            del self._kept[key]
            self._timed.discard(key)
        for key, pool in pools.items():
            slots = self._kept.setdefault(key, KeptSlots(is_known=not is_first))
            had = slots.table
            slots.leave(before.get(key, pool), pool)
            slots.formers = self._moved(pools, key, had, slots.table)
        self._loads.adopt(pools.config)

    def hold(self, key: PoolKey, held: HeldSlots, now: float) -> frozenset[str] | None:
        """A switch was read that has these slots of a pool: the servers in them; None if that decides nothing."""
        slots, pool = self._kept.get(key), self._servers.pools.get(key)
        if slots is None or pool is None or slots.is_known:
            return None
        slots.is_known = True
        self._servers.now = now
        if not any(held.servers):
            return None  # of a version that does not say whose slots they are; they follow from names and weights
        members = frozenset(pool.servers)
        table = tuple(server if server in members else None for server in held.servers)
        if not held.is_default:
            slots.hold(table)
        if pool.second_chance and held.formers:
            known = self._servers.pools[key[0], ALL_SERVERS].servers
            slots.formers.held(tuple(tuple(each for each in names if each in known) for names in held.formers), now)
        self._servers.unsettled.setdefault(key, Cause.START)
        self.version += 1
        return members.intersection(table)

    def know(self, keys: Iterable[PoolKey]) -> None:
        """No switch holds anything of these pools."""
        for key in keys:
            if key in self._kept:
                self._kept[key].is_known = True

    def handed_back(self, key: PoolKey, vip: int, found: int, now: float) -> None:
        """Something was handed back to a pool's redirect port, with this mark; `vip` is the VIP's number."""
        slots = self._kept.get(key)
        if slots is None or not slots.formers.slots:
            return
        named = slots.formers.named(able_servers(self._servers.known, self._servers.pools, key))
        for names in {each[at:] for each in named for at in range(len(each))}:
            if mark(vip, names) == found:
                slots.formers.use(names[0], now)

    def expire(self, now: float) -> None:
        """Forget the former servers that are over."""
        for key, slots in self._kept.items():
            longest = self._servers.pools[key].second_chance
            if slots.formers.slots and slots.formers.expire(now, longest, self._servers.known):
                self.version += 1

    def tick(self, now: float) -> None:
        """Time passes."""
        self.settle()
        for key in list(self._timed):
            ready, serving = self._usable(self._servers.pools, key)
            slots = self._kept[key]
            had = slots.table
            if slots.tick(self._servers.pools[key], ready, serving, now):
                is_turn = self._servers.pools[key].selecting.reshuffles
                self._have_moved(key, had, Cause.TURN if is_turn else Cause.PACE)
            self._watch(key)
        for key in self._loads.due(now):
            self._follow_load(key, now)

    def count(self, dpid: int, counted: Mapping[PoolKey, Sequence[int]], now: float) -> None:
        """A switch has counted these packets of each slot by now (``selection: least-packets``)."""
        self.settle()
        for key, packets in counted.items():
            slots = self._kept.get(key)
            had = slots.table if slots else None
            if slots and slots.count(self._servers.pools[key], dpid, packets, now):
                self._have_moved(key, had, Cause.LOAD)

    def settle(self) -> None:
        """Give the pools of servers that have changed the slots that they shall have."""
        known, pools = self._servers.known, self._servers.pools
        for key, cause in self._servers.unsettled.items():
            self.causes[key] = cause
            ready, serving = self._usable(pools, key)
            slots = self._kept[key]
            had = slots.table
            slots.settle(pools[key], ready, serving, self._servers.now)
            slots.formers = self._moved(pools, key, had, slots.table)
            self._watch(key)
            if fails_open(known, pools[key], key, ready):
                self.failing_open.add(key)
            else:
                self.failing_open.discard(key)
        self._servers.unsettled.clear()
        self.failing_open &= self._kept.keys()

    # ---- questions ----

    def is_known(self, key: PoolKey) -> bool:
        """Whether a switch was read that has the pool, or none has."""
        return self._kept[key].is_known

    def table(self, key: PoolKey) -> Table | None:
        """The slots that a pool has; None for those that follow from its servers and weights alone."""
        return self._kept[key].table

    def of(self, pools: Pools) -> Mapping[PoolKey, PoolSlots]:
        """The slots that do not follow from a configuration alone, of the live pools or of proposed ones."""
        tables = {key: slots.table for key, slots in self._kept.items()} if pools is self._servers.pools else {
            key: self._proposed(pools, key) for key in pools
        }
        every = ((key, self._pool_slots(pools, key, table)) for key, table in tables.items())
        return {key: its for key, its in every if its is not None}

    # ---- inside ----

    def _usable(self, pools: Pools, key: PoolKey) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The servers of a pool that may have slots, and those of them that get some."""
        ready = ready_servers(self._servers.known, pools, key)
        return ready, serving_servers(self._servers.known, pools[key], key, ready)

    def _watch(self, key: PoolKey) -> None:
        """Look at a pool again as time passes, if that moves its slots."""
        if self._servers.pools[key].selecting.reshuffles or self._kept[key].is_moving:
            self._timed.add(key)
        else:
            self._timed.discard(key)

    def _follow_load(self, key: PoolKey, now: float) -> None:
        """Move slots from servers with much load to others."""
        self.settle()
        pools, slots = self._servers.pools, self._kept[key]
        pool, (_, serving) = pools[key], self._usable(pools, key)
        table = pool.default if slots.table is None else whole(slots.table)
        weights = {name: pool.weight_of[name] for name in pool.foremost(serving)}
        if not slots.is_known or not table or not set(table) <= weights.keys():
            return
        reports = self._servers.reports.loads(pools.used, key, serving, now)
        after = self._loads.look(key, table, weights, reports, now)
        if after != table:
            had = slots.table
            slots.put(pool, after)
            self._have_moved(key, had, Cause.LOAD)

    def _proposed(self, pools: Pools, key: PoolKey) -> Table | None:
        """The slots with which a pool of another configuration would begin."""
        slots, pool = self._kept.get(key, KeptSlots()), pools[key]
        return slots.proposed(self._servers.pools.get(key, pool), pool, *self._usable(pools, key))

    def _pool_slots(self, pools: Pools, key: PoolKey, table: Table | None) -> PoolSlots | None:
        """The slots of a pool with their former servers that work; None if they follow from the configuration alone."""
        is_live, slots = pools is self._servers.pools, self._kept.get(key)
        formers = slots.formers if is_live and slots else self._moved(pools, key, slots.table if slots else None, table)
        named = formers.named(able_servers(self._servers.known, pools, key)) if formers.slots else ()
        turns = self._turns(pools, key)
        if table is None and not named and turns is None:
            return None
        return PoolSlots(pools[key].default if table is None else whole(table), named, turns)

    def _turns(self, pools: Pools, key: PoolKey) -> tuple[tuple[str, int], ...] | None:
        """The servers among which the controller takes turns, with their weights.

        None where it takes none, and where they follow from the configuration alone.
        """
        pool = pools[key]
        if pool.selecting.turns is not Turns.CONTROLLER:
            return None
        ready, serving = self._usable(pools, key)
        turns = tuple((name, pool.weight_of[name]) for name in pool.foremost(serving or ready))
        configured = zip(pool.servers, pool.configured, strict=True)
        return None if turns == tuple((name, weight) for name, weight in configured if weight) else turns

    def _have_moved(self, key: PoolKey, had: Table | None, cause: Cause) -> None:
        self.causes[key] = cause
        slots = self._kept[key]
        slots.formers = self._moved(self._servers.pools, key, had, slots.table)
        self.version += 1

    def _moved(self, pools: Pools, key: PoolKey, had: Table | None, table: Table | None) -> Formers:
        """What the slots of a pool remember when it gets this table in place of the one that it had."""
        slots, new = self._kept.get(key), pools[key]
        if slots is None or not new.second_chance:
            return Formers()
        old = self._servers.pools.get(key, new)
        if table == had and (table is not None or old is new or old == new):
            return slots.formers
        before = old.default if had is None else had
        after = new.default if table is None else whole(table)
        if tuple(before) == after:
            return slots.formers
        formers = slots.formers.copy()
        formers.move(before, after, able_servers(self._servers.known, pools, key), self._servers.now)
        return formers
