"""VIPs by the switch that hands up a packet about them, with the switches of their servers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.compiler.vips_by_switch import VipsBySwitch
from portlb_app.config import Config
from portlb_app.topology.conditions import AS_CONFIGURED, Conditions

SWITCHES_AT_ONCE = 4
"""Switches whose VIPs are worked out at a time when the configuration is another."""


@dataclass(frozen=True)
class LocatedVip:
    """A VIP on the switch that handed up a packet about it, and on the switch of each server that can be reached.

    The controller gives a packet to the server's own switch at once; those between would hand it up again.
    `server_switches`: by the server's name, the datapath id of its switch, and the VIP there.
    """

    dpid: int
    local: VipOnSwitch
    server_switches: Mapping[str, tuple[int, VipOnSwitch]]


class VipIndex:
    """The VIPs of one configuration under its conditions, and which switches are connected."""

    def __init__(self) -> None:
        self._config: Config | None = None
        self._conditions = AS_CONFIGURED
        self._connected: set[int] = set()
        self._next: VipsBySwitch | None = None
        self._found: VipsBySwitch | None = None
        self._on_switch: dict[int, tuple[VipOnSwitch, ...]] = {}
        self._located: dict[tuple[int, int], list[LocatedVip]] = {}
        self._first: dict[int, LocatedVip] = {}
        """By a VIP's number, the VIP on one of its switches."""
        self._turning: list[tuple[int, VipOnSwitch]] = []
        self._server_switches: dict[int, dict[str, tuple[int, VipOnSwitch]]] = {}
        """By a VIP's number, what `LocatedVip` knows of its servers. It changes as switches connect and disconnect."""

    def is_for(self, config: Config, conditions: Conditions) -> bool:
        """Whether these are the VIPs of this configuration under these conditions."""
        return config is self._config and conditions == self._conditions

    def has_paths_of(self, config: Config, conditions: Conditions) -> bool:
        """Whether packets about these take the same paths, whichever servers get them."""
        return self._found is not None and self._found.has_paths_of(config, conditions)

    def compute(self, config: Config, conditions: Conditions) -> bool:
        """Do a few milliseconds' work for a configuration; return whether its VIPs are looked up now."""
        if self._next is None or not self._next.is_for(config, conditions):
            self._next = VipsBySwitch(config, conditions, self._found)
        if not self._next.compute(SWITCHES_AT_ONCE):
            return False
        self._config, self._conditions = config, conditions
        self._on_switch = {switch.dpid: self._next.on(switch.dpid) for switch in config.switches}
        self._found, self._next = self._next, None
        self._locate()
        return True

    def connected(self, dpid: int) -> None:
        """A switch is connected: packets that another switch hands up can be given to it."""
        self._connected.add(dpid)
        self._reach(dpid)

    def disconnected(self, dpid: int) -> None:
        """A switch is gone."""
        self._connected.discard(dpid)
        for local in self.on(dpid):
            reached = self._server_switches[local.number]
            for server in local.attached:
                if reached.get(server.name, (None,))[0] == dpid:
                    del reached[server.name]

    def on(self, dpid: int) -> tuple[VipOnSwitch, ...]:
        """All VIPs on a switch."""
        return self._on_switch.get(dpid, ())

    def connected_switches(self) -> dict[int, tuple[VipOnSwitch, ...]]:
        """By each connected switch all VIPs on it."""
        return {dpid: self.on(dpid) for dpid in sorted(self._connected)}

    @property
    def entrances(self) -> Iterator[tuple[int, VipOnSwitch]]:
        """The VIPs on connected switches where clients' packets enter, and the controller takes turns for a port."""
        return ((dpid, local) for dpid, local in self._turning if dpid in self._connected)

    def find(self, dpid: int, number: int, in_port: int) -> LocatedVip | None:
        """The VIP of this number where a packet came in. From a server's connector any reachability will do."""
        located = self._located.get((dpid, number), [])
        found = (each for each in located if in_port in each.local.ingress_ports)
        return next(found, located[0] if located else None)

    def anywhere(self, number: int) -> LocatedVip | None:
        """The VIP of this number on any switch."""
        return self._first.get(number)

    def _locate(self) -> None:
        self._server_switches, self._located, self._first, self._turning = {}, {}, {}, []
        for dpid, here in self._on_switch.items():
            for local in here:
                located = LocatedVip(dpid, local, self._server_switches.setdefault(local.number, {}))
                self._located.setdefault((dpid, local.number), []).append(located)
                self._first.setdefault(local.number, located)
                if local.vip.turning and local.is_entrance:
                    self._turning.append((dpid, local))
            if dpid in self._connected:
                self._reach(dpid)

    def _reach(self, dpid: int) -> None:
        """The servers of a connected switch can be given packets."""
        for local in self.on(dpid):
            names = (server.name for server in local.attached if server.name in local.port_of)
            reachable = (name for name in names if name not in local.closed)
            self._server_switches[local.number].update((name, (dpid, local)) for name in reachable)
