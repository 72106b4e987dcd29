"""The reconciler brings every switch to what the configuration says and keeps it there: events in, commands out.

Theory of operation
-------------------
It is level-triggered. Whatever happens (a switch connects, a configuration is proposed, a link goes down, the timer),
the answer is the same *round* for a switch (`rounds`), in which one thing at most is in flight::

    ReadState ─► StateRead ─ plan ─┬─ nothing to change ─► synced
                    ▲              └─ Apply ─► Applied ─┐
                    └───────────────────────────────────┘

The phases of a switch, and what leads from one to another, are a table (`phases`).

A switch is read before it is changed, so a controller that starts again with an unchanged configuration sends nothing.
It is read again after it was changed: "applied" then means "seen in the switch", and a switch that quietly alters what
it is told is found at once and not taken for drift later. That costs one read per change. A switch that a change does
not concern, and that was synced before, is not read: of 100 switches a change of one pool is about a few.

**The tables are elsewhere** (`tables`): nothing here waits for anything that takes long. A configuration is loaded and
compiled on command, for the links that work (`compilation`); when that is done, it is the *goal*, under a number, and
plans that come with answers are plans to it. Until then switches go on towards the goal there is, unless it was
withdrawn.

**Switches that links join** depend on each other: their changes have an order (`rollout`). They are not read before a
change either, so that a link that is cut is left soon: what a switch was seen to hold, and has taken since, is what it
holds. If that was wrong it refuses, or the read at the end shows it: then it is read, and told once more. Two switches
without links between them do not wait for each other: each gets all of its plan at once. A switch that is asked
something answers or loses its connection, so no wait is for ever.

A **link** that is down (`watch`) changes what is asked of the switches: the goal is compiled again without it. A
controller that starts while one is down hears of it when a switch at its end connects, and does not change switches
that links join before.

A **proposed configuration** is on trial (`trials`) until every connected switch is synced with it; others wait for
their turn. A switch that refuses it withdraws it: all switches go back to the last good one, in the same order. A
switch that was in error already has no vote, unless others depend on it. Absent switches do not hold it up; they get it
when they connect. So do those that are lost meanwhile, or too slow, unless all or none is asked for. If none is
connected, nothing shows that it works: then it is refused, unless it is wanted all the same; it is unverified until a
switch has it, and if the first switch that tries refuses it, the last good one is live again. A switch that the
proposal no longer names is emptied of what is ours.

Between rounds nothing else should change what is ours. What a read finds changed is *drift*: counted, logged, put
right.

Time is an argument: seconds of any monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from portlb_app.backends import Backends
from portlb_app.backends.drained import Drain
from portlb_app.backends.states import Seen
from portlb_app.config import Config
from portlb_app.config.overrides import NONE, Overrides
from portlb_app.net.heartbeat import Order
from portlb_app.reconcile.adoption import Adoption
from portlb_app.reconcile.agents import Agents
from portlb_app.reconcile.announced import Announced
from portlb_app.reconcile.commands import Command
from portlb_app.reconcile.compilation import Compilation
from portlb_app.reconcile.configuration import Configuration
from portlb_app.reconcile.draining import Draining
from portlb_app.reconcile.events import (
    AgentsHeard,
    Applied,
    Claimed,
    ConfigProposed,
    ConnectionsOpen,
    Event,
    FileRead,
    GoalCompiled,
    Interrupted,
    Loaded,
    OverridesWanted,
    PacketsCounted,
    PortsSeen,
    ReadWanted,
    Refused,
    ServersSeen,
    StateRead,
    SwitchConnected,
    SwitchDisconnected,
    TablesLost,
    Tick,
)
from portlb_app.reconcile.network import Network
from portlb_app.reconcile.observer import Observer
from portlb_app.reconcile.ports import Ports
from portlb_app.reconcile.results import Compiled
from portlb_app.reconcile.rollout import Rollout
from portlb_app.reconcile.rounds import Rounds
from portlb_app.reconcile.status import Status, make_status
from portlb_app.reconcile.totals import Totals
from portlb_app.reconcile.trials import Trials
from portlb_app.reconcile.watch import Watch
from portlb_app.reconcile.wishes import Wishes
from portlb_app.topology.conditions import Conditions

INTERVAL = 30.0
"""Seconds from the end of a switch's round to the next one by the timer."""


