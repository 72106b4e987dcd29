"""The Ryu application: events of Ryu become events of the reconciler, and its commands are carried out.

A method here runs without interruption unless it waits, so nothing here needs a lock.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from typing import Any, TypeVar

from ryu.base import app_manager
from ryu.controller import ofp_event
from ryu.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls

from portlb_app.api.event_ring import EventRing
from portlb_app.api.readiness import Readiness
from portlb_app.api.snapshot import Snapshot
from portlb_app.controller.asking import Asking
from portlb_app.controller.changes import Changes
from portlb_app.controller.checks import Checks
from portlb_app.controller.edits import Edits
from portlb_app.controller.event_streams import EventStreams
from portlb_app.controller.explaining import Explaining
from portlb_app.controller.inspecting import Inspecting
from portlb_app.controller.metrics import Metrics
from portlb_app.controller.previews import Previews
from portlb_app.controller.proposals import Proposals
from portlb_app.controller.switches import Switches
from portlb_app.controller.wishes import Wishes
from portlb_app.health.checker import News
from portlb_app.openflow.messages import VERSION
from portlb_app.punt.announce import Announcer, Held
from portlb_app.punt.handlers import Punt
from portlb_app.punt.packet import Send
from portlb_app.reconcile.commands import (
    Apply,
    Command,
    Compile,
    CountPackets,
    Forget,
    Load,
    Log,
    ReadFile,
    ReadState,
    ReportOutcome,
    ReportWish,
    SaveOverrides,
)
from portlb_app.reconcile.events import (
    AgentsHeard,
    ConnectionsOpen,
    Event,
    GoalCompiled,
    Loaded,
    ServersSeen,
    TablesLost,
    Tick,
)
from portlb_app.reconcile.happened import Happened
from portlb_app.reconcile.reconciler import Reconciler
from portlb_app.runtime import supervision
from portlb_app.runtime.files import Files
from portlb_app.southbound import codec
from portlb_app.southbound.listener import OpenFlowListener
from portlb_app.southbound.packet_in import adopt
from portlb_app.southbound.tables_process import Lost, TablesProcess
from portlb_app.store.file import ConfigFile
from portlb_app.store.overrides import OverridesFile

TICK_SECONDS = 0.25
LOG_SECONDS = 1.0
"""How often it is looked into the log for the connections of servers that drain."""

_LOG = logging.getLogger("portlb")

_Handler = TypeVar("_Handler", bound=Callable[..., None])
_on: Callable[[type, object], Callable[[_Handler], _Handler]] = set_ev_cls
"""Ryu's decorator for an event's handler, in the states of a connection in which it is called."""


class Controller(app_manager.RyuApp):  # type: ignore[misc]
    """portlb's Ryu application. `listener` accepts switches; new configurations are saved in `file`, and overrides in
    `overrides`.
    """

    OFP_VERSIONS = [VERSION]

    def __init__(
        self,
        reconciler: Reconciler,
        tables: TablesProcess,
        file: ConfigFile,
        overrides: OverridesFile,
        files: Files,
        changes: Changes,
        listener: OpenFlowListener,
    ) -> None:
        super().__init__()
        self._reconciler = reconciler
        self.metrics = Metrics()
        tally = self.metrics.tally
        self.changes = changes
        self.wishes = Wishes(self._step, lambda: self.snapshot, overrides, files, tally, changes)
        self._tables = tables
        self.explaining = Explaining(tables)
        self.inspecting = Inspecting(tables, self._step)
        self.previews = Previews(reconciler, tables, lambda: self.snapshot)
        self._listener = listener
        self.proposals = Proposals(reconciler, self._step, lambda: self.snapshot, file, files, tally, changes)
        self.edits = Edits(reconciler, tables, self.proposals, self.previews)
        self._form_token = secrets.token_urlsafe(32)
        self.streams = EventStreams(EventRing(secrets.token_hex(4)))
        self._checks = Checks(lambda: reconciler.live, self._send, self._said, reconciler.is_up, self.metrics.checked)
        self._punt = Punt(codec.fits, self._checks.take, lambda: secrets.randbits(32))
        self._switches = Switches(reconciler, tables, listener, self._punt, self._checks, self._step)
        self.asking = Asking(self._punt, lambda: adopt(self._punt, lambda: reconciler.live), self._send)
        self._announcer = Announcer()
        self.readiness = Readiness()
        self._log_asked_at = 0.0
        tables.on_lost = lambda reason: self._step(TablesLost(reason))
        listener.is_configured = reconciler.knows

    def start(self) -> None:
        """Called by Ryu when everything is set up."""
        super().start()
        self.threads.append(supervision.spawn_forever("the clock", self._tick))
        self.threads.append(supervision.spawn_forever("reloading", self.proposals.run_reloads))
        self.threads.append(supervision.spawn_forever("health checks", self._checks.run))

    # ---- events of Ryu ----

    @_on(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])
    def on_state_change(self, event: Any) -> None:
        """A connection is ready, or gone."""
        self._switches.changed(event.datapath, event.state)

    # ---- the reconciler ----

    def _tick(self) -> None:
        while True:
            self.metrics.sleep(TICK_SECONDS)
            self._hear_agents()
            self._step(Tick(time.time()))
            self._ask_the_log()
            now = time.monotonic()
            for send in (*self._punt.expire(now), *self._punt.say(now)):
                self._send(send)
            for trouble in self._punt.turns.take_troubles():
                _LOG.warning("%s", trouble)
            self._checks.hurry(self._punt.connections.take_refusing())
            held = self._reconciler.holding.items()
            holding = {dpid: Held(each.config, each.conditions.of_paths) for dpid, each in held}
            for said in self._announcer.take(holding, time.monotonic()):
                self._send(Send(said.dpid, said.in_port, said.actions, said.frame))

    def end_turns(self) -> bool:
        """Tell switches soon that slots decide from now on: the controller ends. Whether there is anything to tell."""
        self._punt.turns.end()
        sends = self._punt.say(time.monotonic())
        for send in sends:
            self._send(send)
        return bool(sends)

    def _ask_the_log(self) -> None:
        """Tell how many connections may be open at servers that drain."""
        asked = self._reconciler.drains_by_log
        if asked and time.monotonic() >= self._log_asked_at + LOG_SECONDS:
            self._log_asked_at = time.monotonic()
            log = self._punt.connections
            self._step(ConnectionsOpen({name: log.open_before(vip, at) for name, (vip, at) in asked.items()}))

    def _hear_agents(self) -> None:
        """Take what agents have said since the last time, and what they are to be told."""
        heartbeats = self._punt.heartbeats
        if heard := heartbeats.take_heard():
            self._step(AgentsHeard({each.server: each.heartbeat for each in heard}))
        heartbeats.orders = self._reconciler.orders(time.time())
        for trouble in heartbeats.take_troubles():
            _LOG.warning("%s", trouble)

    def _said(self, news: tuple[News, ...]) -> None:
        """Checks say something about servers."""
        now = time.monotonic()
        said = ((each.server, each.evidence(now)) for each in news if each.is_up is not None)
        silent = ((each.server, each.source) for each in news if each.is_up is None)
        self._step(ServersSeen(tuple(said), tuple(silent)))

    def _send(self, send: Send) -> None:
        self._switches.send(send)

    def _step(self, event: Event) -> None:
        for command in self._reconciler.handle(event, time.monotonic()):
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        match command:
            case ReadState(dpid) | Apply(dpid) | CountPackets(dpid):
                if isinstance(command, Apply):
                    self._announcer.changing(dpid)
                self._switches.do(command)
            case Forget(dpid):
                self._tables.tell("forget", dpid)
            case ReadFile(ticket):
                supervision.spawn("reading the configuration file", self.proposals.read, ticket)
            case Load() | Compile():
                supervision.spawn("loading or compiling", self._compute, command)
            case ReportOutcome(ticket, outcome):
                self.proposals.report(ticket, outcome)
            case ReportWish(ticket, wish):
                self.wishes.report(ticket, wish)
            case SaveOverrides():
                supervision.spawn("saving overrides", self.wishes.save)
            case Happened():
                self.streams.add(time.time(), command)
            case Log(level, text, about):
                _LOG.log(logging.getLevelName(level.upper()), "%s", text, extra={"about": about})

    def _compute(self, command: Load | Compile) -> None:
        """Have a configuration loaded or compiled. If the process ends over it, TablesLost has said so already."""
        try:
            if isinstance(command, Load):
                self._step(Loaded(command.ticket, self._tables.call("load", command.text)))
            else:
                arguments = command.goal, command.text, command.conditions, command.keep
                with self.metrics.tally.compiling.time():
                    compiled = self._tables.call("compile", *arguments)
                self._step(GoalCompiled(command.goal, compiled))
        except Lost:
            pass

    # ---- what REST tells ----

    @property
    def snapshot(self) -> Snapshot:
        """What the REST interface tells about at this moment."""
        now, unix = time.monotonic(), time.time()
        reconciler, punt = self._reconciler, self._punt
        status = reconciler.status(now)
        return Snapshot(
            status,
            reconciler.text,
            self._listener.refused,
            punt.counts,
            punt.connections,
            epoch=unix - now,
            unsent=punt.unsent,
            unix=unix,
            config=reconciler.live.config,
            overrides=reconciler.overrides,
            backends=reconciler.backends,
            drains=reconciler.drains(now),
            unread=self.readiness.unread(status, now),
            text_for=reconciler.text_for,
            checks=self._checks.states,
            check_counts=self._checks.counts,
            events=self.streams.ring,
            history=self.changes.history,
            streams=self.streams.open,
            form_token=self._form_token,
            totals=reconciler.totals,
            exposition=self.metrics.exposition,
        )
