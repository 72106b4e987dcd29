"""A session with one switch over one connection: one request, its answers, the next request.

The process with the tables (`tables_process`) makes the messages and reads the answers; their bytes pass through here
unread. A session runs in a green thread of its own, which others cannot interrupt unless it waits, so nothing here
needs a lock. What is asked, and how long a switch has to answer, is a matter of `conversation`.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any

from ryu.lib import hub
from ryu.ofproto import ofproto_v1_5 as ofp
from ryu.ofproto import ofproto_v1_5_parser as parser

from portlb_app.config import Forwarding
from portlb_app.openflow.abilities import table_counts
from portlb_app.openflow.messages import ErrorMessage, Malformed, PortCounts, Reply, port_counts
from portlb_app.reconcile.commands import Apply, CountPackets, ReadState
from portlb_app.reconcile.events import Applied, Event, Interrupted, PacketsCounted, Refused, StateRead
from portlb_app.reconcile.results import Kind, MessageCounts, Unknown, Unreadable
from portlb_app.runtime import supervision
from portlb_app.southbound import codec
from portlb_app.southbound.channel import SwitchChannel
from portlb_app.southbound.conversation import MESSAGES_A_SECOND, Conversation, Refusal, Silent
from portlb_app.southbound.places import Places
from portlb_app.southbound.sent_steps import SentSteps
from portlb_app.southbound.tables_process import Lost, TablesProcess

AT_A_TIME = 16
"""Switches that are read, and switches that are told something, at a time. Many may be bridges of one Open vSwitch,
which deals with them one after the other: each would wait for all, and be taken for silent."""
PLACE_SECONDS = 10.0
"""A switch that takes longer gives its place to another one: it may say little for as long as it likes."""
STEPS = 1000
"""Messages that are asked for at a time."""
ERRORS = 10
"""Errors of one bundle that are kept."""

_KINDS: tuple[tuple[Kind, Callable[[Any], Any], str], ...] = (
    ("flows", codec.flows_request, "its flows"),
    ("groups", codec.groups_request, "its groups"),
    ("meters", codec.meters_request, "its meters"),
    ("metered", codec.meter_stats_request, "what its meters dropped"),
)
_READING, _TELLING = Places(AT_A_TIME, PLACE_SECONDS), Places(AT_A_TIME, PLACE_SECONDS)
_LOG = logging.getLogger("portlb")


class SwitchSession:
    """The requests to one switch over one connection. A switch that is silent or malformed loses its connection."""

    def __init__(self, datapath: SwitchChannel, tables: TablesProcess, report: Callable[[Event], None]) -> None:
        self.datapath = datapath
        self._tables = tables
        self._report = report
        self._commands = hub.Queue()
        self._conversation = Conversation(datapath)
        self._bundles = itertools.count(1)
        self._sent = SentSteps()
        self._errors: list[tuple[int, str]] = []
        self._thread = supervision.spawn(f"the session of switch {datapath.id:#x}", self._run)

    def do(self, command: ReadState | Apply | CountPackets) -> None:
        """Begin a request; its answer is reported."""
        self._commands.put(command)

    def take(self, message: ErrorMessage | Reply) -> None:
        """Take an answer. One that was not asked for is ignored; of refused steps the first errors are kept."""
        if message.xid not in self._conversation.awaited:
            return
        number = self._sent.step_of(message.xid)
        if number is not None:  # about a step, only errors matter
            if isinstance(message, ErrorMessage) and len(self._errors) < ERRORS:
                self._errors.append((number, codec.error_name(message)))
        else:
            self._conversation.take(message)

    def close(self) -> None:
        """Stop talking."""
        hub.kill(self._thread)

    def _run(self) -> None:
        dpid = self.datapath.id
        while True:
            command = self._commands.get()
            event: Event
            try:
                event = self._done_for(command)
            except Refusal as refused:
                if isinstance(command, CountPackets):
                    _LOG.debug("%#x: %s", dpid, refused)
                    continue
                event = Refused(dpid, (str(refused),))
            except (Lost, Unknown):
                event = Interrupted(dpid)
            except (Silent, Malformed, Unreadable) as failure:
                self.datapath.drop(str(failure))
                return
            finally:
                self._sent.clear()
                self._conversation.clear()
            self._report(event)

    def _done_for(self, command: ReadState | Apply | CountPackets) -> Event:
        """What comes of a command."""
        if isinstance(command, CountPackets):
            return self._count(command)
        with (_READING if isinstance(command, ReadState) else _TELLING).taken():
            return self._read() if isinstance(command, ReadState) else self._apply(command)

    # ---- reading ----

    def _read(self) -> StateRead:
        dpid = self.datapath.id
        self._tables.call("begin", dpid)
        self._conversation.begin_reading()
        number = 0
        for kind, request, what in _KINDS:
            if kind == "metered" and not number:  # it has no meters
                continue
            number = 0
            for forwarded in self._conversation.replies(request(self.datapath), what):
                number = self._tables.call("read", dpid, kind, forwarded)
        for group in self._tables.call("to_count", dpid):
            request = codec.group_stats_request(self.datapath, group)
            for forwarded in self._conversation.replies(request, "what its groups counted"):
                self._tables.call("count", dpid, forwarded)
        ports: dict[int, PortCounts] = {}
        for some in self._conversation.replies(codec.ports_request(self.datapath), "what its ports counted"):
            for each in some:
                ports |= port_counts(each)
        self._read_foreign()
        forwarding = self._forwarding()
        return StateRead(dpid, self._tables.call("end", dpid), ports, forwarding)

    def _read_foreign(self) -> None:
        """Read the flows of others in portlb's tables: mostly there are none, which the tables' counts say."""
        dpid = self.datapath.id
        counts: dict[int, int] = {}
        for some in self._conversation.replies(codec.tables_request(self.datapath), "how many flows its tables have"):
            for each in some:
                counts |= table_counts(each)
        for table in self._tables.call("occupied", dpid, counts):
            for request in codec.foreign_requests(self.datapath, table):
                for forwarded in self._conversation.replies(request, "flows of others"):
                    self._tables.call("read", dpid, "foreign", forwarded)

    def _forwarding(self) -> Forwarding | None:
        """Where it forwards; None if it does not tell."""
        xid = self._conversation.ask(codec.meter_features_request(self.datapath))
        try:
            return codec.forwarding(self._conversation.answer(xid, "tell what its meters can do"))
        except Refusal as refused:
            _LOG.debug("%#x: %s", self.datapath.id, refused)
            return None

    def _count(self, command: CountPackets) -> PacketsCounted:
        """One short question for each kind of flows."""
        packets = 0
        for flows in command.filters:
            xid = self._conversation.ask(codec.CountRequest(flows))
            packets += codec.counted_packets(self._conversation.answer(xid, "count packets"))
        return PacketsCounted(command.server, packets)

    # ---- changing ----

    def _apply(self, command: Apply) -> Applied | Refused:
        """Meters that come, the bundle, meters that leave; what is refused ends it.

        All messages are fetched before the first is sent: a bundle that waits for more of them may expire.
        """
        dpid = self.datapath.id
        counts: MessageCounts = self._tables.call("prepare", dpid, command.verbs)
        self._errors = []
        bundle = next(self._bundles)
        before = self._messages(0, counts.before)
        bundled = self._messages(counts.before, counts.bundle, bundle)
        after = self._messages(counts.before + counts.bundle, counts.after)
        try:
            self._outside(before, counts.before)
            if not self._errors:
                self._bundle(bundled, bundle, counts.bundle)
            if not self._errors:
                self._outside(after, counts.after)
        except Refusal as refused:
            self._tables.call("refused", dpid, [])
            return Refused(dpid, (str(refused),))
        if not self._errors:
            return Applied(dpid, self._tables.call("applied", dpid))
        found = tuple(self._errors)  # a switch may go on to refuse while it is asked what that was about
        steps: tuple[str, ...] = self._tables.call("refused", dpid, [number for number, _ in found])
        return Refused(dpid, tuple(f"{step}: {error}" for step, (_, error) in zip(steps, found, strict=True)))

    def _messages(self, first: int, number: int, bundle: int | None = None) -> list[bytes]:
        """So many messages from the first on, in chunks. What is refused of them is known from now on."""
        chunks = []
        for start in range(first, first + number, STEPS):
            some = min(STEPS, first + number - start)
            xid = self._conversation.reserve(some)
            self._sent.add(xid, start, some)
            chunks.append(self._tables.call("encode", self.datapath.id, start, some, xid, bundle))
        return chunks

    def _outside(self, chunks: list[bytes], number: int) -> None:
        """Send what cannot be in a bundle, and a barrier."""
        if chunks:
            for chunk in chunks:
                self._conversation.send(chunk)
            self._done(parser.OFPBarrierRequest(self.datapath), number, "wait for a barrier")

    def _bundle(self, chunks: list[bytes], bundle: int, number: int) -> None:
        """One atomic, ordered bundle. It is closed before it is committed, so that every step is known to be in it."""
        if not chunks:
            return
        try:
            self._control(bundle, ofp.OFPBCT_OPEN_REQUEST, 0, "open")
            for chunk in chunks:
                if not self._errors:
                    self._conversation.send(chunk)
            self._control(bundle, ofp.OFPBCT_CLOSE_REQUEST, number, "close")
            if self._errors:
                self._control(bundle, ofp.OFPBCT_DISCARD_REQUEST, number, "discard")
            else:
                self._control(bundle, ofp.OFPBCT_COMMIT_REQUEST, number, "commit")
        except Refusal as refused:
            if not self._errors:
                raise
            _LOG.debug("%s", refused)

    def _control(self, bundle: int, request: int, number: int, what: str) -> None:
        self._done(codec.bundle_control(self.datapath, bundle, request), number, f"{what} a bundle")

    def _done(self, message: Any, number: int, what: str) -> None:
        """Ask whether so many messages were dealt with, and wait for the answer."""
        self._conversation.answer(self._conversation.ask(message), what, number / MESSAGES_A_SECOND)
