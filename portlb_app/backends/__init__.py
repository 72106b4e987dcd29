"""What is wanted and seen of servers, and the slots of pools that follow from it.

`Backends` is the facade. Everything goes in by its methods (an administrator's words, evidence, what switches were read
to hold), and only `conditions` comes out: the slots that differ from those that follow from a configuration alone, and
the servers that get nothing. Whatever changes a pool changes these, and so the tables that are compiled.

**The slots of a pool** are moved from where they are, as few as possible (`moves`). So they depend on the past, and a
controller that starts has none: the switches have it. The first word about what a switch holds decides (`held`). A
server that has slots there is taken for up. One that should have some and has none is taken for down until evidence
says otherwise, and for `HOLD` at least: somebody found it so.

- `states`: what is wanted and seen of one server. `connectors`: the evidence of ports. `pools`: who is in a pool.
- Pure: time is an argument, seconds of any monotonic clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from portlb_app.backends.formers import Formers
from portlb_app.backends.kept import KeptSlots
from portlb_app.backends.loads import Loads
from portlb_app.backends.moves import Table
from portlb_app.backends.pools import Pool, Pools
from portlb_app.backends.reports import Report, Reports
from portlb_app.backends.states import PORT, Evidence, Intent, Judgement, Seen, judge
from portlb_app.config import Config, Wanted
from portlb_app.config.overrides import NONE, Overrides
from portlb_app.net.heartbeat import Heartbeat, Order, State
from portlb_app.pipeline import mark
from portlb_app.topology.conditions import ALL_SERVERS, HeldSlots, PoolKey, PoolSlots
from portlb_app.topology.damping import HOLD

HAS_SLOTS = "a switch has slots of it"
HAD_NONE = "no switch had slots of it when the controller started"
IS_NEW = "it is new, and no check of it has passed yet"
AGENT = "agent"
"""The source of what servers' agents say."""
SAYS_DOWN = "its agent says that it is down"


@dataclass(frozen=True)
class ServerState:
    """What there is to tell about a server: what is wanted, and what is seen of it in each of its pools."""

    name: str
    intent: Intent
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


@dataclass(frozen=True)
class Change:
    """What is seen of a server has changed in one of its pools."""

    server: str
    pool: PoolKey
    before: Judgement
    after: Judgement


@dataclass
class _Server:
    """`not_up_before`: when a server that is taken for down may be up at the earliest."""

    intent: Intent = Intent()
    evidence: dict[tuple[str, PoolKey | None], Evidence] = field(default_factory=dict)
    judgements: dict[PoolKey, Judgement] = field(default_factory=dict)
    not_up_before: float = 0.0
    drains: bool = False
    """Its agent says that it is to get no new connections."""


