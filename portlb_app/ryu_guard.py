"""The OpenFlow side's door: accepts connections, and lets no peer harm more than its own.

Ryu's parsers trust every length on the wire: a hello element, a port property or a bucket of length 0 keeps them busy
for ever, and with them the whole controller (CVE-2024-28732). So this replaces Ryu's listener and receive loop, and
leaves Ryu its messages, handshake and events.

- Hellos are read here, from the bytes. A peer without OpenFlow 1.5 is told so.
- Every other message has a limit of CPU time for its parser; a message is at most 64 kB, so an honest one needs a
  hundredth of it.
- The handshake has a deadline and a number of messages; connections are counted.
- After a few messages it is the next connection's turn.
- Packets that a switch hands up, and what happens to its ports, pass neither Ryu's parser nor its queue of events,
  which answers need. So what is known of its ports is never older than what it said last. They are counted, too.

A peer that breaks a rule loses its connection. It is counted, kept in a short list for the status, and logged, but not
more often than a log can bear.
"""

from __future__ import annotations

import logging
import signal
import socket
import ssl
import struct
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from typing import Any

import eventlet
from ryu.controller import ofp_event
from ryu.controller.controller import Datapath
from ryu.controller.handler import DEAD_DISPATCHER, HANDSHAKE_DISPATCHER, MAIN_DISPATCHER
from ryu.lib import hub
from ryu.ofproto import ofproto_v1_5 as ofp
from ryu.ofproto import ofproto_v1_5_parser as parser

from portlb_app import ryu_wire
from portlb_app.api import RefusedConnections
from portlb_app.backlog import Gathering

PARSE_SECONDS = 0.5
"""CPU time for the parser of one message."""
HANDSHAKE_SECONDS = 10.0
"""From the connection to the last message of the handshake."""
HANDSHAKE_MESSAGES = 256
"""A switch with 65,000 ports describes them in 64 messages."""
PORTS = 1 << 16
"""Ports of one switch; Open vSwitch numbers at most 65,280."""
CONNECTIONS = 512
CONNECTIONS_PER_HOST = 256
"""Open connections; each takes one of usually 1024 file descriptors. One host cannot take them all."""
READ_BYTES = 1 << 16
MESSAGES_PER_TURN = 32
"""Messages of one connection before others get their turn."""
HELLO_ELEMENTS = 16
LOGGED_PER_MINUTE = 20
REMEMBERED = 10

_HEADER = struct.Struct("!BBHI")
_LOG = logging.getLogger("portlb.guard")


class Refusal(Exception):
    """The peer broke a rule and loses its connection; str() says which."""


