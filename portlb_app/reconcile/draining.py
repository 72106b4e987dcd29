"""Servers that drain: what is asked about them, what is heard of them, and what is said when they are drained.

Their packets are counted while they drain, and only then: a few requests every few seconds (`backends.drained`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from portlb_app.backends.drained import SETTLED
from portlb_app.compiler.counted import packets_from
from portlb_app.config import Config, Wanted
from portlb_app.openflow import FlowFilter
from portlb_app.reconcile.commands import CountPackets
from portlb_app.reconcile.events import ConnectionsOpen, PacketsCounted
from portlb_app.reconcile.network import Network


class _Place(NamedTuple):
    """The switch of a server, and the flows there that count its packets."""

    dpid: int
    filters: tuple[FlowFilter, ...]


class Draining:
    """Keeps `network.drains`, and asks switches for what it needs."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._of: Config | None = None
        self._places: dict[str, _Place] = {}
        self._overdue: set[str] = set()

    @property
    def by_log(self) -> Mapping[str, tuple[str, float]]:
        """Of the servers that drain and whose VIP has a log: the VIP, and the time before which connections opened
        that may be open there."""
        config = self._network.live.config
        vips = {vip.name for vip in config.vips if vip.log}
        found = {}
        for name in self._network.drains.names():
            server, drain = config.server_by_name.get(name), self._network.drains.of(name, self._network.now)
            if server is not None and drain is not None and server.vip in vips:
                found[name] = server.vip, drain.since + SETTLED
        return found

    def proceed(self) -> None:
        """Find the servers that drain, ask about them, and tell of those that are drained."""
        network = self._network
        used, drains = network.backends.used, network.drains
        if used is not self._of:
            self._of = used
            away = (server.name for server in used.servers if server.wanted is not Wanted.READY)
            self._places = {name: self._place(used, name) for name in away}
            drains.want({name: bool(place.filters) for name, place in self._places.items()}, network.now)
        if not self._places:
            return
        for state in network.backends.servers():
            if state.name in self._places and state.report is not None:
                drains.reported(state.name, state.report.heartbeat.open, state.report.at)
        for name in drains.due(network.now):
            place = self._places[name]
            if place.dpid in network.switches and network.switches[place.dpid].is_connected:
                network.commands.append(CountPackets(place.dpid, name, place.filters))
        for name, drain in drains.news():
            network.log("info", f"server {name} is {drain.reason}", server=name)
            for_seconds = {"by": drain.source, "for_seconds": round(network.now - drain.since, 1)}
            network.tell("drain", name, ("draining", "drained"), drain.reason, for_seconds)
        self._tell_overdue()

    def counted(self, event: PacketsCounted) -> None:
        """A switch has counted the packets of a server."""
        self._network.drains.counted(event.server, event.packets, self._network.now)

    def logged(self, event: ConnectionsOpen) -> None:
        """The log of connections tells how many may be open."""
        for server, count in event.counts.items():
            self._network.drains.logged(server, count, self._network.now)

    def _tell_overdue(self) -> None:
        """Say once which servers still have connections when the deadline of their drain has come."""
        network = self._network
        overdue = set()
        for name in self._places:
            override = network.overrides.of(name).get("state")
            drain = network.drains.of(name, network.now)
            if override and override.deadline is not None and drain and drain.drained_at is None:
                if network.now + network.unix_at_zero >= override.deadline:
                    overdue.add(name)
                    if name not in self._overdue:
                        text = f"server {name} is to be drained by now: {drain.reason}"
                        network.log("warning", text, server=name)
                        network.tell("drain", name, ("draining", "overdue"), drain.reason, {"open": drain.open})
        self._overdue = overdue
        network.overdue = frozenset(overdue)

    def _place(self, config: Config, name: str) -> _Place:
        server = config.server_by_name[name]
        dpid = next(switch.dpid for switch in config.switches if switch.name == server.connector.switch)
        return _Place(dpid, packets_from(config, server))