class Backends:
    """The states of all servers, and the slots of all pools."""

    def __init__(self, config: Config, overrides: Overrides = NONE) -> None:
        self._pools = Pools(config, overrides)
        self._reports = Reports()
        self._loads = Loads()
        self._servers: dict[str, _Server] = {}
        self._slots: dict[PoolKey, KeptSlots] = {}
        self._dirty: set[PoolKey] = set()
        self._timed: set[PoolKey] = set()
        """The pools whose slots move as time passes."""
        self._now = 0.0
        self._assumed: set[str] = set()
        """The servers that are taken for down and may be up soon."""
        self._open: set[PoolKey] = set()
        self._changes: list[Change] = []
        self._version = 0
        self._made: dict[int, tuple[Pools, int, tuple[Mapping[PoolKey, PoolSlots], frozenset[str]]]] = {}
        self.adopt(config, 0.0)

    # ---- what happens ----

    def adopt(self, config: Config, now: float) -> None:
        """This configuration is live. What is known of servers and pools that it has not is forgotten."""
        self._now = now
        if not self._slots or config is not self._pools.config:
            self._adopt(Pools(config, self._pools.overrides), now)

    def override(self, overrides: Overrides, now: float) -> None:
        """These overrides take the place of those before."""
        self._now = now
        if overrides is not self._pools.overrides:
            self._adopt(Pools(self._pools.config, overrides), now)

    def _adopt(self, pools: Pools, now: float) -> None:
        self._now = now
        is_first, before = not self._slots, self._pools
        for key in self._slots.keys() - pools.keys():
            del self._slots[key]
            self._timed.discard(key)
        for key, pool in pools.items():
            slots = self._slots.setdefault(key, KeptSlots(is_known=not is_first))
            had = slots.table
            slots.leave(self._pools.get(key, pool), pool)
            slots.formers = self._moved(pools, key, had, slots.table)
        self._pools = pools
        self._servers = {
            server.name: self._servers.get(server.name, _Server()) for server in pools.config.servers
        }
        self._reports.keep(self._servers.keys())
        self._loads.adopt(pools.config)
        for name in self._servers:
            self._judge(name, now)
        if not is_first:
            self._take_new(before, now)
        self._dirty = set(pools)
        self._changed()

    def _take_new(self, before: Pools, now: float) -> None:
        """A server that joins a pool and is checked is down until a check has passed."""
        for key in self._pools.keys() & before.keys():
            for name in self._pools[key].checks.keys() - set(before[key].servers):
                judgement = self._servers[name].judgements[key]
                if judgement.seen is Seen.UNKNOWN:
                    self._servers[name].judgements[key] = Judgement(Seen.DOWN, IS_NEW, now)

    def held(self, key: PoolKey, held: HeldSlots, now: float) -> bool:
        """A switch was read that has these slots of a pool. Whether that decides: only the first word does."""
        slots, pool = self._slots.get(key), self._pools.get(key)
        if slots is None or pool is None or slots.is_known:
            return False
        slots.is_known = True
        self._now = now
        if not any(held.servers):
            return False  # of a version that does not say whose slots they are; they follow from names and weights
        members = frozenset(pool.servers)
        table = tuple(server if server in members else None for server in held.servers)
        if not held.is_default:
            slots.hold(table)
        if pool.second_chance and held.formers:
            known = self._of_vip(self._pools, key)
            slots.formers.held(tuple(tuple(each for each in names if each in known) for names in held.formers), now)
        present = members.intersection(table)
        for name in pool.servers:
            self._take(name, key, name in present, now)
        self._dirty.add(key)
        self._changed()
        return True

    def remember(self, key: PoolKey, held: HeldSlots) -> None:
        """A switch has these slots; if they follow from servers and weights alone, these need not be found anew."""
        if held.is_default and key in self._pools:
            self._pools[key].know_default(_whole(held.servers))

    def know(self, keys: Iterable[PoolKey]) -> None:
        """No switch holds anything of these pools."""
        for key in keys:
            if key in self._slots:
                self._slots[key].is_known = True

    def is_known(self, key: PoolKey) -> bool:
        """Whether it is known which slots switches hold of a pool, or none does."""
        pool = self._pools.get(key)
        return pool is None or self._slots[key].is_known or not (pool.has_group and pool.members)

    def want(self, server: str, intent: Intent, now: float) -> None:
        """Something that acts for an administrator, such as the server's agent, wants it to be so, too.

        What is wanted of it in the end is the least of this and of what configuration and overrides say.
        """
        known = self._servers.get(server)
        if known is not None and known.intent != intent:
            known.intent = intent
            self._touch(server)

    def see(self, server: str, evidence: Evidence, now: float) -> None:
        """A source says something about a server, in place of what it said before about the same pool."""
        known = self._servers.get(server)
        if known is not None:
            known.evidence[evidence.source, evidence.pool] = evidence
            self._judge(server, now)

    def forget(self, server: str, source: str, now: float) -> None:
        """A source says nothing about a server any more."""
        known = self._servers.get(server)
        if known is not None:
            known.evidence = {key: each for key, each in known.evidence.items() if each.source != source}
            self._judge(server, now)

    def handed_back(self, key: PoolKey, vip: int, found: int, now: float) -> None:
        """Something was handed back to a pool's redirect port, with this mark; `vip` is the VIP's number."""
        slots = self._slots.get(key)
        if slots is None or not slots.formers.slots:
            return
        named = slots.formers.named(self._able(self._pools, key))
        for names in {each[at:] for each in named for at in range(len(each))}:
            if mark(vip, names) == found:
                slots.formers.use(names[0], now)

    def hear(self, server: str, heartbeat: Heartbeat, now: float) -> None:
        """A server's agent says this. It holds until the next heartbeat, or until too many are missing."""
        if server in self._servers:
            self._reports.hear(server, heartbeat, now)
            self._heed(server, now)

    def _heed(self, server: str, now: float) -> None:
        """Do as a server's agent says, if it says anything."""
        known, state = self._servers[server], self._reports.state(server)
        if known.drains is not (state is State.DRAIN):
            known.drains = not known.drains
            self._touch(server)
        said = (AGENT, None) in known.evidence
        if state is State.DOWN and not said:
            self.see(server, Evidence(AGENT, False, SAYS_DOWN, now), now)
        elif said and state is not State.DOWN:
            self.forget(server, AGENT, now)

    def tick(self, now: float) -> None:
        """Time passes."""
        self._now = now
        for key, slots in self._slots.items():
            if slots.formers.slots and slots.formers.expire(now, self._pools[key].second_chance, self._servers):
                self._changed()
        for name in self._reports.expire(now):
            self._heed(name, now)
        for name in [name for name in self._assumed if now >= self._servers[name].not_up_before]:
            self._assumed.discard(name)
            self._judge(name, now)
        self._now = now
        self._settle()
        for key in list(self._timed):
            ready = self._ready(self._pools, key)
            slots = self._slots[key]
            had = slots.table
            if slots.tick(self._pools[key], ready, self._serving(self._pools[key], key, ready), now):
                slots.formers = self._moved(self._pools, key, had, slots.table)
                self._changed()
            self._watch(key)
        for key in self._loads.due(now):
            self._follow_load(key, now)

    def count(self, dpid: int, counted: Mapping[PoolKey, Sequence[int]], now: float) -> None:
        """A switch has counted these packets of each slot by now (``selection: least-packets``)."""
        self._settle()
        for key, packets in counted.items():
            slots = self._slots.get(key)
            had = slots.table if slots else None
            if slots and slots.count(self._pools[key], dpid, packets, now):
                slots.formers = self._moved(self._pools, key, had, slots.table)
                self._changed()

    def _follow_load(self, key: PoolKey, now: float) -> None:
        """Move slots from servers with much load to others."""
        self._settle()
        pool, slots = self._pools[key], self._slots[key]
        serving = self._serving(pool, key, self._ready(self._pools, key))
        table = pool.default if slots.table is None else _whole(slots.table)
        weights = {name: pool.weight_of[name] for name in pool.foremost(serving)}
        if not slots.is_known or not table or not set(table) <= weights.keys():
            return
        after = self._loads.look(key, table, weights, self._reports.loads(self._pools.used, key, serving, now), now)
        if after != table:
            had = slots.table
            slots.put(pool, after)
            slots.formers = self._moved(self._pools, key, had, slots.table)
            self._changed()

    def orders(self, unix: float) -> Mapping[str, Order]:
        """What agents are asked to do at this time of day (seconds since 1970), by server; nothing for most.

        Connections are redirected once no pool gives their server new ones, as long as another server has slots there.
        """
        self._settle()
        found: dict[str, Order] = {}
        for (name, kind), override in self._pools.overrides:
            if kind != "state" or name not in self._servers or self._pools.wanted(name) is Wanted.READY:
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
        keys = [key for key in self._pools.of(name) if key[1] != ALL_SERVERS]
        tables = [self._slots[key].table or () for key in keys]
        return bool(tables) and all(table and name not in table for table in tables)

    # ---- what follows ----

    @property
    def used(self) -> Config:
        """The live configuration as it is used: with the overrides that hold for it."""
        return self._pools.used

    def conditions(self, config: Config) -> tuple[Mapping[PoolKey, PoolSlots], frozenset[str]]:
        """The slots that do not follow from this configuration alone, and the servers that get nothing.

        The configuration may be live or proposed. Nothing changes for one that is only proposed. The same objects are
        returned until something changes.
        """
        self._settle()
        is_live = config is self._pools.config
        made = self._made.get(is_live)
        if made is not None and made[0].config is config and made[1] == self._version:
            return made[2]
        pools = self._pools if is_live else self._of_proposed(config, self._pools.overrides)
        result = self._conditions(pools)
        self._made[is_live] = pools, self._version, result
        return result

    def _of_proposed(self, config: Config, overrides: Overrides) -> Pools:
        made = self._made.get(False)
        if made is not None and made[0].config is config and made[0].overrides is overrides:
            return made[0]
        return Pools(config, overrides)

    def _conditions(self, pools: Pools) -> tuple[Mapping[PoolKey, PoolSlots], frozenset[str]]:
        is_live = pools is self._pools
        tables = {key: slots.table for key, slots in self._slots.items()} if is_live else {
            key: self._next(pools, key) for key in pools
        }
        every = ((key, self._pool_slots(pools, key, table)) for key, table in tables.items())
        slots = {key: its for key, its in every if its is not None}
        closed = frozenset(name for name, each in self._servers.items() if each.intent.wanted is Wanted.MAINT)
        return slots, pools.closed | closed.intersection(pools.config.server_by_name)

    def tables(self, overrides: Overrides | None = None) -> Mapping[PoolKey, tuple[str, ...]]:
        """The slots of every pool of the live configuration, as they are to be, or would be with other overrides."""
        self._settle()
        pools = self._pools if overrides is None else Pools(self._pools.config, overrides)
        explicit, _ = self._conditions(pools)
        return {key: explicit[key].servers if key in explicit else pool.default for key, pool in pools.items()}

    def seen(self, server: str, key: PoolKey) -> Seen:
        """What is seen of a server in a pool."""
        known = self._servers.get(server)
        return known.judgements.get(key, Judgement()).seen if known else Seen.UNKNOWN

    @property
    def failing_open(self) -> frozenset[PoolKey]:
        """The pools that use all of their servers because too few are up by their checks."""
        self._settle()
        return frozenset(self._open)

    def changes(self) -> list[Change]:
        """What has changed since this was asked last."""
        changes, self._changes = self._changes, []
        return changes

    def servers(self) -> Iterable[ServerState]:
        """Every server of the live configuration."""
        for name, each in self._servers.items():
            evidence = tuple(each.evidence.values())
            yield ServerState(name, each.intent, dict(each.judgements), evidence, self._reports.of(name))

    def pools(self) -> Iterable[PoolState]:
        """Every pool of the live configuration that switches hold."""
        self._settle()
        for key, pool in self._pools.items():
            if pool.has_group:
                ready = self._ready(self._pools, key)
                table = self._slots[key].table
                slots = None if table is None else _whole(table)
                is_open = self._fails_open(pool, key, ready) or (bool(ready) and not self._serving(pool, key, ready))
                yield PoolState(key, pool, slots, is_open)

    # ---- inside ----

    def _judge(self, name: str, now: float) -> None:
        """Look at all that is said about a server again."""
        self._now = now
        server, changed = self._servers[name], False
        keys = self._pools.of(name)
        for key in server.judgements.keys() - set(keys):
            del server.judgements[key]
        for key in keys:
            before = server.judgements.get(key, Judgement())
            about = [each for each in server.evidence.values() if each.pool in (None, key)]
            after = judge(before, about, self._pools[key].checks.get(name, frozenset()) | {PORT}, now)
            if after.seen is Seen.UP and now < server.not_up_before:
                after = before
            server.judgements[key] = after
            if after.seen is not before.seen:
                self._changes.append(Change(name, key, before, after))
                changed = True
        if changed:
            self._touch(name)

    def _take(self, name: str, key: PoolKey, has_slots: bool, now: float) -> None:
        """What follows for a server from the slots that a switch has of it, unless there is evidence against it."""
        server = self._servers[name]
        before = server.judgements[key]
        if has_slots:
            if before.seen is Seen.UNKNOWN:
                server.judgements[key] = Judgement(Seen.UP, HAS_SLOTS, now)
        elif name in self._pools[key].foremost(self._ready(self._pools, key)) and before.seen is not Seen.DOWN:
            after = server.judgements[key] = Judgement(Seen.DOWN, HAD_NONE, now)
            self._changes.append(Change(name, key, before, after))
            server.not_up_before = now + HOLD
            self._assumed.add(name)
        self._take_for_all(name, key, now)

    def _take_for_all(self, name: str, key: PoolKey, now: float) -> None:
        """A server is taken for down in the pool of all servers if it is down in all others that are known."""
        server, every = self._servers[name], (key[0], ALL_SERVERS)
        others = [each for port, each in server.judgements.items() if port != every]
        if key != every and every in server.judgements and not self._slots[every].is_known:
            is_down = all(each.seen is Seen.DOWN for each in others)
            if is_down and server.judgements[every].seen is not Seen.DOWN:
                server.judgements[every] = Judgement(Seen.DOWN, HAD_NONE, now)
                self._dirty.add(every)

    def _touch(self, name: str) -> None:
        self._dirty.update(self._pools.of(name))
        self._changed()

    def _changed(self) -> None:
        self._version += 1

    def _settle(self) -> None:
        """Give the pools of servers that have changed the slots that they shall have."""
        for key in self._dirty:
            ready = self._ready(self._pools, key)
            slots = self._slots[key]
            had = slots.table
            slots.settle(self._pools[key], ready, self._serving(self._pools[key], key, ready), self._now)
            slots.formers = self._moved(self._pools, key, had, slots.table)
            self._watch(key)
            if self._fails_open(self._pools[key], key, ready):
                self._open.add(key)
            else:
                self._open.discard(key)
        self._dirty.clear()
        self._open &= self._slots.keys()

    def _watch(self, key: PoolKey) -> None:
        """Look at a pool again as time passes, if that moves its slots."""
        if self._pools[key].selecting.reshuffles or self._slots[key].is_moving:
            self._timed.add(key)
        else:
            self._timed.discard(key)

    def _next(self, pools: Pools, key: PoolKey) -> Table | None:
        """The slots with which a pool of another configuration would begin."""
        ready, slots, pool = self._ready(pools, key), self._slots.get(key, KeptSlots()), pools[key]
        return slots.proposed(self._pools.get(key, pool), pool, ready, self._serving(pool, key, ready))

    def _pool_slots(self, pools: Pools, key: PoolKey, table: Table | None) -> PoolSlots | None:
        """The slots of a pool with their former servers that work; None if they follow from the configuration alone."""
        is_live, slots = pools is self._pools, self._slots.get(key)
        formers = slots.formers if is_live and slots else self._moved(pools, key, slots.table if slots else None, table)
        named = formers.named(self._able(pools, key)) if formers.slots else ()
        if table is None and not named:
            return None
        return PoolSlots(pools[key].default if table is None else _whole(table), named)

    def _moved(self, pools: Pools, key: PoolKey, had: Table | None, table: Table | None) -> Formers:
        """What the slots of a pool remember when it gets this table in place of the one that it had."""
        slots, new = self._slots.get(key), pools[key]
        if slots is None or not new.second_chance:
            return Formers()
        old = self._pools[key] if key in self._pools else new
        if table == had and (table is not None or old is new or old == new):
            return slots.formers
        before = old.default if had is None else had
        after = new.default if table is None else _whole(table)
        if tuple(before) == after:
            return slots.formers
        formers = slots.formers.copy()
        formers.move(before, after, self._able(pools, key), self._now)
        return formers

    def _of_vip(self, pools: Pools, key: PoolKey) -> Collection[str]:
        return pools[key[0], ALL_SERVERS].servers

    def _able(self, pools: Pools, key: PoolKey) -> frozenset[str]:
        """The servers of a pool's VIP that may have connections: they are neither down nor closed."""
        known = self._servers
        return frozenset(
            name
            for name in self._of_vip(pools, key)
            if name not in pools.closed
            and not (
                name in known
                and (
                    known[name].intent.wanted is Wanted.MAINT
                    or _is_down(known[name], key)
                    or _is_down(known[name], (key[0], ALL_SERVERS))
                )
            )
        )

    def _ready(self, pools: Pools, key: PoolKey) -> tuple[str, ...]:
        """The servers of a pool that may have slots."""
        known = self._servers
        ready = tuple(
            name
            for name in pools[key].weighed
            if pools.wanted(name) is Wanted.READY
            and (name not in known or known[name].intent.wanted is Wanted.READY)
        )
        staying = tuple(name for name in ready if name not in known or not known[name].drains)
        return staying or ready  # agents' words alone take no pool its last servers

    def _serving(self, pool: Pool, key: PoolKey, ready: Collection[str]) -> tuple[str, ...]:
        """Those of them that are not down; where these are too few, all whose port works."""
        up = self._up(key, ready)
        if not pool.fail_open.applies(len(up), len(ready)):
            return up
        return tuple(name for name in ready if not self._has_bad_port(name)) or up

    def _up(self, key: PoolKey, ready: Collection[str]) -> tuple[str, ...]:
        known = self._servers
        return tuple(name for name in ready if name not in known or not _is_down(known[name], key))

    def _has_bad_port(self, name: str) -> bool:
        port = self._servers[name].evidence.get((PORT, None)) if name in self._servers else None
        return port is not None and not port.is_up

    def _fails_open(self, pool: Pool, key: PoolKey, ready: Collection[str]) -> bool:
        """Whether it uses servers that are down, because too few are up."""
        up = self._up(key, ready)
        return pool.fail_open.applies(len(up), len(ready)) and len(self._serving(pool, key, ready)) > len(up)


def _is_down(server: _Server, key: PoolKey) -> bool:
    judgement = server.judgements.get(key)
    return judgement is not None and judgement.seen is Seen.DOWN


def _whole(table: Table) -> tuple[str, ...]:
    return tuple(server for server in table if server is not None)
