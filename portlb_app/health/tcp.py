"""Checks by TCP: a client of its own over packets (RFC 9293), which opens a connection, or several, and asks by HTTP.

::

    SYN ─► SYN/ACK ─┬─ tcp:  ─► reset: it works
                    └─ http: ─► request ─► the beginning of the answer, in order ─► reset: as the answer says

A connection is reset when the check is over, and so is whatever arrives for one that is not known any more. Numbers of
the other side must be exact. It can only lie about itself: who answers is known by the port of the switch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from portlb_app.config import Check, CheckKind
from portlb_app.health import http
from portlb_app.health.probe import TRIES, Draw, Failure, Result, Target, Timer, Verdict, draw_port
from portlb_app.net.packets import TCP, Ends, Segment, make_segment, parse_quote, parse_tcp
from portlb_app.pipeline import ACK, FIN, RST, SYN

MSS = 1220
"""What fits into the least MTU of IPv6."""
WINDOW = http.LONGEST
_PUSH = 0x008
_PATIENCE = 2
"""After so many repetitions without progress, another connection is tried beside one that is open."""
_OPEN = 3
"""Connections that may be open at once: a slow server is not to be slowed down further."""


@dataclass
class _Connection:
    """One connection: our port and first number; the number expected next, None before the SYN/ACK."""

    port: int
    first: int
    expected: int | None = None
    is_asked: bool = False
    """The request has arrived."""
    waited: int = 0
    data: bytearray = field(default_factory=bytearray)


class TcpProbe:
    """A check of kind tcp or http. `taken` says which ports other probes have."""

    def __init__(self, check: Check, target: Target, draw: Draw, taken: Callable[[int], bool]) -> None:
        self.result: Result | None = None
        self._check, self._target, self._draw = check, target, draw
        self._taken = lambda port: port in self._connections or taken(port)
        self._request = http.request(check, str(target.ends.destination)) if check.kind is CheckKind.HTTP else b""
        self._timer = Timer(check.timeout)
        self._connections: dict[int, _Connection] = {}

    @property
    def due(self) -> float:
        """When it wants to be woken."""
        return self._timer.due

    @property
    def ports(self) -> frozenset[int]:
        """The ports its connections come from."""
        return frozenset(self._connections)

    def begin(self, now: float) -> list[bytes]:
        """Open the first connection."""
        self._timer.begin(now)
        return self._open()

    def take(self, frame: bytes, now: float) -> list[bytes]:
        """A frame from the server."""
        segment = parse_tcp(frame)
        if self.result is not None:
            return []
        if segment is None:
            return self._unreachable(frame)
        connection = self._connections.get(segment.dport)
        target = self._target
        if connection is None or segment.sport != target.port or segment.source not in target.answers_from:
            return []
        if segment.flags & RST:
            return self._refused(connection, segment)
        if connection.expected is None:
            return self._opened(connection, segment)
        return self._answered(connection, segment)

    def wake(self, now: float) -> list[bytes]:
        """Repeat what got no answer, or give up."""
        if self.result is not None:
            return []
        if self._timer.is_over(now):
            silence = self._timer.silence
            asked = Result(silence.verdict, f"{silence.reason} to the request", silence.failure)
            return self._end(asked if self._opened_ones() else silence)
        if not self._timer.again(now):
            return []
        frames, opened = [], self._opened_ones()
        for each in opened:
            each.waited += 1
            if not each.is_asked:
                frames += self._ask(each)
        is_stuck = all(each.waited >= _PATIENCE * len(opened) for each in opened) and len(opened) < _OPEN
        return frames + (self._open() if is_stuck else [])

    # ---- what comes in ----

    def _opened(self, connection: _Connection, segment: Segment) -> list[bytes]:
        is_answer = segment.flags & (SYN | ACK) == SYN | ACK and segment.ack == _after(connection.first, 1)
        if not is_answer:
            return []
        connection.expected = _after(segment.seq, 1)
        if not self._request:
            return self._end(Result(Verdict.PASSED, "connected"))
        return self._ask(connection)

    def _answered(self, connection: _Connection, segment: Segment) -> list[bytes]:
        assert connection.expected is not None
        if segment.flags & SYN:  # our acknowledgement was lost
            return self._ask(connection)
        if segment.ack == _after(connection.first, 1 + len(self._request)):
            connection.is_asked = True
        elif segment.ack != _after(connection.first, 1):
            return []
        begin = (connection.expected - segment.seq) & 0xFFFFFFFF
        if begin > len(segment.data) or segment.size != len(segment.data):  # a part before it is missing, or cut off
            return self._acknowledge(connection) if segment.size else []
        news = segment.data[begin : begin + http.LONGEST - len(connection.data)]
        is_end = bool(segment.flags & FIN)
        if not news and not is_end:
            return self._acknowledge(connection) if segment.size else []
        connection.data += news
        connection.expected = _after(connection.expected, len(news))
        connection.is_asked, connection.waited = True, 0
        found = http.judge(self._check, bytes(connection.data), is_end)
        return self._acknowledge(connection) if found is None else self._end(found)

    def _refused(self, connection: _Connection, segment: Segment) -> list[bytes]:
        """A reset counts if its number is exact (RFC 9293, 3.10.7.3; RFC 5961, 3.2)."""
        if connection.expected is None:
            if segment.flags & ACK and segment.ack == _after(connection.first, 1):
                return self._end(Result(Verdict.FAILED, "refused", Failure.REFUSED))
        elif segment.seq == connection.expected:
            return self._end(Result(Verdict.FAILED, "reset", Failure.RESET))
        return []

    def _unreachable(self, frame: bytes) -> list[bytes]:
        quote, ends = parse_quote(frame), self._target.ends
        if quote is None or quote.protocol != TCP or quote.ports is None or quote.source != ends.source:
            return []
        if quote.ports[0] not in self._connections or quote.ports[1] != self._target.port:
            return []
        return self._end(Result(Verdict.FAILED, "refused by an ICMP error", Failure.UNREACHABLE))

    # ---- what goes out ----

    def _opened_ones(self) -> list[_Connection]:
        return [each for each in self._connections.values() if each.expected is not None]

    def _open(self) -> list[bytes]:
        if len(self._connections) >= TRIES:
            return []
        port = draw_port(self._draw, self._taken)
        connection = self._connections[port] = _Connection(port, self._draw() & 0xFFFFFFFF)
        return [make_segment(self._target.ends, (port, self._target.port), connection.first, 0, SYN, WINDOW, mss=MSS)]

    def _ask(self, connection: _Connection) -> list[bytes]:
        return [self._segment(connection, ACK | _PUSH, self._request)]

    def _acknowledge(self, connection: _Connection) -> list[bytes]:
        return [self._segment(connection, ACK)]

    def _segment(self, connection: _Connection, flags: int, data: bytes = b"") -> bytes:
        sent = 1 + len(self._request) * (connection.is_asked and not data)
        window = WINDOW - len(connection.data)
        ports, number = (connection.port, self._target.port), _after(connection.first, sent)
        return make_segment(self._target.ends, ports, number, connection.expected or 0, flags, window, data)

    def _end(self, result: Result) -> list[bytes]:
        self.result = result
        return [self._segment(each, RST | ACK) for each in self._opened_ones()]


def refuse(ends: Ends, segment: Segment) -> bytes | None:
    """The reset for a segment of a connection that is not known (RFC 9293, 3.10.7.1); None for a reset."""
    if segment.flags & RST:
        return None
    ports = (segment.dport, segment.sport)
    if segment.flags & ACK:
        return make_segment(ends, ports, segment.ack, 0, RST, 0)
    length = segment.size + bool(segment.flags & SYN) + bool(segment.flags & FIN)
    return make_segment(ends, ports, 0, _after(segment.seq, length), RST | ACK, 0)


def _after(number: int, more: int) -> int:
    return (number + more) & 0xFFFFFFFF
