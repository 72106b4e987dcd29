"""What the reconciler knows: configurations, the goal, switches, conditions; and the commands it has yet to give."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Literal

import networkx as nx

from portlb_app.backends import Backends
from portlb_app.backends.drained import Drains
from portlb_app.config import Config
from portlb_app.config.overrides import NONE
from portlb_app.reconcile.commands import Command, Log
from portlb_app.reconcile.configuration import Configuration
from portlb_app.reconcile.goal import NO_TARGET, Goal
from portlb_app.reconcile.happened import Evidence, Happened, Kind
from portlb_app.reconcile.known_switch import KnownSwitch
from portlb_app.reconcile.results import Compiled, Target
from portlb_app.reconcile.totals import Totals
from portlb_app.reconcile.trial import Trial
from portlb_app.topology.conditions import AS_CONFIGURED, Conditions, HeldSlots, PoolKey
from portlb_app.topology.leaving import NOTHING, Leaving


class Network:
    """One value for all parts of the reconciler. `now` is the time of the event that is being handled."""

    def __init__(self, live: Configuration, compiled: Compiled) -> None:
        self.live = live
        self.last_good: Configuration | None = None
        """What was live and verified before `live`, as long as that is not verified."""
        self.is_verified = False
        self.generation = 1
        self.problem = ""
        """Why the live configuration cannot be compiled."""
        self.trial: Trial | None = None
        self.goal = Goal(compiled.goal, live, compiled.targets)
        self.is_compiling = False
        self.is_urgent = False
        """The goal is the same configuration as the one before, under other conditions."""
        self.switches: dict[int, KnownSwitch] = {}
        self.backends = Backends(live.config)
        self.leaving: Callable[[Config], Leaving] = lambda _config: NOTHING
        """The service ports that are forwarded beside those of a configuration; the same object until that changes."""
        self.overrides = NONE
        self.drains = Drains()
        self.totals = Totals()
        self.overdue: frozenset[str] = frozenset()
        """The servers that are not drained, although the deadline of that has come."""
        self.unix_at_zero = -math.inf
        """The Unix time at which the clock of `now` was 0; long ago until it is known, so that nothing ends."""
        self.conditions = AS_CONFIGURED
        """The links that are down."""
        self.components = components((live,), AS_CONFIGURED)
        """For every switch with a link, the number of its component."""
        self._made: list[tuple[Configuration, object, object, object, object]] = []
        """The configurations that were put under conditions last, and these."""
        self._held: dict[PoolKey, HeldSlots] = {}
        """The slots of each pool that were read last."""
        self._read: set[PoolKey] = set()
        self.change = ""
        """The last change of the configuration or of overrides that was begun, by its id."""
        self.commands: list[Command] = []
        self.now = 0.0

    @property
    def wanted(self) -> Configuration:
        """The proposed configuration, or the live one."""
        return (self.trial.configuration if self.trial else None) or self.live

    def under_conditions(self, configuration: Configuration) -> Configuration:
        """A configuration under everything that is true of links and servers now."""
        links, (slots, closed) = self.conditions.links_down, self.backends.conditions(configuration.config)
        leaving = self.leaving(configuration.config)
        if any(
            made is configuration and down is links and held is slots and shut is closed and left is leaving
            for made, down, held, shut, left in self._made
        ):
            return configuration  # every event asks, and mostly nothing has changed
        made = configuration.under(replace(self.conditions, slots=slots, closed=closed, leaving=leaving))
        self._made = [(made, links, slots, closed, leaving), *self._made[:1]]
        return made

    def read(self, dpid: int, held: Mapping[PoolKey, HeldSlots], has_drifted: bool = False) -> None:
        """A switch was read to hold these slots of pools. Equal ones are kept once: there are many switches.

        `has_drifted`: others have changed what it holds.
        """
        for key, slots in held.items():
            if self._held.get(key) != slots:
                self._held[key] = slots
                self._read.add(key)
            self.backends.remember(key, slots)
        before, after = self.switches[dpid].held, {key: self._held[key] for key in held}
        self.switches[dpid].held = after
        if before is not None:
            telling = [dpid for dpid, each in self.switches.items() if each.held is not None]
            self.totals.count_moves(dpid, before, after, telling, has_drifted)

    def held(self, key: PoolKey) -> HeldSlots | None:
        """The slots of a pool that were read last, from whatever switch."""
        return self._held.get(key)

    def take_read(self) -> set[PoolKey]:
        """The pools that were read to have other slots than at the read before, since this was asked last."""
        read, self._read = self._read, set()
        return read

    def handed_back(self, vip_number: int, port: int, mark: int) -> None:
        """Servers of a VIP have handed back packets to a redirect port, with this mark."""
        for vip in (each for each in self.live.config.vips if each.number == vip_number):
            pool = vip.pool_on(port)
            for each in {port, *(when.pool for when in pool.when)} if pool else ():
                self.backends.handed_back((vip.name, each), vip_number, mark, self.now)

    def knows(self, dpid: int) -> bool:
        """Whether a switch is in the configuration, or holds what is left of one."""
        switch = self.switches.get(dpid)
        is_named = dpid in self.wanted.names or dpid in self.live.names
        return is_named or (switch is not None and switch.holds_ours)

    def members(self) -> list[KnownSwitch]:
        """The connected switches that it knows."""
        return [switch for dpid, switch in self.switches.items() if switch.is_connected and self.knows(dpid)]

    def name(self, dpid: int) -> str:
        """A switch's name, or its datapath id if it has none."""
        return self.wanted.names.get(dpid) or self.live.names.get(dpid) or f"{dpid:#x}"

    def target(self, dpid: int) -> Target:
        """What the goal asks of a switch."""
        return self.goal.targets.get(dpid, NO_TARGET)

    def depth(self, dpid: int) -> float:
        """Links to the nearest network side. A switch that is not named any more is beyond all others."""
        target = self.goal.targets.get(dpid)
        return target.depth if target else math.inf

    def has_goal(self, switch: KnownSwitch) -> bool:
        """Whether a switch holds what the goal asks of it."""
        return switch.synced_with == self.goal.number != 0

    def log(self, level: Literal["info", "warning", "error"], text: str, **about: str) -> None:
        """Have something logged. `about`: the switch, link, VIP, server or change by name."""
        self.commands.append(Log(level, text, about))

    def tell(
        self,
        kind: Kind,
        of: str,
        change: tuple[str | None, str],
        reason: str,
        evidence: Evidence | None = None,
        by: str = "",
    ) -> None:
        """Something has happened: the words before and after, and why. `by`: the id of the change that led to it."""
        self.commands.append(Happened(kind, of, *change, reason, evidence or {}, by))


def components(configurations: Iterable[Configuration], conditions: Conditions) -> dict[int, int]:
    """For every switch with a link in one of these, the number of its component: no link that works joins two."""
    graph: nx.Graph[int] = nx.Graph()
    for configuration in configurations:
        for link, ((one, _), (other, _)) in configuration.ends.items():
            graph.add_nodes_from((one, other))
            if link not in conditions.links_down:
                graph.add_edge(one, other)
    return {dpid: number for number, joined in enumerate(nx.connected_components(graph)) for dpid in joined}
