"""What a controller that has just started takes over from the switches: the slots of pools (`backends`).

It has no memory, and the switches have. So a switch is not changed before it is known which slots its pools have: the
nearest one to a network side that was read and holds a pool decides about it. An entrance decides as soon as it is
read; where no entrance has told, the other switches that links join to it are heard first, or have had the time to tell
something (`HEARING`). And not before the goal was compiled with what they told: so a switch that holds what the
controller before has left it with is sent nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from portlb_app import topology
from portlb_app.config import Config
from portlb_app.reconcile.known_switch import KnownSwitch
from portlb_app.reconcile.network import Network
from portlb_app.topology.conditions import ALL_SERVERS, PoolKey
from portlb_app.topology.links import HEARING


class Adoption:
    """Decides about the pools of the first live configuration, once; others begin with slots of their own."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._pending = dict(_by_component(network.live.config))
        self._ends_at: dict[frozenset[int], float] = {}
        """When switches that link join have had time to connect, counted from the first of them."""
        self._waits_for_goal = True

    def may_change(self, dpid: int) -> bool:
        """Whether a switch may be changed: what is to be taken over of its pools is part of the goal."""
        if self._waits_for_goal:
            self._waits_for_goal = not self._network.goal.is_for(self._network.wanted)
        return not self._waits_for_goal and not any(dpid in component for component in self._pending)

    def proceed(self) -> None:
        """Decide about pools of which enough was told."""
        network = self._network
        for component in list(self._pending):
            keys = [key for key in self._pending[component] if not network.backends.is_known(key)]
            switches = [network.switches[dpid] for dpid in component if dpid in network.switches]
            self._decide(keys, switches, self._is_over(component, switches))
            if all(map(network.backends.is_known, keys)):
                del self._pending[component]

    def _is_over(self, component: frozenset[int], switches: Iterable[KnownSwitch]) -> bool:
        """Whether all have told what they hold, or those that have not had time to since the first one connected."""
        told = {each.dpid for each in switches if each.held is not None or each.errors}
        connected = {each.dpid for each in switches if each.is_connected}
        if connected:
            self._ends_at.setdefault(component, self._network.now + HEARING)
        ends_at = self._ends_at.get(component, math.inf)
        return told >= component or (self._network.now >= ends_at and told >= connected)

    def _decide(self, keys: Iterable[PoolKey], switches: Iterable[KnownSwitch], is_over: bool) -> None:
        network = self._network
        ranked = sorted((network.depth(each.dpid), network.name(each.dpid), each.dpid) for each in switches)
        for key in keys:
            holding = [each for each in ranked if key in (network.switches[each[2]].held or {})]
            if holding and (is_over or holding[0][0] == 0):
                self._take(key, holding)
            elif is_over:
                network.backends.know([key])

    def _take(self, key: PoolKey, holding: list[tuple[float, str, int]]) -> None:
        network = self._network
        before = network.backends.conditions(network.live.config)
        (_, first, dpid), *others = holding
        held = (network.switches[dpid].held or {})[key]
        network.backends.held(key, held, network.now)
        if network.backends.conditions(network.live.config) != before:
            self._waits_for_goal = True
            text = f"{first} holds other slots of {key[0]}:{key[1]} than a new pool has: they stay"
            network.log("info", text, switch=first, vip=key[0])
        differing = [name for _, name, other in others if (network.switches[other].held or {})[key] != held]
        if differing:
            text = f"{', '.join(differing)} differ from {first} in the slots of {key[0]}:{key[1]}: {first} decides"
            network.log("warning", f"{text}, as the nearest one to a network side", switch=first, vip=key[0])


def _by_component(config: Config) -> Iterable[tuple[frozenset[int], list[PoolKey]]]:
    """The switches that links join, by datapath id, with the pools whose servers are there. All links may work."""
    dpids, parts = {switch.name: switch.dpid for switch in config.switches}, topology.joined(config)
    found: dict[frozenset[int], list[PoolKey]] = {}
    for vip in config.vips:
        servers = config.servers_of(vip)
        if servers:
            component = frozenset(dpids[name] for name in parts[servers[0].connector.switch])
            ports = (ALL_SERVERS, *(pool.port for pool in vip.redirect_ports))
            found.setdefault(component, []).extend((vip.name, port) for port in ports)
    return found.items()
