"""What is wanted and seen of servers, and the slots of pools that follow from it.

`Backends` is the facade. Everything goes in by its methods (an administrator's words, evidence, what switches were read
to hold), and only `conditions` comes out: the slots that differ from those that follow from a configuration alone, and
the servers that get nothing. Whatever changes a pool changes these, and so the tables that are compiled.

**The slots of a pool** are moved from where they are, as few as possible (`moves`). So they depend on the past, and a
controller that starts has none: the switches have it. The first word about what a switch holds decides (`held`). A
server that has slots there is taken for up. One that should have some and has none is taken for down until evidence
says otherwise, and for `HOLD` at least: somebody found it so.

- Servers: `servers` what is known of all of them; `states` of one. `connectors` the evidence of ports; `reports` what
  agents say; `passive` what counters say; `drained` whether a server still has connections.
- Pools: `pools` who is in each; `usable` which of these get slots.
- Slots: `slots` those of all pools; `kept` those of one over time, `moves` which of them move, `pace` how fast;
  `loads` what load asks for; `formers` the servers that slots had before.
- `answers`: what follows from servers and slots.
- Pure: time is an argument, seconds of any monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

from portlb_app.backends.answers import Answers, PoolState, ServerState
from portlb_app.backends.moves import whole
from portlb_app.backends.passive import PASSIVE, Look, Passive
from portlb_app.backends.pools import Pools
from portlb_app.backends.servers import AGENT, HAD_NONE, HAS_SLOTS, IS_NEW, SAYS_DOWN, Change, Servers
from portlb_app.backends.slots import Slots
from portlb_app.backends.states import Cause, Evidence, Seen
from portlb_app.config import Config
from portlb_app.config.overrides import NONE, Overrides
from portlb_app.net.heartbeat import Heartbeat, Order
from portlb_app.topology.conditions import ALL_SERVERS, HeldSlots, PoolKey, PoolSlots

__all__ = [
    "AGENT",
    "HAD_NONE",
    "HAS_SLOTS",
    "IS_NEW",
    "SAYS_DOWN",
    "Backends",
    "Change",
    "PoolState",
    "ServerState",
]


class Backends:
    """The states of all servers, and the slots of all pools."""

    def __init__(self, config: Config, overrides: Overrides = NONE) -> None:
        self._servers = Servers(Pools(config, overrides))
        self._slots = Slots(self._servers)
        self._answers = Answers(self._servers, self._slots)
        self._passive = Passive()
        self.adopt(config, 0.0)

    @property
    def _pools(self) -> Pools:
        return self._servers.pools

    # ---- what happens ----

    def adopt(self, config: Config, now: float) -> None:
        """This configuration is live. What is known of servers and pools that it has not is forgotten."""
        self._servers.now = now
        if not self._slots or config is not self._pools.config:
            self._adopt(Pools(config, self._pools.overrides), now)

    def override(self, overrides: Overrides, now: float) -> None:
        """These overrides take the place of those before."""
        self._servers.now = now
        if overrides is not self._pools.overrides:
            self._adopt(Pools(self._pools.config, overrides), now)

    def _adopt(self, pools: Pools, now: float) -> None:
        self._passive.keep(pools.config.server_by_name.keys())
        is_first = not self._slots
        self._slots.adopt(pools)
        self._servers.adopt(pools, now, is_first=is_first)

    def held(self, key: PoolKey, held: HeldSlots, now: float) -> bool:
        """A switch was read that has these slots of a pool. Whether that decides: only the first word does."""
        present = self._slots.hold(key, held, now)
        if present is None:
            return False
        is_all_known = self._slots.is_known((key[0], ALL_SERVERS))
        for name in self._pools[key].servers:
            self._servers.take(name, key, now, has_slots=name in present, is_all_known=is_all_known)
        return True

    def remember(self, key: PoolKey, held: HeldSlots) -> None:
        """A switch has these slots; if they follow from servers and weights alone, these need not be found anew."""
        if held.is_default and key in self._pools:
            self._pools[key].know_default(whole(held.servers))

    def know(self, keys: Iterable[PoolKey]) -> None:
        """No switch holds anything of these pools."""
        self._slots.know(keys)

    def is_known(self, key: PoolKey) -> bool:
        """Whether it is known which slots switches hold of a pool, or none does."""
        pool = self._pools.get(key)
        return pool is None or self._slots.is_known(key) or not (pool.has_group and pool.members)

    def see(self, server: str, evidence: Evidence, now: float) -> None:
        """A source says something about a server, in place of what it said before about the same pool."""
        self._servers.see(server, evidence, now)

    def forget(self, server: str, source: str, now: float) -> None:
        """A source says nothing about a server any more."""
        self._servers.forget(server, source, now)

    def handed_back(self, key: PoolKey, vip: int, found: int, now: float) -> None:
        """Something was handed back to a pool's redirect port, with this mark; `vip` is the VIP's number."""
        self._slots.handed_back(key, vip, found, now)

    def hear(self, server: str, heartbeat: Heartbeat, now: float) -> None:
        """A server's agent says this. It holds until the next heartbeat, or until too many are missing."""
        self._servers.hear(server, heartbeat, now)

    def passed(self, looks: Mapping[str, Look], now: float) -> None:
        """So much has passed to and from these servers since their switch was read before (`passive`)."""
        watched = {vip.name: vip for vip in self._pools.config.vips if vip.passive}
        found, pools = {}, {}
        for name, look in looks.items():
            server = self._pools.config.server_by_name.get(name)
            if server is None or server.vip not in watched or name in watched[server.vip].checked:
                continue
            found[name] = look
            keys = (key for key in self._pools.of(name) if key[1] != ALL_SERVERS)
            pools[name] = [self._pools[key].servers for key in keys]
        for name, reason in self._passive.look(found, pools, now):
            self._servers.see(name, Evidence(PASSIVE, False, reason, now), now)

    def tick(self, now: float) -> None:
        """Time passes."""
        for name in self._passive.over(now):
            self._servers.forget(name, PASSIVE, now)
        self._slots.expire(now)
        self._servers.tick(now)
        self._slots.tick(now)

    def count(self, dpid: int, counted: Mapping[PoolKey, Sequence[int]], now: float) -> None:
        """A switch has counted these packets of each slot by now (``selection: least-packets``)."""
        self._slots.count(dpid, counted, now)

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
        return self._answers.conditions(config)

    def slots_of(self, config: Config, overrides: Overrides) -> tuple[Mapping[PoolKey, PoolSlots], frozenset[str]]:
        """The same for a configuration and overrides that are only looked at; nothing of it is kept."""
        return self._answers.slots_of(config, overrides)

    def tables(self, overrides: Overrides | None = None) -> Mapping[PoolKey, tuple[str, ...]]:
        """The slots of every pool of the live configuration, as they are to be, or would be with other overrides."""
        return self._answers.tables(overrides)

    def orders(self, unix: float) -> Mapping[str, Order]:
        """What agents are asked to do at this time of day (seconds since 1970), by server; nothing for most.

        Connections are redirected once no pool gives their server new ones, as long as another server has slots there.
        """
        return self._answers.orders(unix)

    def seen(self, server: str, key: PoolKey) -> Seen:
        """What is seen of a server in a pool."""
        return self._servers.seen(server, key)

    @property
    def failing_open(self) -> frozenset[PoolKey]:
        """The pools that use all of their servers because too few are up by their checks."""
        return self._answers.failing_open()

    def take_causes(self) -> Mapping[PoolKey, Cause]:
        """The pools whose slots may have moved since this was asked last, and why."""
        self._slots.settle()
        causes, self._slots.causes = self._slots.causes, {}
        return causes

    def holds(self, key: PoolKey, held: HeldSlots) -> bool:
        """Whether these are the slots that a pool shall have."""
        table = self._slots.table(key) if key in self._pools else None
        if table is None:
            return key in self._pools and held.is_default
        return tuple(table) == held.servers

    def pool(self, key: PoolKey) -> PoolState | None:
        """One pool of the live configuration that switches hold."""
        return self._answers.pool(key)

    @property
    def heard(self) -> Set[str]:
        """The servers whose agents are heard."""
        return self._servers.reports.names

    def changes(self) -> list[Change]:
        """What has changed since this was asked last."""
        return self._servers.changes()

    def servers(self) -> Iterable[ServerState]:
        """Every server of the live configuration."""
        return self._answers.servers()

    def pools(self) -> Iterable[PoolState]:
        """Every pool of the live configuration that switches hold."""
        return self._answers.pools()