class Reconciler:
    """Feed it every event with the time it happened, and carry out the commands it returns, in order."""

    def __init__(
        self, live: Configuration, compiled: Compiled, interval: float = INTERVAL, overrides: Overrides = NONE
    ) -> None:
        self._network = Network(live, compiled, overrides)
        self._wishes = Wishes(self._network)
        self._draining = Draining(self._network)
        self._announced = Announced(self._network)
        self._network.leaving = self._announced.leaving
        self._agents = Agents(self._network, self._announced.config)
        self._ports = Ports()
        self._ports.adopt(live.config)
        self._watch = Watch(self._network, self._ports)
        self._trials = Trials(self._network, self._ports)
        self._rounds = Rounds(self._network, self._trials, interval)
        self._compilation = Compilation(self._network, self._trials, self._rounds)
        self._rollout = Rollout(self._network)
        self._adoption = Adoption(self._network)
        self._observer = Observer(self._network)
        self._handlers: Mapping[type[Event], Callable[..., None]] = {
            SwitchConnected: self._connected,
            SwitchDisconnected: self._disconnected,
            Claimed: self._rounds.claimed,
            PortsSeen: self._ports_seen,
            ServersSeen: self._servers_seen,
            StateRead: self._rounds.state_read,
            Applied: self._rounds.applied,
            Refused: self._rounds.refused,
            Interrupted: self._rounds.interrupted,
            ReadWanted: self._rounds.read_wanted,
            ConfigProposed: self._trials.propose,
            FileRead: self._trials.read,
            Loaded: self._trials.loaded,
            GoalCompiled: self._compilation.compiled,
            TablesLost: self._compilation.tables_lost,
            AgentsHeard: self._agents_heard,
            OverridesWanted: self._wishes.want,
            PacketsCounted: self._draining.counted,
            ConnectionsOpen: self._draining.logged,
            Tick: self._tick,
        }

    @property
    def text(self) -> str:
        """The text of the live configuration."""
        return self._network.live.text

    @property
    def live(self) -> Configuration:
        """The live configuration, under the conditions that hold now."""
        return self._network.live

    @property
    def overrides(self) -> Overrides:
        """What is used instead of values of the configuration."""
        return self._network.overrides

    @property
    def backends(self) -> Backends:
        """What is wanted and seen of servers."""
        return self._network.backends

    def drains(self, now: float) -> Mapping[str, Drain]:
        """How far servers are that drain."""
        drains = self._network.drains
        return {name: drain for name in drains.names() if (drain := drains.of(name, now))}

    @property
    def totals(self) -> Totals:
        """What has happened since the start."""
        return self._network.totals

    @property
    def overdue(self) -> frozenset[str]:
        """The servers that are not drained, although the deadline of that has come."""
        return self._network.overdue

    @property
    def drains_by_log(self) -> Mapping[str, tuple[str, float]]:
        """Of which servers the log of connections is to tell (`ConnectionsOpen`): VIP, and time."""
        return self._draining.by_log

    def text_for(self, server: str) -> str | None:
        """The configuration that a server's agent may act on; None if there is none for it yet."""
        return self._announced.text(server)

    @property
    def holding(self) -> Mapping[int, Configuration]:
        """What each switch, by datapath id, is known to hold; nothing for one that is on its way there."""
        network = self._network
        synced = (each.dpid for each in network.switches.values() if network.has_goal(each))
        return dict.fromkeys(synced, network.goal.configuration)

    def orders(self, unix: float) -> Mapping[str, Order]:
        """What the agents of servers are asked to do at this time of day (seconds since 1970)."""
        return self._network.backends.orders(unix)

    def conditions_of(self, config: Config, overrides: Overrides) -> Conditions:
        """The conditions under which a configuration would be compiled now, if these were the overrides."""
        network = self._network
        slots, closed = network.backends.slots_of(config, overrides)
        leaving = self._announced.leaving_of(config)
        return replace(network.conditions, slots=slots, closed=closed, leaving=leaving).of(config)

    def knows(self, dpid: int) -> bool:
        """Whether a switch is in the configuration, or holds what is left of one."""
        return self._network.knows(dpid)

    def is_up(self, server: str, vip: str, port: int) -> bool | None:
        """Whether a server is taken for up or down in a pool; None if nothing was heard of it."""
        return {Seen.UP: True, Seen.DOWN: False}.get(self._network.backends.seen(server, (vip, port)))

    def status(self, now: float) -> Status:
        """What a user may know about every switch and link at time `now`."""
        return make_status(self._network, self._watch.links, self._ports, self._agents, now)

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event at time `now`; what must be done about it."""
        network = self._network
        network.now = now
        self._handlers[type(event)](event)
        self._wishes.settle()
        self._announced.expire()
        network.backends.override(network.overrides, now)
        self._watch.judge_links()
        self._watch.judge_ports()
        self._watch.judge_servers()
        network.backends.tick(now)
        self._adoption.proceed()
        self._watch.log_servers()
        network.live = network.under_conditions(network.live)
        if network.trial and network.trial.configuration:
            network.trial.configuration = network.under_conditions(network.trial.configuration)
        self._compilation.start()
        self._trials.accept_if_all_have_it()
        self._trials.proceed()
        self._compilation.start()
        self._wishes.settle()
        self._rollout.proceed(self._may_change)
        self._draining.proceed()
        self._announced.proceed()
        self._wishes.report()
        self._observer.proceed()
        commands, network.commands = network.commands, []
        return commands

    def _may_change(self, dpid: int) -> bool:
        """Whether enough is known to change a switch: what switches remember, and, where links are, which ones work."""
        is_alone = dpid not in self._network.components
        return self._adoption.may_change(dpid) and (is_alone or self._watch.are_links_known)

    def _connected(self, event: SwitchConnected) -> None:
        self._watch.forget(event.dpid)
        self._rounds.connected(event.dpid)
        if event.ports is not None:
            self._watch.see(event.dpid, event.ports)

    def _disconnected(self, event: SwitchDisconnected) -> None:
        self._watch.forget(event.dpid)
        self._rounds.disconnected(event.dpid)

    def _ports_seen(self, event: PortsSeen) -> None:
        for dpid, ports in event.ports.items():
            if dpid in self._network.switches and self._network.switches[dpid].is_connected:
                self._watch.see(dpid, ports)

    def _agents_heard(self, event: AgentsHeard) -> None:
        servers = self._network.live.config.server_by_name
        self._agents.keep(servers)
        for server, heartbeat in event.heartbeats.items():
            self._network.backends.hear(server, heartbeat, self._network.now)
            if server in servers:
                self._agents.hear(server, heartbeat)

    def _servers_seen(self, event: ServersSeen) -> None:
        backends, now = self._network.backends, self._network.now
        for server, source in event.silent:
            backends.forget(server, source, now)
        for server, evidence in event.said:
            backends.see(server, evidence, now)

    def _tick(self, event: Tick) -> None:
        self._wishes.tick(event)
        self._trials.expire()
        self._rounds.start_by_timer()
