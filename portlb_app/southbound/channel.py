"""The controller's end of one OpenFlow connection. A peer that breaks a rule can only lose its own.

Ryu gives the classes of messages that are sent, the queue they wait in, and the state of the connection. What comes in
is read by `messages` alone:

=========  ===============================================================  =======================================
state      what is read                                                      what else there is
=========  ===============================================================  =======================================
HANDSHAKE  a hello                                                           ends the connection
CONFIG     echo, the features and the ports that were asked for; an error    is skipped if a switch may send it,
           ends the connection                                               else it ends the connection
MAIN       echo, what happens to ports, packets handed up, and answers to    the same
           requests that are awaited
=========  ===============================================================  =======================================

A message is refused by its header, before the rest of it is waited for. After a millisecond of work other connections
have their turn; a peer that is no configured switch has 2 % of a processor, so eight of them have 16 %.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from ryu.controller.controller import Datapath
from ryu.controller.handler import CONFIG_DISPATCHER, DEAD_DISPATCHER, HANDSHAKE_DISPATCHER, MAIN_DISPATCHER
from ryu.lib import hub
from ryu.ofproto import ofproto_v1_5 as ofp
from ryu.ofproto import ofproto_v1_5_parser as parser

from portlb_app.openflow import messages
from portlb_app.openflow.messages import Malformed, Port
from portlb_app.punt.read_batcher import ReadBatcher
from portlb_app.reconcile.double import Ends
from portlb_app.runtime.turn import READ_SECONDS, REST_OF_UNKNOWN, Turn
from portlb_app.southbound import tls
from portlb_app.southbound.port_table import PortTable, TooManyPorts
from portlb_app.southbound.refusals import address_text

if TYPE_CHECKING:
    from portlb_app.southbound.listener import OpenFlowListener

HANDSHAKE_MESSAGES = 256
"""A switch with 65,000 ports describes them in 64 messages."""
READ_BYTES = 1 << 16
_ECHOES = (messages.ECHO_REQUEST, messages.ECHO_REPLY)
HELD_SECONDS = 0.01
"""Seconds between checks whether a switch that is held back may go on."""
ALIVE_SECONDS = 2.0
"""How often a switch that is held back gets a sign of life: its own echo requests are not read."""

_LOG = logging.getLogger("portlb.guard")


class Refusal(Exception):
    """The connection is refused, and the peer is to blame; str() says why."""


class TooOften(Refusal):
    """A switch connects and leaves again and again; its host is not to blame."""


class SwitchChannel(Datapath):  # type: ignore[misc]
    """One connection: Ryu's `Datapath` with a receive loop that trusts nothing. `serve` runs it to its end.

    `is_ready` is called when the handshake is done. Until then a `Refusal` may be raised in the calling green thread.
    """

    def __init__(
        self,
        connection: socket.socket,
        address: tuple[Any, ...],
        listener: OpenFlowListener,
        is_ready: Callable[[], None],
    ) -> None:
        super().__init__(connection, address)
        self._listener = listener
        self._is_ready = is_ready
        self.awaited: Collection[int] = ()
        """The xids of requests whose answers a session awaits: meanwhile no read waits for more packets."""
        self.is_held_back: Callable[[], bool] = lambda: False
        """Whether so many messages of the switch wait that it is not read."""
        self._early = HANDSHAKE_MESSAGES
        self._asked = 0
        self._batcher = ReadBatcher()
        self._turn = Turn()
        self._dropped = self._is_admitted = False
        self.admitted_at = 0.0
        self._unanswered = 0
        self._proofs: dict[int, Any] = {}
        self.ports = PortTable()

    def is_over(self) -> bool:
        """Whether the connection is at its end."""
        return bool(self._dropped or self.state == DEAD_DISPATCHER)

    def drop(self, reason: str, is_offence: bool = False) -> None:
        """Close the connection; the first reason goes to the log and to the status."""
        if self.is_over():
            return
        self._dropped = True
        self._listener.refuse(self.address, reason, is_offence)
        for proof in self._proofs.values():
            proof.set()
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is closed already

    # ---- what is received ----

    def _recv_loop(self) -> None:
        """Read until the end of the connection. The caller of `serve` closes the socket."""
        try:
            self._read()
        except (Refusal, Malformed) as fault:
            self.drop(str(fault), is_offence=not isinstance(fault, TooOften))
        except OSError as error:
            _LOG.debug("%s: %s", address_text(self.address), error)
        except Exception as error:
            if not self.is_over():  # a TLS connection that was shut down raises ValueError
                _LOG.exception("a message of %s cannot be read", address_text(self.address))
                self.drop(f"{type(error).__name__}: {error}"[:200])

    def _read(self) -> None:
        data = b""
        while not self.is_over():
            data = self._take_messages(data)
            if pause := self._batcher.pause(more=len(data) >= READ_BYTES, awaited=bool(self.awaited)):
                hub.sleep(pause)
            self._hold_back()
            try:
                more = tls.receive(self.socket, READ_BYTES)
            except TimeoutError:
                continue
            if not more:
                return
            self._unanswered = 0
            self._worked(READ_SECONDS)
            data += more

    def _hold_back(self) -> None:
        """Wait while messages of the switch wait for the process with the tables.

        Its echo requests are behind that. Open vSwitch takes any message for a sign of life, so it gets answers that it
        has not asked for (7.5.3), which lead to nothing.
        """
        said = time.monotonic()
        while self.is_held_back() and not self.is_over():
            hub.sleep(HELD_SECONDS)
            if time.monotonic() - said > ALIVE_SECONDS:
                said = time.monotonic()
                self.send(messages.HEADER.pack(messages.VERSION, messages.ECHO_REPLY, messages.HEADER.size, 0))

    def _take_messages(self, data: bytes) -> bytes:
        """Take the whole messages at the beginning of `data`; the rest is returned."""
        offset = 0
        began = time.monotonic()
        while len(data) - offset >= messages.HEADER.size and not self.is_over():
            version, kind, length, _ = messages.HEADER.unpack_from(data, offset)
            if self.state == HANDSHAKE_DISPATCHER:
                messages.check_first_header(version, kind, length)
            else:
                messages.check_header(version, kind, length)
            if len(data) - offset < length:
                break
            self._take(kind, data[offset : offset + length])
            offset += length
            now = time.monotonic()
            if self._worked(now - began):
                now = time.monotonic()
            began = now
        return data[offset:]

    def _worked(self, seconds: float) -> bool:
        """Add time that went into this connection. Whether its turn was over, and other connections have had theirs."""
        is_over = self._turn.worked(seconds)
        if is_over:
            hub.sleep(self._turn.pause(0 if self._is_configured else REST_OF_UNKNOWN))
        return is_over

    @property
    def _is_configured(self) -> bool:
        return self._is_admitted and self._listener.is_configured(self.id)

    def _take(self, kind: int, message: bytes) -> None:
        """Take one message, whose header was looked at."""
        if self.state == MAIN_DISPATCHER:
            if kind in messages.ANSWERS and int.from_bytes(message[4:8], "big") in self.awaited:
                self._listener.on_answer(self, messages.answer(message))
                return
            if kind == messages.PACKET_IN:
                self._packet_in(message)
            if self._listener.on_other and kind not in _ECHOES and self._is_configured:
                self._listener.on_other(self, kind, message)
            if kind == messages.PACKET_IN:
                return
        else:
            self._early -= 1
            if self._early < 0:
                raise Refusal(f"more than {HANDSHAKE_MESSAGES} messages before the handshake is done")
            self._shake_hands(kind, message)
        if kind == messages.PORT_STATUS and self._is_admitted:
            self._port_status(message)
        elif kind == messages.ECHO_REQUEST:
            self.send(messages.echo_reply(message))
        elif kind == messages.ECHO_REPLY and (proof := self._proofs.get(int.from_bytes(message[4:8], "big"))):
            proof.set()

    def _packet_in(self, message: bytes) -> None:
        if self._is_configured:
            messages.check_packet_in(message)
            self._batcher.add()
            self._listener.on_packet(self, message)

    def _port_status(self, message: bytes) -> None:
        port, is_there = messages.port_status(message)
        if self._know_port(port, is_there) and self.state == MAIN_DISPATCHER:
            self._listener.on_ports(self)

    def _know_port(self, port: Port, is_there: bool = True) -> bool:
        """Keep the description of a port. Whether something of that is new."""
        try:
            return self.ports.update_port(port, is_there, self._is_configured)
        except TooManyPorts as error:
            raise Refusal(str(error)) from None

    # ---- the handshake ----

    def _shake_hands(self, kind: int, message: bytes) -> None:
        is_asked = int.from_bytes(message[4:8], "big") == self._asked
        if kind == messages.ERROR:
            error = messages.answer(message)
            assert isinstance(error, messages.ErrorMessage)
            raise Refusal(f"it answers the handshake with error {error.type}/{error.code}: {error.text}")
        if self.state == HANDSHAKE_DISPATCHER:
            self._hello(message)
        elif kind == messages.FEATURES_REPLY and not self._is_admitted and is_asked:
            self._features(message)
        elif kind == messages.MULTIPART_REPLY and self._is_admitted and is_asked:
            ports, more_follow = messages.port_descriptions(message)
            for port in ports:
                self._know_port(port)
            if not more_follow:
                self._is_ready()
                self.set_state(MAIN_DISPATCHER)

    def _hello(self, message: bytes) -> None:
        """Go on if the peer offers OpenFlow 1.5, whatever else it says."""
        versions = messages.offered_versions(message)
        if messages.VERSION not in versions:
            offered = ", ".join(f"1.{version - 1}" for version in sorted(versions) if version)
            text = f"it speaks OpenFlow {offered or 'of no version'}, not 1.5 (set its protocols=OpenFlow15)"
            self.send_msg(parser.OFPErrorMsg(self, ofp.OFPET_HELLO_FAILED, ofp.OFPHFC_INCOMPATIBLE, text))
            hub.sleep(0.1)  # so that the error leaves before the connection is closed
            raise Refusal(text)
        self.set_state(CONFIG_DISPATCHER)
        self._ask(parser.OFPFeaturesRequest(self))

    def _features(self, message: bytes) -> None:
        dpid, auxiliary = messages.features(message)
        if auxiliary:
            raise Refusal(f"it is auxiliary connection {auxiliary} of switch {dpid:#x}: only the main one is used")
        self._listener.admit(self, dpid)
        self.id, self._is_admitted, self.admitted_at = dpid, True, time.monotonic()
        self._ask(parser.OFPPortDescStatsRequest(self))

    def _ask(self, message: Any) -> None:
        self._asked = self.set_xid(message)
        self.send_msg(message)

    # ---- whether the switch is there ----

    def answers_echo(self, seconds: float) -> bool:
        """Whether the switch answers an echo request within so many seconds. Returns at once if the connection ends."""
        request = parser.OFPEchoRequest(self)
        xid = self.set_xid(request)
        proof = self._proofs[xid] = hub.Event()
        hub.spawn(self.send_msg, request)  # it waits if the switch takes nothing
        try:
            proof.wait(seconds)
        finally:
            del self._proofs[xid]
        return proof.is_set() and not self.is_over()

    def _echo_request_loop(self) -> None:
        """Drop a switch that sends nothing, although it gets echo requests."""
        while not self.is_over():
            hub.sleep(self.echo_request_interval)
            if self.state != MAIN_DISPATCHER or self.awaited:
                self._unanswered = 0  # the session that awaits an answer has its own time-out
                continue
            if self._unanswered >= self.max_unreplied_echo_requests > 0:
                self.drop(f"it left {self._unanswered} echo requests unanswered")
                return
            self._unanswered += 1
            try:
                self.send_msg(parser.OFPEchoRequest(self))
            except Exception as error:  # else this check would end unnoticed
                self.drop(f"it cannot be asked for an echo: {type(error).__name__}: {error}"[:200])


def ends_of(channel: SwitchChannel) -> Ends:
    """The two ends of a channel's connection."""
    try:
        reached = address_text(channel.socket.getsockname())
    except OSError:
        reached = "?"
    return Ends(address_text(channel.address), reached)
