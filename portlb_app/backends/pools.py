"""The pools of a configuration: who is in them, and which of them a switch's groups tell about."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from portlb_app.backends.states import check_source
from portlb_app.config import (
    Config,
    FailOpen,
    Moves,
    RedirectPort,
    Selecting,
    Vip,
    Wanted,
    weights_among,
)
from portlb_app.config.overrides import NONE, Overrides
from portlb_app.selection import fewest_bits, slots
from portlb_app.topology.conditions import ALL_SERVERS, PoolKey


@dataclass(frozen=True)
class Pool:
    """The servers of a pool and their weights, 0 for those that shall have no slots; k of its 2^k groups.

    `configured`: the weights by which servers have slots in the configuration, where others are used now.
    `priorities`: those of the servers. `has_group`: switches hold its slots. The rest is as in its redirect port;
    `second_chance`: seconds for which a slot that moves remembers its server. `checks`: by server, the sources that say
    whether it is up, beside its port's.
    """

    servers: tuple[str, ...]
    weights: tuple[int, ...]
    configured: tuple[int, ...]
    priorities: tuple[int, ...]
    bits: int
    has_group: bool = True
    selecting: Selecting = Selecting()
    moves: Moves | None = None
    slow_start: int = 0
    second_chance: int = 0
    fail_open: FailOpen = FailOpen()
    checks: Mapping[str, frozenset[str]] = field(default_factory=dict, hash=False)

    @cached_property
    def weight_of(self) -> Mapping[str, int]:
        """The weight of each server."""
        return dict(zip(self.servers, self.weights, strict=True))

    @cached_property
    def weighed(self) -> tuple[str, ...]:
        """The servers that may have slots, now or when others do not work."""
        return tuple(server for server in self.servers if self.weight_of[server])

    @cached_property
    def members(self) -> tuple[str, ...]:
        """The servers that have slots if all of them work."""
        return self.foremost(self.servers)

    def foremost(self, some: Collection[str]) -> tuple[str, ...]:
        """Those of some servers that get slots if just these work: the ones with the first priority of all."""
        ranked = zip(self.servers, self.weights, self.priorities, strict=True)
        here = [(name, priority) for name, weight, priority in ranked if weight and name in some]
        first = min((priority for _, priority in here), default=0)
        return tuple(name for name, priority in here if priority == first)

    @cached_property
    def shares(self) -> tuple[int, ...]:
        """The weights by which servers have slots if all of them work."""
        return tuple(weight if name in self.members else 0 for name, weight in self.weight_of.items())

    def know_default(self, table: tuple[str, ...]) -> None:
        """These are the slots that follow from servers and weights alone: that takes a while to find out."""
        self.__dict__.setdefault("default", table)

    @cached_property
    def default(self) -> tuple[str, ...]:
        """The slots that follow from the configuration alone."""
        return slots(self.servers, self.configured, self.bits)


def _sources(vip: Vip, port: int) -> frozenset[str]:
    return frozenset(check_source(port, address.version) for address in vip.addresses)


class Pools(Mapping[PoolKey, Pool]):
    """The pools of one configuration, and what is wanted of its servers, with the overrides that hold for it."""

    def __init__(self, config: Config, overrides: Overrides = NONE) -> None:
        self.config, self.overrides = config, overrides
        self.used = overrides.over(config)
        """The configuration as it is used."""
        self._members = overrides.of_members(config)
        self._pools: dict[PoolKey, Pool] = {}
        self._of: dict[str, list[PoolKey]] = {server.name: [] for server in config.servers}
        for vip in config.vips:
            every = tuple(server.name for server in config.servers_of(vip))
            self._add((vip.name, ALL_SERVERS), every, fewest_bits(len(every)), vip.spreads_icmp)
            for pool in vip.redirect_ports:
                self._add((vip.name, pool.port), pool.servers, pool.group_bits, True)
                self._refine(vip, pool)

    def _add(self, key: PoolKey, servers: tuple[str, ...], bits: int, has_group: bool) -> None:
        members = [self._members.server_by_name[name] for name in servers]
        self._pools[key] = Pool(
            servers,
            tuple(server.share for server in members),
            weights_among(self.config.server_by_name[name] for name in servers),
            tuple(server.priority for server in members),
            bits,
            has_group,
        )
        for name in servers:
            self._of[name].append(key)

    def _refine(self, vip: Vip, pool: RedirectPort) -> None:
        """What a redirect port says beside its servers."""
        key = vip.name, pool.port
        checks = {name: _sources(vip, pool.port) for name, check in pool.checked.items() if check.says_up}
        self._pools[key] = replace(
            self._pools[key],
            selecting=pool.selecting,
            moves=pool.moves,
            slow_start=pool.slow_start,
            second_chance=pool.second_chance,
            fail_open=pool.fail_open,
            checks=checks,
        )

    def wanted(self, server: str) -> Wanted:
        """What is wanted of a server; one that the configuration has not is ready."""
        found = self.used.server_by_name.get(server)
        return found.wanted if found else Wanted.READY

    def of(self, server: str) -> list[PoolKey]:
        """The pools that a server is in."""
        return self._of.get(server, [])

    def __getitem__(self, key: PoolKey) -> Pool:
        return self._pools[key]

    def __iter__(self) -> Iterator[PoolKey]:
        return iter(self._pools)

    def __len__(self) -> int:
        return len(self._pools)