def offered_versions(hello: bytes) -> frozenset[int]:
    """The OpenFlow versions (0x06 is 1.5) a hello message offers (OpenFlow 1.5.1, 7.5.1); Refusal if it is no hello."""
    version, _, _, _ = _HEADER.unpack_from(hello)
    offset = _HEADER.size
    for _ in range(HELLO_ELEMENTS):
        if offset >= len(hello):
            return frozenset(range(1, version + 1))
        if len(hello) - offset < 4:
            raise Refusal("a hello element is cut off")
        kind, length = struct.unpack_from("!HH", hello, offset)
        if not 4 <= length <= len(hello) - offset:
            raise Refusal(f"a hello element says it has {length} bytes of {len(hello) - offset}")
        if kind == ofp.OFPHET_VERSIONBITMAP and length >= 8:
            (bitmap,) = struct.unpack_from("!I", hello, offset + 4)
            return frozenset(number for number in range(32) if bitmap >> number & 1)
        offset += -(-length // 8) * 8
    raise Refusal(f"a hello has more than {HELLO_ELEMENTS} elements")


def _expired(_signal: int, _frame: Any) -> None:
    raise Refusal(f"a message takes more than {PARSE_SECONDS} s to read")


@contextmanager
def _cpu_limit() -> Iterator[None]:
    """Raise Refusal in what runs inside once it used PARSE_SECONDS. Nothing inside may switch to another greenlet."""
    signal.setitimer(signal.ITIMER_VIRTUAL, PARSE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


class GuardedDatapath(Datapath):  # type: ignore[misc]
    """Ryu's connection to a switch with a receive loop that trusts nothing."""

    def __init__(self, connection: socket.socket, address: tuple[Any, ...], door: Door) -> None:
        super().__init__(connection, address)
        self._door = door
        self.awaited: Collection[int] = ()
        """The xids of requests for whose answers somebody waits: meanwhile nothing is gathered."""
        self._early = HANDSHAKE_MESSAGES
        self._gathering = Gathering()
        self.ports: dict[int, ryu_wire.Port] = {}

    @property
    def up(self) -> frozenset[int]:
        """The OpenFlow ports that are there and up, by what the switch said last."""
        return frozenset(number for number, port in self.ports.items() if port.up)

    def drop(self, reason: str) -> None:
        """Close the connection and say why, to the log and the status."""
        self._door.refuse(self.address, reason)
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is closed already

    def _recv_loop(self) -> None:
        deadline = hub.spawn_after(HANDSHAKE_SECONDS, self._require_handshake)
        try:
            for number, message in enumerate(self._messages()):
                self._take(message)
                if number % MESSAGES_PER_TURN == 0:
                    hub.sleep(0)
        except Refusal as refusal:
            self.drop(str(refusal))
        except OSError as error:
            _LOG.debug("%s: %s", _address_text(self.address), error)
        except Exception as error:
            self.drop(f"{type(error).__name__}: {error}"[:200])
        finally:
            deadline.cancel()
            self.socket.close()

    def _require_handshake(self) -> None:
        if self.state not in (MAIN_DISPATCHER, DEAD_DISPATCHER):
            self.drop(f"no handshake within {HANDSHAKE_SECONDS:g} s")

    def _messages(self) -> Iterator[bytes]:
        """Whole messages, cut by their headers; ends with the connection."""
        data = b""
        while self.state != DEAD_DISPATCHER:
            offset = 0
            while len(data) - offset >= _HEADER.size:
                _, _, length, _ = _HEADER.unpack_from(data, offset)
                if length < _HEADER.size:
                    raise Refusal(f"a message says it has {length} bytes")
                if len(data) - offset < length:
                    break
                yield data[offset : offset + length]
                offset += length
            if pause := self._gathering.pause(more=len(data) >= READ_BYTES, awaited=bool(self.awaited)):
                hub.sleep(pause)
            try:
                more = self.socket.recv(READ_BYTES)
            except TimeoutError:
                more = None
            if more == b"":
                return
            data = data[offset:] + (more or b"")

    def _take(self, data: bytes) -> None:
        if data[1] == ofp.OFPT_PACKET_IN:
            if self.state == MAIN_DISPATCHER:
                self._gathering.came()
                self._door.on_packet(self, data)
            return
        if data[1] == ofp.OFPT_PORT_STATUS:
            if self.state == MAIN_DISPATCHER:  # before that, its answer about all ports is still to come
                self._port_status(data)
            return
        message = self._hello(data) if data[1] == ofp.OFPT_HELLO else self._parse(data)
        if self.state != MAIN_DISPATCHER:
            self._early -= 1
            if self._early < 0:
                raise Refusal(f"more than {HANDSHAKE_MESSAGES} messages before the handshake is done")
        event = ofp_event.ofp_msg_to_ev(message)
        self.ofp_brick.send_event_to_observers(event, self.state)
        for handler in self.ofp_brick.get_handlers(event, self.state):
            handler(event)
        self._count_ports()

    def _port_status(self, data: bytes) -> None:
        port, there = ryu_wire.port_status(data)
        if there:
            self.ports[port.port_no] = port
        else:
            self.ports.pop(port.port_no, None)
        self._count_ports()
        self._door.on_ports(self)

    def _count_ports(self) -> None:
        if len(self.ports) > PORTS:
            raise Refusal(f"it says it has more than {PORTS} ports")

    def _hello(self, data: bytes) -> Any:
        """A hello that offers what we and the peer both know, whatever else it says."""
        versions = offered_versions(data)
        if self.state == HANDSHAKE_DISPATCHER and ofp.OFP_VERSION not in versions:
            offered = ", ".join(f"1.{version - 1}" for version in sorted(versions) if version)
            text = f"it speaks OpenFlow {offered or 'of no version'}, not 1.5 (set its protocols=OpenFlow15)"
            self.send_msg(parser.OFPErrorMsg(self, ofp.OFPET_HELLO_FAILED, ofp.OFPHFC_INCOMPATIBLE, text))
            hub.sleep(0.1)  # so that the error leaves before the connection is closed
            raise Refusal(text)
        message = parser.OFPHello(self, [parser.OFPHelloElemVersionBitmap([ofp.OFP_VERSION])])
        message.set_headers(ofp.OFP_VERSION, ofp.OFPT_HELLO, len(data), 0)
        return message

    def _parse(self, data: bytes) -> Any:
        version, kind, length, xid = _HEADER.unpack_from(data)
        if version != ofp.OFP_VERSION:
            raise Refusal(f"a message of OpenFlow version {version:#04x} after a hello for {ofp.OFP_VERSION:#04x}")
        try:
            with _cpu_limit():
                message = parser.msg_parser(self, version, kind, length, xid, data)
        except Refusal:
            raise
        except Exception as error:
            raise Refusal(f"a message of type {kind} that can't be read: {error!r}"[:200]) from None
        quotes = ofp.OFP_HEADER_SIZE
        if kind == ofp.OFPT_ERROR and message.type != ofp.OFPET_HELLO_FAILED and len(message.data) < quotes:
            raise Refusal("an error that does not quote the message it is about")
        return message


class Door:
    """Listens for switches. In Ryu's place of `OpenFlowController`: calling it accepts them for ever."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Listen at once, so that a port in use is found at once: OSError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._server = eventlet.listen((host, port), family=family, reuse_port=False)
        self._tls = tls
        self._open: Counter[str] = Counter()
        self._refused = 0
        self._last: deque[tuple[str, str]] = deque(maxlen=REMEMBERED)
        self._logged: deque[float] = deque(maxlen=LOGGED_PER_MINUTE)
        self.on_packet: Callable[[GuardedDatapath, bytes], None] = lambda _datapath, _message: None
        """Told every packet-in message (with its header) of a switch whose handshake is done; it must not wait."""
        self.on_ports: Callable[[GuardedDatapath], None] = lambda _datapath: None
        """Told that something happened to a port of a switch whose handshake is done; it must not wait."""
        signal.signal(signal.SIGVTALRM, _expired)

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return int(self._server.getsockname()[1])

    @property
    def refused(self) -> RefusedConnections:
        """What was refused so far."""
        return RefusedConnections(self._refused, tuple(self._last))

    def refuse(self, address: tuple[Any, ...], reason: str) -> None:
        """Count, remember and log that a connection is closed because of its peer."""
        self._refused += 1
        self._last.append((_address_text(address), reason))
        now = time.monotonic()
        if len(self._logged) < LOGGED_PER_MINUTE or now - self._logged[0] > 60:
            self._logged.append(now)
            _LOG.warning("%s is refused (%d so far): %s", _address_text(address), self._refused, reason)

    def __call__(self) -> None:
        while True:
            try:
                connection, address = self._server.accept()
            except OSError as error:
                _LOG.error("cannot accept a connection: %s", error)
                hub.sleep(1)
                continue
            if self._open.total() >= CONNECTIONS or self._open[address[0]] >= CONNECTIONS_PER_HOST:
                self.refuse(address, f"there are {self._open[address[0]]} connections from there already")
                connection.close()
                continue
            self._open[address[0]] += 1
            hub.spawn(self._serve, connection, address)

    def _serve(self, connection: socket.socket, address: tuple[Any, ...]) -> None:
        try:
            if self._tls:
                connection.settimeout(HANDSHAKE_SECONDS)
                connection = self._tls.wrap_socket(connection, server_side=True)
            with closing(GuardedDatapath(connection, address, self)) as datapath:
                datapath.serve()
        except OSError as error:
            self.refuse(address, f"connection lost: {error}")
        finally:
            self._open[address[0]] -= 1
            self._open += Counter()  # forgets hosts without connections
            connection.close()


def _address_text(address: tuple[Any, ...]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
