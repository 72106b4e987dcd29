"""The Ryu application: a thin shell. Events of Ryu become events of the reconciler, its commands become sessions.

One greenlet per connected switch talks with it (`session`). Everything else happens between two of its switches, so
nothing here needs a lock.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from eventlet.event import Event as Signal
from ryu.base import app_manager
from ryu.controller import ofp_event
from ryu.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from ryu.lib import hub

from portlb_app.api import configuration, messages
from portlb_app.api.snapshot import Snapshot
from portlb_app.config import Config
from portlb_app.config.etag import ANY, Precondition
from portlb_app.openflow.messages import VERSION, ErrorMessage, Reply
from portlb_app.punt.announce import Announcer, Held
from portlb_app.punt.handlers import Punt
from portlb_app.punt.packet import Send
from portlb_app.reconcile.commands import Apply, Command, Compile, Forget, Load, Log, ReadState, ReportOutcome
from portlb_app.reconcile.events import (
    ConfigProposed,
    Event,
    GoalCompiled,
    Loaded,
    PortsSeen,
    SwitchConnected,
    SwitchDisconnected,
    TablesLost,
    Tick,
)
from portlb_app.reconcile.outcomes import Busy, Ended, Live, Mistaken, NotComputed, Outcome
from portlb_app.reconcile.reconciler import Reconciler
from portlb_app.runtime import supervision
from portlb_app.runtime.files import Files, Pending, Slow
from portlb_app.southbound import codec
from portlb_app.southbound.channel import SwitchChannel
from portlb_app.southbound.listener import OpenFlowListener
from portlb_app.southbound.packet_in import PacketInWorker
from portlb_app.southbound.session import SwitchSession
from portlb_app.southbound.tables_process import Lost, TablesProcess
from portlb_app.store.file import ConfigFile, Staged, StoreError

TICK_SECONDS = 0.25
PUT_SECONDS = 15.0
"""How long the switches have for a new configuration."""
PORT_SECONDS = 0.02
"""How long other ports' news are waited for: a switch that dies takes several links along, and each change costs all
tables anew."""

_LOG = logging.getLogger("portlb")

_Handler = TypeVar("_Handler", bound=Callable[..., None])
_on: Callable[[type, object], Callable[[_Handler], _Handler]] = set_ev_cls
"""Ryu's decorator for an event's handler, in the states of a connection in which it is called."""


def log_notices(config: Config) -> None:
    """Log what a configuration gives reason to say; it has become live."""
    for notice in config.notices:
        _LOG.warning("notice: %s", notice)


class Controller(app_manager.RyuApp):  # type: ignore[misc]
    """portlb's Ryu application. `door` is where switches come in, `file` what a new configuration is saved in."""

    OFP_VERSIONS = [VERSION]

    def __init__(
        self, reconciler: Reconciler, tables: TablesProcess, file: ConfigFile, files: Files, door: OpenFlowListener
    ) -> None:
        super().__init__()
        self._reconciler = reconciler
        self._tables = tables
        self._file = file
        self._files = files
        self._door = door
        self._sessions: dict[int, SwitchSession] = {}
        self._tickets = itertools.count(1)
        self._waiting: dict[int, Callable[[Outcome], None]] = {}
        self._reload = hub.Event()
        self._is_ending = False
        self._punt = Punt(codec.fits)
        self._announcer = Announcer()
        self._workers: dict[int, PacketInWorker] = {}
        self._news: set[int] = set()
        tables.on_lost = lambda reason: self._step(TablesLost(reason))
        door.on_packet = self._punted
        door.on_ports = self._port_news
        door.on_answer = self._answered
        door.is_configured = reconciler.knows

    def start(self) -> None:
        """Called by Ryu when everything is set up."""
        super().start()
        self.threads.append(supervision.spawn_forever("the clock", self._tick))
        self.threads.append(supervision.spawn_forever("who reads the file again", self._reload_when_told))

    # ---- events of Ryu ----

    @_on(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])
    def on_state_change(self, event: Any) -> None:
        """A connection is ready, or gone."""
        known = self._sessions.get(event.datapath.id)
        with supervision.watched("what follows when a switch comes or goes"):
            if event.state == MAIN_DISPATCHER:
                self._connected(event.datapath, known)
            elif known and known.datapath is event.datapath:
                self._disconnected(known)

    def _answered(self, datapath: SwitchChannel, answer: ErrorMessage | Reply) -> None:
        session = self._sessions.get(datapath.id)
        if session and session.datapath is datapath:
            session.take(answer)

    def _connected(self, datapath: SwitchChannel, known: SwitchSession | None) -> None:
        """A second connection with the same datapath id replaces the first, which may be dead without knowing.

        Everything is changed and told before the old one is ended: that lets others run.
        """
        dpid = datapath.id
        worker = self._workers.pop(dpid, None)
        self._sessions[dpid] = SwitchSession(datapath, self._tables, self._step)
        self._workers[dpid] = PacketInWorker(datapath, self._punt, lambda: self._reconciler.live, self._pass_on)
        self._punt.connected(dpid)
        self._step(SwitchConnected(dpid, dict(datapath.ports)))
        if known and worker:
            known.datapath.drop(f"switch {dpid:#x} connected again")
            known.close()
            worker.close()

    def _disconnected(self, session: SwitchSession) -> None:
        """Everything is changed and told before its threads are ended: that lets others run."""
        dpid = session.datapath.id
        del self._sessions[dpid]
        worker = self._workers.pop(dpid)
        self._punt.disconnected(dpid)
        self._step(SwitchDisconnected(dpid))
        session.close()
        worker.close()

    # ---- the reconciler ----

    def _tick(self) -> None:
        while True:
            hub.sleep(TICK_SECONDS)
            self._step(Tick())
            for send in self._punt.expire(time.monotonic()):
                self._pass_on(send)
            holding = {dpid: Held(each.config, each.conditions) for dpid, each in self._reconciler.holding.items()}
            for said in self._announcer.take(holding, time.monotonic()):
                self._pass_on(Send(said.dpid, said.in_port, said.actions, said.frame))

    def _pass_on(self, send: Send) -> None:
        if worker := self._workers.get(send.dpid):
            worker.send(send)
        else:
            self._punt.unsent += 1

    def _punted(self, datapath: SwitchChannel, message: bytes) -> None:
        worker = self._workers.get(datapath.id)
        if worker and worker.datapath is datapath:
            worker.put(message)

    def _port_news(self, datapath: SwitchChannel) -> None:
        known = self._sessions.get(datapath.id)
        if known and known.datapath is datapath:
            if not self._news:
                supervision.spawn_after(PORT_SECONDS, "what follows from ports' news", self._look_at_ports)
            self._news.add(datapath.id)

    def _look_at_ports(self) -> None:
        news, self._news = self._news & self._sessions.keys(), set()
        self._step(PortsSeen({dpid: dict(self._sessions[dpid].datapath.ports) for dpid in news}))

    def _step(self, event: Event) -> None:
        for command in self._reconciler.handle(event, time.monotonic()):
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        match command:
            case ReadState(dpid) | Apply(dpid):
                if isinstance(command, Apply):
                    self._announcer.changing(dpid)
                if session := self._sessions.get(dpid):  # else it is gone, and the reconciler will hear of it
                    session.do(command)
            case Forget(dpid):
                self._tables.tell("forget", dpid)
            case Load() | Compile():
                supervision.spawn("who waits for what is compiled", self._compute, command)
            case ReportOutcome(ticket, outcome):
                if ended := self._waiting.pop(ticket, None):  # else the controller ends, and nobody waits
                    ended(outcome)
            case Log(level, text):
                _LOG.log(logging.getLevelName(level.upper()), "%s", text)

    def _compute(self, command: Load | Compile) -> None:
        """Have a configuration loaded or compiled. If that is impossible, TablesLost has told so already."""
        try:
            if isinstance(command, Load):
                self._step(Loaded(command.ticket, self._tables.call("load", command.text)))
            else:
                arguments = command.goal, command.text, command.conditions, command.keep
                self._step(GoalCompiled(command.goal, self._tables.call("compile", *arguments)))
        except Lost:
            pass

    def _outcome(self, proposed: ConfigProposed, save: Callable[[], None] = lambda: None) -> Outcome:
        """Propose a configuration, and wait until it is known what became of it.

        `save` is called in the step that makes it live, so files are replaced in the order in which configurations are.
        """
        signal = Signal()

        def ended(outcome: Outcome) -> None:
            if isinstance(outcome, Live):
                save()
                log_notices(self._reconciler.live.config)
            signal.send(outcome)

        self._waiting[proposed.ticket] = ended
        self._step(proposed)
        outcome: Outcome = signal.wait()
        return outcome

    def _proposed(self, text: str, precondition: Precondition, unverified: bool) -> ConfigProposed:
        return ConfigProposed(next(self._tickets), text, PUT_SECONDS, unverified, precondition)

    # ---- what REST and signals ask for ----

    @property
    def snapshot(self) -> Snapshot:
        """What the REST interface tells about at this moment."""
        status = self._reconciler.status(time.monotonic())
        punt, epoch = self._punt, time.time() - time.monotonic()
        counts = punt.counts, punt.connections, epoch, punt.unsent
        return Snapshot(status, self._reconciler.text, self._door.refused, *counts)

    def replace(self, proposal: messages.Proposal) -> messages.Response:
        """Make a configuration live and save it."""
        saving: list[Pending[None]] = []
        if self._is_ending:
            return messages.failure(503, "the controller ends; nothing was changed")
        try:
            staged = self._files.start(lambda: self._file.stage(proposal.text), Staged.discard).wait()
        except (StoreError, Slow) as error:
            return messages.failure(500, f"{error}; nothing was changed")
        proposed = self._proposed(proposal.text, proposal.precondition, proposal.unverified)
        outcome = self._outcome(proposed, lambda: saving.append(self._files.start(staged.commit)))
        try:
            for each in saving or [self._files.start(staged.discard)]:
                each.wait()
        except StoreError as error:
            return messages.failure(500, f"the configuration is live, but not saved: {error}")
        except Slow as error:
            if saving:
                return messages.failure(500, f"the configuration is live; whether it is saved is not known: {error}")
        return configuration.outcome_response(outcome, self.snapshot)

    def end(self) -> None:
        """ReportOutcome everybody who waits for what becomes of a configuration: that will not be known any more."""
        self._is_ending = True
        waiting, self._waiting = self._waiting, {}
        if waiting:
            _LOG.warning("a configuration is on trial: its switches may hold a part of it until portlb starts again")
        for ended in waiting.values():
            ended(Ended())

    def reload(self) -> None:
        """Make the configuration file live again soon, because somebody edited it. Once, if this is called again."""
        if not self._reload.is_set():
            self._reload.set()

    def _reload_when_told(self) -> None:
        """The file is read when no other configuration is on trial; on a mistake the last good one stays."""
        while True:
            self._reload.wait()
            while self._reconciler.is_busy:
                hub.sleep(TICK_SECONDS)
            self._reload.clear()
            try:
                text = self._files.start(self._file.read_again).wait()
            except (OSError, UnicodeDecodeError) as error:
                self._not_reloaded(error)
                continue
            outcome = self._outcome(self._proposed(text, ANY, unverified=True))
            if isinstance(outcome, Busy):
                self.reload()
            elif isinstance(outcome, Mistaken):
                self._not_reloaded(outcome.mistakes)
            elif isinstance(outcome, NotComputed):
                self._not_reloaded(outcome.reason)
            elif isinstance(outcome, Ended):
                pass  # the controller ends, and this with it
            elif isinstance(outcome, Live):
                _LOG.info("%s is read again and is live", self._file.path)
            else:
                _LOG.error("%s is read again: %s", self._file.path, configuration.outcome_text(outcome, self.snapshot))

    def _not_reloaded(self, why: object) -> None:
        _LOG.error("%s is not reloaded, the last good configuration stays live:\n%s", self._file.path, why)
