"""What is said to one switch over one connection: one request, its answers, the next request.

A session runs in a green thread of its own. Everything else happens between two of its switches, so nothing here needs
a lock.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any

from ryu.lib import hub
from ryu.ofproto import ofproto_v1_5 as ofp
from ryu.ofproto import ofproto_v1_5_parser as parser

from portlb_app import ryu_threads, ryu_wire
from portlb_app.limits import FLOWS, GROUPS, METERS
from portlb_app.messages import ErrorMessage, Malformed, Reply
from portlb_app.openflow import Flow, Group, Meter, SwitchState
from portlb_app.plan import Plan, Step
from portlb_app.reconciler import Applied, Apply, Event, ReadState, Refused, StateRead
from portlb_app.ryu_channel import SwitchChannel

ANSWER_SECONDS = 10.0
"""How long a switch may be silent while it is asked something."""
INBOX = 1024
"""Answers that wait to be read; each has at most 64 kB."""
ERRORS = 10
"""Errors of one bundle that are kept."""
SEND_BYTES = 1 << 16

_LOG = logging.getLogger("portlb")


class _Silent(Exception):
    """The switch did not answer in time; str() says so."""


class _Refused(Exception):
    """The switch answered with an error; str() is about what was asked."""


class SwitchSession:
    """What is said to one switch over one connection. A switch that is silent or talks nonsense loses it."""

    def __init__(self, datapath: SwitchChannel, report: Callable[[Event], None]) -> None:
        self.datapath = datapath
        self._report = report
        self._commands = hub.Queue()
        self._inbox = hub.Queue(INBOX)
        self._outbox = bytearray()
        datapath.awaited = self._awaited = set[int]()
        self._bundles = itertools.count(1)
        self._thread = ryu_threads.spawn(f"what is said to switch {datapath.id:#x}", self._run)

    def do(self, command: ReadState | Apply) -> None:
        """Do this next; the answer is reported."""
        self._commands.put(command)

    def take(self, message: ErrorMessage | Reply) -> None:
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
            except (_Silent, Malformed) as failure:
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
                raise Malformed(f"more than {FLOWS} flows")
        for reply in self._replies(ryu_wire.groups_request(self.datapath), "its groups"):
            groups.update(ryu_wire.our_groups(reply.body))
            if len(groups) > GROUPS:
                raise Malformed(f"more than {GROUPS} groups")
        meters: set[Meter] = set()
        for reply in self._replies(ryu_wire.meters_request(self.datapath), "its meters"):
            meters.update(ryu_wire.our_meters(reply.body))
            if len(meters) > METERS:
                raise Malformed(f"more than {METERS} meters")
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
                if isinstance(reply, ErrorMessage):
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
            if isinstance(answer, ErrorMessage) and answer.xid in sent:
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
                if isinstance(answer, ErrorMessage) and answer.xid in steps:
                    errors.append(ryu_wire.refused_step(steps[answer.xid], answer))
                elif isinstance(answer, ErrorMessage) and answer.xid == xid:
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
