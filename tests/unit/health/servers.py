"""A server as a model, and the path to it: packets that take a while, or are lost, on a virtual clock."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from random import Random

from portlb_app.health.probe import Probe, Result, Target
from portlb_app.net.packets import Ends, Segment, make_segment, parse_tcp
from portlb_app.pipeline import ACK, FIN, RST, SYN

CHECKER, VIP = ip_address("192.0.0.8"), ip_address("10.0.0.100")
PORT = 8001
TARGET = Target(Ends(0x025000000001, 0x020000000064, CHECKER, VIP), PORT, frozenset({VIP}))
BACK = Ends(0x020000000064, 0x025000000001, VIP, CHECKER)
PATH = 0.0005
"""Seconds of one way."""
REPETITION = 0.2
"""Seconds after which Linux repeats data for the first time (RFC 6298 has a second; TCP_RTO_MIN is this)."""
OPENING = 1.0
"""The same for a SYN/ACK."""


@dataclass
class _Served:
    """A connection on the server. `number`: its next one; `peer`: the next one it expects."""

    number: int
    peer: int
    is_open: bool = False
    acknowledged: int = 0
    answered: bool = False
    repetitions: int = 0


@dataclass
class Server:
    """Linux and a program that answers every request with `answer` after `thinks` seconds; None: it never answers.

    `is_silent`: the host is gone; `listens`: something listens on the port.
    """

    answer: bytes | None = b"HTTP/1.1 200 OK\r\n\r\n"
    thinks: float = 0.001
    is_silent: bool = False
    listens: bool = True
    connections: dict[int, _Served] = field(default_factory=dict)
    requests: list[bytes] = field(default_factory=list)
    resets: int = 0


class World:
    """One server behind a path that loses packets, each way, with a probability."""

    def __init__(self, server: Server, loss: float = 0.0, seed: int = 0) -> None:
        self.server, self.loss, self.random = server, loss, Random(seed)
        self.now = 0.0
        self.sent = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.probe: Probe | None = None

    def draw(self) -> int:
        """32 random bits."""
        return self.random.getrandbits(32)

    def check(self, probe: Probe) -> Result:
        """Run a probe to its end."""
        self.probe = probe
        self._send(probe.begin(self.now))
        while probe.result is None:
            if self._events and self._events[0][0] <= probe.due:
                self.now, _, event = heapq.heappop(self._events)
                event()
            else:
                self.now = probe.due
                self._send(probe.wake(self.now))
        return probe.result

    def rest(self) -> None:
        """Let what is on its way arrive."""
        while self._events and self._events[0][0] <= self.now + 2 * PATH:
            self.now, _, event = heapq.heappop(self._events)
            event()

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        """Have something happen later."""
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), event))

    def _send(self, frames: list[bytes]) -> None:
        for frame in frames:
            self.sent += 1
            if self.random.random() >= self.loss:
                self.after(PATH, lambda frame=frame: self._arrives(frame))

    def _back(self, frame: bytes) -> None:
        if self.random.random() >= self.loss:
            self.after(PATH, lambda: self._returns(frame))

    def _returns(self, frame: bytes) -> None:
        if self.probe is not None:
            self._send(self.probe.take(frame, self.now))

    # ---- the server ----

    def _arrives(self, frame: bytes) -> None:
        segment = parse_tcp(frame)
        if self.server.is_silent or segment is None:
            return
        assert (segment.destination, segment.dport) == (VIP, PORT)
        known = self.server.connections.get(segment.sport)
        if segment.flags & RST:
            self.server.resets += 1
            self.server.connections.pop(segment.sport, None)
        elif segment.flags & SYN:
            self._opens(segment, known)
        elif known is None:
            self._segment(segment.sport, segment.ack, 0, RST)
        else:
            self._continues(segment, known)

    def _opens(self, segment: Segment, known: _Served | None) -> None:
        if not self.server.listens:
            self._segment(segment.sport, 0, segment.seq + 1, RST | ACK)
            return
        if known is None:
            first = self.random.getrandbits(32)
            known = self.server.connections[segment.sport] = _Served(first + 1, segment.seq + 1)
            self._repeat(segment.sport, OPENING, lambda: None if known.is_open else self._synack(segment.sport, known))
        self._synack(segment.sport, known)

    def _continues(self, segment: Segment, known: _Served) -> None:
        known.is_open = True
        known.acknowledged = segment.ack
        if segment.size and segment.seq == known.peer & 0xFFFFFFFF:
            known.peer += segment.size
            self.server.requests.append(segment.data)
            self.after(self.server.thinks, lambda: self._answers(segment.sport, known))
        if segment.size:
            self._segment(segment.sport, known.number, known.peer, ACK)

    def _answers(self, port: int, known: _Served) -> None:
        if self.server.answer is not None and self.server.connections.get(port) is known:
            known.answered = True
            self._say(port, known)
            self._repeat(port, REPETITION, lambda: self._say(port, known))

    def _say(self, port: int, known: _Served) -> None:
        answer = self.server.answer or b""
        size = 1220
        for at in range(0, max(len(answer), 1), size):
            flags = ACK | (FIN if at + size >= len(answer) else 0)
            self._segment(port, known.number + at, known.peer, flags, answer[at : at + size])

    def _repeat(self, port: int, seconds: float, event: Callable[[], None]) -> None:
        known = self.server.connections[port]
        end = known.number + len(self.server.answer or b"") + 1

        def again() -> None:
            if self.server.connections.get(port) is known and known.acknowledged != end & 0xFFFFFFFF:
                event()
                self._repeat(port, 2 * seconds, event)

        self.after(seconds, again)

    def _synack(self, port: int, known: _Served) -> None:
        self._segment(port, known.number - 1, known.peer, SYN | ACK)

    def _segment(self, port: int, number: int, peer: int, flags: int, data: bytes = b"") -> None:
        self._back(make_segment(BACK, (PORT, port), number, peer, flags, 65535, data))
