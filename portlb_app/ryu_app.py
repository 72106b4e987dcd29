"""The Ryu application: a thin shell. Events of Ryu become events of the reconciler, its commands become conversations.

One greenlet per connected switch talks with it (`Conversation`): one request, its answer, the next request. Everything
else happens between two of its switches, so nothing here needs a lock.
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
from ryu.ofproto import ofproto_v1_5 as ofp
from ryu.ofproto import ofproto_v1_5_parser as parser

from portlb_app import api, ryu_wire
from portlb_app.config import ConfigError
from portlb_app.openflow import Flow, Group, Meter, SwitchState
from portlb_app.plan import Plan, Step
from portlb_app.punt import Punt, Send
from portlb_app.reconciler import (
    Answer,
    Applied,
    Apply,
    Busy,
    Command,
    ConfigProposed,
    Configuration,
    Event,
    Live,
    Log,
    Outcome,
    PortsSeen,
    ReadState,
    Reconciler,
    Refused,
    StateRead,
    SwitchConnected,
    SwitchDisconnected,
    Tick,
)
from portlb_app.ryu_guard import Door, GuardedDatapath
from portlb_app.ryu_punt import Desk
from portlb_app.store import ConfigFile, StoreError

TICK_SECONDS = 0.25
ANSWER_SECONDS = 10.0
"""How long a switch may be silent while it is asked something."""
INBOX = 1024
"""Answers that wait to be read; each has at most 64 kB."""
FLOWS = 1 << 18
GROUPS = 1 << 16
METERS = 1 << 8
"""What a switch may claim to hold of ours."""
ERRORS = 10
"""Errors of one bundle that are kept."""
SEND_BYTES = 1 << 16
PORT_SECONDS = 0.02
"""How long other ports' news are waited for: a switch that dies takes several links along, and each change costs all
tables anew."""

_LOG = logging.getLogger("portlb")

_Handler = TypeVar("_Handler", bound=Callable[..., None])
_on: Callable[[type, object], Callable[[_Handler], _Handler]] = set_ev_cls
"""Ryu's decorator for an event's handler, in the states of a connection in which it is called."""


class _Silent(Exception):
    """The switch did not answer in time; str() says so."""


class _Refused(Exception):
    """The switch answered with an error; str() is about what was asked."""


class Conversation:
    """What is said to one switch over one connection. A switch that is silent or talks nonsense loses it."""

    def __init__(self, datapath: GuardedDatapath, report: Callable[[Event], None]) -> None:
        self.datapath = datapath
        self._report = report
        self._commands = hub.Queue()
        self._inbox = hub.Queue(INBOX)
        self._outbox = bytearray()
        datapath.awaited = self._awaited = set[int]()
        self._bundles = itertools.count(1)
        self._thread = hub.spawn(self._run)

    def do(self, command: ReadState | Apply) -> None:
        """Do this next; the answer is reported."""
        self._commands.put(command)

    def take(self, message: Any) -> None:
        """An answer arrived. One that nobody asked for is ignored."""
        if message.xid not in self._awaited:
            return
        if self._inbox.full():
            self.datapath.drop("it answers faster than anybody can read")
        else:
            self._inbox.put(message)

    def close(self) -> None:
        """Stop talking."""
        hub.kill(self._thread)

    def _run(self) -> None:
        while True:
            command = self._commands.get()
            try:
                event = self._read() if isinstance(command, ReadState) else self._apply(command.plan)
            except _Refused as refused:
                event = Refused(self.datapath.id, (str(refused),))
            except (_Silent, ryu_wire.Malformed) as failure:
                self.datapath.drop(str(failure))
                return
            except Exception as error:  # else the connection would live on without anybody to talk to the switch
                _LOG.exception("a conversation with switch %#x failed", self.datapath.id)
                self.datapath.drop(f"{type(error).__name__}: {error}"[:200])
                return
            self._report(event)

    # ---- questions and answers ----

    def _queue(self, message: Any) -> int:
        """Send a message soon, together with others; its xid, whose answers are taken from now on."""
        xid: int = self.datapath.set_xid(message)
        message.serialize()
        self._awaited.add(xid)
        self._outbox += message.buf
        if len(self._outbox) > SEND_BYTES:
            self._flush()
        return xid

    def _flush(self) -> None:
        self.datapath.send(bytes(self._outbox))
        self._outbox.clear()
        hub.sleep(0)

    def _ask(self, message: Any) -> int:
        """Send a message now, after those that wait."""
        xid = self._queue(message)
        self._flush()
        return xid

    def _next(self) -> Any:
        try:
            return self._inbox.get(timeout=ANSWER_SECONDS)
        except hub.QueueEmpty:
            raise _Silent(f"no answer within {ANSWER_SECONDS:g} s") from None

    def _read(self) -> StateRead:
        flows: set[Flow] = set()
        groups: set[Group] = set()
        for reply in self._replies(ryu_wire.flows_request(self.datapath), "its flows"):
            flows.update(map(ryu_wire.decode_flow, reply.body))
            if len(flows) > FLOWS:
                raise ryu_wire.Malformed(f"more than {FLOWS} flows")
        for reply in self._replies(ryu_wire.groups_request(self.datapath), "its groups"):
            groups.update(ryu_wire.our_groups(reply.body))
            if len(groups) > GROUPS:
                raise ryu_wire.Malformed(f"more than {GROUPS} groups")
        meters: set[Meter] = set()
        for reply in self._replies(ryu_wire.meters_request(self.datapath), "its meters"):
            meters.update(ryu_wire.our_meters(reply.body))
            if len(meters) > METERS:
                raise ryu_wire.Malformed(f"more than {METERS} meters")
        metered: dict[int, int] = {}
        if meters:
            for reply in self._replies(ryu_wire.meter_stats_request(self.datapath), "what its meters dropped"):
                metered.update(ryu_wire.our_metered(reply.body))
        state = SwitchState(frozenset(flows), frozenset(groups), frozenset(meters))
        return StateRead(self.datapath.id, state, metered)

    def _replies(self, request: Any, what: str) -> Any:
        """The messages of a multipart reply."""
        xid = self._ask(request)
        more = True
        try:
            while more:
                reply = self._next()
                hub.sleep(0)
                if reply.xid != xid:
                    continue
                if isinstance(reply, parser.OFPErrorMsg):
                    raise _Refused(f"cannot read {what}: {ryu_wire.error_name(reply)}")
                yield reply
                more = reply.flags & ofp.OFPMPF_REPLY_MORE
        finally:
            self._awaited.discard(xid)

    def _apply(self, plan: Plan) -> Applied | Refused:
        """Meters that come, the bundle, meters that leave; what is refused ends it."""
        for errors in (self._send(plan.before), self._bundle(plan.bundle), self._send(plan.after)):
            if errors:
                return Refused(self.datapath.id, tuple(errors[:ERRORS]))
        return Applied(self.datapath.id)

    def _send(self, steps: tuple[Step, ...]) -> list[str]:
        """Steps that cannot be in a bundle, and a barrier; what the switch refused."""
        if not steps:
            return []
        sent = {self._queue(ryu_wire.message(self.datapath, step)): step for step in steps}
        barrier = self._ask(parser.OFPBarrierRequest(self.datapath))
        errors = []
        while True:
            answer = self._next()
            if isinstance(answer, parser.OFPErrorMsg) and answer.xid in sent:
                errors.append(ryu_wire.refused_step(sent[answer.xid], answer))
            elif answer.xid == barrier:
                self._awaited.clear()
                return errors

    def _bundle(self, planned: tuple[Step, ...]) -> list[str]:
        """One atomic, ordered bundle; what the switch refused.

        It is closed before it is committed, so that every step is known to be in it.
        """
        if not planned:
            return []
        bundle = next(self._bundles)
        steps: dict[int, Step] = {}
        errors: list[str] = []

        def control(request: int, what: str) -> None:
            xid = self._ask(ryu_wire.bundle_control(self.datapath, bundle, request))
            while True:
                answer = self._next()
                if isinstance(answer, parser.OFPErrorMsg) and answer.xid in steps:
                    errors.append(ryu_wire.refused_step(steps[answer.xid], answer))
                elif isinstance(answer, parser.OFPErrorMsg) and answer.xid == xid:
                    raise _Refused(f"cannot {what} a bundle: {ryu_wire.error_name(answer)}")
                elif answer.xid == xid:
                    return

        try:
            control(ofp.OFPBCT_OPEN_REQUEST, "open")
            for step in planned:
                steps[self._queue(ryu_wire.bundle_add(self.datapath, bundle, step))] = step
            control(ofp.OFPBCT_CLOSE_REQUEST, "close")
            if not errors:
                control(ofp.OFPBCT_COMMIT_REQUEST, "commit")
                return []
            control(ofp.OFPBCT_DISCARD_REQUEST, "discard")
        except _Refused as refused:
            if not errors:
                raise
            _LOG.debug("%s", refused)
        finally:
            self._awaited.clear()
        return errors


class Controller(app_manager.RyuApp):  # type: ignore[misc]
    """portlb's Ryu application. `door` is where switches come in, `file` what a new configuration is saved in."""

    OFP_VERSIONS = [ryu_wire.VERSION]

    def __init__(self, reconciler: Reconciler, file: ConfigFile, door: Door) -> None:
        super().__init__()
        ryu_wire.keep_descriptions_raw()
        self._reconciler = reconciler
        self._file = file
        self._door = door
        self._conversations: dict[int, Conversation] = {}
        self._tickets = itertools.count(1)
        self._waiting: dict[int, Signal] = {}
        self._punt = Punt()
        self._desks: dict[int, Desk] = {}
        self._news: set[int] = set()
        door.on_packet = self._punted
        door.on_ports = self._port_news

    def start(self) -> None:
        """Called by Ryu when everything is set up."""
        super().start()
        self.threads.append(hub.spawn(self._tick))

    # ---- events of Ryu ----

    @_on(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])
    def on_state_change(self, event: Any) -> None:
        """A connection is ready, or gone."""
        known = self._conversations.get(event.datapath.id)
        if event.state == MAIN_DISPATCHER:
            self._connected(event.datapath, known)
        elif known and known.datapath is event.datapath:
            self._disconnected(known)

    @_on(ofp_event.EventOFPFlowDescStatsReply, MAIN_DISPATCHER)
    @_on(ofp_event.EventOFPGroupDescStatsReply, MAIN_DISPATCHER)
    @_on(ofp_event.EventOFPMeterDescStatsReply, MAIN_DISPATCHER)
    @_on(ofp_event.EventOFPMeterStatsReply, MAIN_DISPATCHER)
    @_on(ofp_event.EventOFPBarrierReply, MAIN_DISPATCHER)
    @_on(ofp_event.EventOFPBundleCtrlMsg, MAIN_DISPATCHER)
    @_on(ofp_event.EventOFPErrorMsg, MAIN_DISPATCHER)
    def on_answer(self, event: Any) -> None:
        """A switch answered something."""
        conversation = self._conversations.get(event.msg.datapath.id)
        if conversation and conversation.datapath is event.msg.datapath:
            conversation.take(event.msg)

    def _connected(self, datapath: GuardedDatapath, known: Conversation | None) -> None:
        """A second connection with the same datapath id replaces the first, which may be dead without knowing."""
        if known:
            known.close()
            known.datapath.drop(f"switch {datapath.id:#x} connected again")
            self._desks[datapath.id].close()
        self._conversations[datapath.id] = Conversation(datapath, self._step)
        self._desks[datapath.id] = Desk(datapath, self._punt, lambda: self._reconciler.live, self._pass_on)
        self._punt.connected(datapath.id)
        self._step(SwitchConnected(datapath.id, datapath.up))

    def _disconnected(self, conversation: Conversation) -> None:
        conversation.close()
        del self._conversations[conversation.datapath.id]
        self._desks.pop(conversation.datapath.id).close()
        self._punt.disconnected(conversation.datapath.id)
        self._step(SwitchDisconnected(conversation.datapath.id))

    # ---- the reconciler ----

    def _tick(self) -> None:
        while True:
            hub.sleep(TICK_SECONDS)
            self._step(Tick())
            for send in self._punt.expire(time.monotonic()):
                self._pass_on(send)

    def _pass_on(self, send: Send) -> None:
        if desk := self._desks.get(send.dpid):
            desk.send(send)

    def _punted(self, datapath: GuardedDatapath, message: bytes) -> None:
        desk = self._desks.get(datapath.id)
        if desk and desk.datapath is datapath:
            desk.put(message)

    def _port_news(self, datapath: GuardedDatapath) -> None:
        known = self._conversations.get(datapath.id)
        if known and known.datapath is datapath:
            if not self._news:
                hub.spawn_after(PORT_SECONDS, self._look_at_ports)
            self._news.add(datapath.id)

    def _look_at_ports(self) -> None:
        news, self._news = self._news & self._conversations.keys(), set()
        self._step(PortsSeen({dpid: self._conversations[dpid].datapath.up for dpid in news}))

    def _step(self, event: Event) -> None:
        for command in self._reconciler.handle(event, time.monotonic()):
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        match command:
            case ReadState(dpid) | Apply(dpid):
                self._conversations[dpid].do(command)
            case Answer(ticket, outcome):
                self._waiting.pop(ticket).send(outcome)
            case Log(level, text):
                _LOG.log(logging.getLevelName(level.upper()), "%s", text)

    def _outcome(self, configuration: Configuration) -> Outcome:
        """Propose a configuration, and wait until it is known what became of it."""
        ticket = next(self._tickets)
        self._waiting[ticket] = signal = Signal()
        self._step(ConfigProposed(ticket, configuration, time.monotonic() + api.PUT_SECONDS))
        outcome: Outcome = signal.wait()
        return outcome

    # ---- what REST and signals ask for ----

    @property
    def view(self) -> api.View:
        """What there is to tell at this moment."""
        status = self._reconciler.status(time.monotonic())
        punt, epoch = self._punt, time.time() - time.monotonic()
        return api.View(status, self._reconciler.text, self._door.refused, punt.counts, punt.connections, epoch)

    def replace(self, configuration: Configuration) -> api.Response:
        """Make a configuration live and save it."""
        try:
            staged = self._file.stage(configuration.text)
        except StoreError as error:
            return api.failure(500, f"{error}; nothing was changed")
        outcome = self._outcome(configuration)
        if not isinstance(outcome, Live):
            staged.discard()
        else:
            try:
                staged.commit()
            except StoreError as error:
                return api.failure(500, f"the configuration is live, but not saved: {error}")
        return api.answer(outcome, self.view)

    def reload(self) -> None:
        """Make the configuration file live again after somebody edited it; on a mistake the last good one stays.

        Waits its turn while another configuration is on trial, and reads the file when its turn has come.
        """
        outcome: Outcome = Busy()
        while isinstance(outcome, Busy):
            try:
                configuration = Configuration.of(self._file.read())
            except (OSError, UnicodeDecodeError, ConfigError) as error:
                _LOG.error("%s is not reloaded, the last good configuration stays live:\n%s", self._file.path, error)
                return
            outcome = self._outcome(configuration)
            if isinstance(outcome, Busy):
                hub.sleep(TICK_SECONDS)
        level = logging.INFO if isinstance(outcome, Live) else logging.ERROR
        _LOG.log(level, "%s is read again: %s", self._file.path, outcome)
