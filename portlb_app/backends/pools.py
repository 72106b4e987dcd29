"""The pools of a configuration: who is in them, and which of them a switch's groups tell about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from portlb_app.config import Config, IcmpPolicy, Wanted
from portlb_app.config.overrides import NONE, Overrides
from portlb_app.selection import fewest_bits, slots
from portlb_app.topology.conditions import ALL_SERVERS, PoolKey


@dataclass(frozen=True)
class Pool:
    """The servers of a pool and their weights, 0 for those that shall have no slots; k of its 2^k groups.

    `configured`: the weights that the configuration says, where others are used now. `has_group`: switches hold its
    slots. `second_chance`: seconds for which a slot that moves remembers its server.
    """

    servers: tuple[str, ...]
    weights: tuple[int, ...]
    configured: tuple[int, ...]
    bits: int
    has_group: bool = True
    second_chance: int = 0

    @cached_property
    def weight_of(self) -> Mapping[str, int]:
        """The weight of each server."""
        return dict(zip(self.servers, self.weights, strict=True))

    @cached_property
    def members(self) -> tuple[str, ...]:
        """The servers that have slots if all of them work."""
        return tuple(server for server in self.servers if self.weight_of[server])

    def know_default(self, table: tuple[str, ...]) -> None:
        """These are the slots that follow from servers and weights alone: that takes a while to find out."""
        self.__dict__.setdefault("default", table)

    @cached_property
    def default(self) -> tuple[str, ...]:
        """The slots that follow from the configuration alone."""
        return slots(self.servers, self.configured, self.bits)


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
            has_group = IcmpPolicy.BALANCE in {vip.icmp_rest, *(rule.target for rule in vip.icmp_types)}
            self._add((vip.name, ALL_SERVERS), every, fewest_bits(len(every)), has_group)
            for pool in vip.redirect_ports:
                self._add((vip.name, pool.port), pool.servers, pool.group_bits, True, pool.second_chance)

    def _add(
        self, key: PoolKey, servers: tuple[str, ...], bits: int, has_group: bool, second_chance: int = 0
    ) -> None:
        weights, configured = (
            tuple(config.server_by_name[name].share for name in servers) for config in (self._members, self.config)
        )
        self._pools[key] = Pool(servers, weights, configured, bits, has_group, second_chance)
        for name in servers:
            self._of[name].append(key)

    def wanted(self, server: str) -> Wanted:
        """What is wanted of a server; one that the configuration has not is ready."""
        found = self.used.server_by_name.get(server)
        return found.wanted if found else Wanted.READY

    @cached_property
    def closed(self) -> frozenset[str]:
        """The servers that are to get nothing."""
        return frozenset(server.name for server in self.used.servers if server.wanted is Wanted.MAINT)

    def of(self, server: str) -> list[PoolKey]:
        """The pools that a server is in."""
        return self._of.get(server, [])

    def __getitem__(self, key: PoolKey) -> Pool:
        return self._pools[key]

    def __iter__(self) -> Iterator[PoolKey]:
        return iter(self._pools)

    def __len__(self) -> int:
        return len(self._pools)
