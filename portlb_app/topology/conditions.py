"""What is true of a network now, and its configuration does not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from portlb_app.config import Config, Link, ServicePort

PoolKey = tuple[str, int]
"""A pool: the name of its VIP, and its redirect port."""

ALL_SERVERS = 0
"""In place of a redirect port: the pool of all servers of a VIP, over which ICMP is spread."""


@dataclass(frozen=True)
class PoolSlots:
    """The slots of one pool: `servers` has the server of each slot, and is empty for a pool that nothing gets.

    `formers`: for each slot the servers that it had before, latest first, at most `pipeline.FORMERS`; empty if no slot
    has any. `turns`: the servers among which the controller takes turns, with their weights; None: not known here.
    """

    servers: tuple[str, ...] = ()
    formers: tuple[tuple[str, ...], ...] = ()
    turns: tuple[tuple[str, int], ...] | None = None


@dataclass(frozen=True)
class HeldSlots:
    """The slots of a pool as they were read from a switch. None: a server that the configuration does not name.

    `is_default`: they are those that follow from the pool's servers and weights alone.
    """

    servers: tuple[str | None, ...] = ()
    formers: tuple[tuple[str, ...], ...] = ()
    is_default: bool = False


@dataclass(frozen=True)
class Conditions:
    """One value for all of it: a configuration and its conditions decide the tables of every switch.

    - `links_down`: links that no packet may be sent by.
    - `slots`: the slots of pools; one that is not in it has those that follow from its servers and weights alone
      (`selection.slots`). Never changed once it is here.
    - `closed`: servers that get nothing from clients, at their service ports either.
    - `leaving`: service ports that servers have no more, and are forwarded to them all the same (`topology.leaving`).
    """

    links_down: frozenset[Link] = frozenset()
    slots: Mapping[PoolKey, PoolSlots] = field(default_factory=dict, hash=False)
    closed: frozenset[str] = frozenset()
    leaving: frozenset[tuple[str, ServicePort]] = frozenset()

    @property
    def of_paths(self) -> Conditions:
        """What of it decides where packets can go; which server gets a connection does not matter for that."""
        return replace(self, slots={}) if self.slots else self

    def of(self, config: Config) -> Conditions:
        """What of it is about a configuration."""
        return replace(
            self,
            links_down=self.links_down.intersection(config.links),
            slots={key: slots for key, slots in self.slots.items() if _has_pool(config, key)},
            closed=self.closed.intersection(config.server_by_name),
            leaving=frozenset(each for each in self.leaving if each[0] in config.server_by_name),
        )


def _has_pool(config: Config, key: PoolKey) -> bool:
    name, port = key
    return any(vip.name == name and (not port or vip.pool_on(port)) for vip in config.vips)


AS_CONFIGURED = Conditions()
"""All links work, and every pool has the slots that follow from its servers and weights."""
