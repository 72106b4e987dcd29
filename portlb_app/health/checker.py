"""All checks: when each begins, and which packets are sent and taken for it. Pure.

Feed it the configuration (`adopt`), the switches that are connected, the time (`tick`, at least ten times a second),
and what servers send to where checks come from (`take`). It returns packets to send, and `news`: what is to be said
about servers (`results`).

A check whose time for an answer overlapped a standstill of the controller is void: it counts for nothing, and begins
again. So is one whose switch is not connected.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Callable, Iterable, Iterator

from portlb_app.health.flights import Flight, Flights, port_of
from portlb_app.health.judgement import Judge
from portlb_app.health.line_state import FAST, LineState
from portlb_app.health.loops import Loops
from portlb_app.health.news import News
from portlb_app.health.probe import Draw, Result
from portlb_app.health.results import Results, said_by
from portlb_app.health.targets import Line
from portlb_app.health.tcp import refuse
from portlb_app.net import packets
from portlb_app.net.packets import Ends
from portlb_app.openflow import CONTROLLER, Output
from portlb_app.punt.disposition import Disposition
from portlb_app.punt.packet import PacketIn, Send

__all__ = ["STANDSTILL", "Checker", "Known", "News"]

STANDSTILL = 0.25
"""Seconds between two ticks that make the checks on their way void."""
AT_ONCE = 64
"""Checks that begin in one tick, at most."""
LATE = 0.5
"""Seconds after its time at which a check counts as late."""

Key = tuple[str, object, int, str]
Known = Callable[[str, str, int], bool | None]
"""Whether a server (by VIP and redirect port) is taken for up or down already; None if nothing is known."""


class Checker:
    """All checks of a configuration. `draw` gives 32 random bits; `known` says what is known of a server already.

    `on_result` is told every result.
    """

    def __init__(
        self,
        draw: Draw,
        known: Known = lambda _server, _vip, _port: None,
        on_result: Callable[[LineState, Result], None] = lambda _state, _result: None,
    ) -> None:
        self._draw, self._known, self._on_result = draw, known, on_result
        self._states: dict[Key, LineState] = {}
        self._by_server: dict[str, list[LineState]] = {}
        self._queue: list[tuple[float, int, LineState]] = []
        self._connected: set[int] = set()
        self._loops = Loops(draw)
        self._flights = Flights(draw, self._loops.__contains__)
        self._results = Results(self._loops, self._flights.__contains__)
        self._last: float | None = None
        self._numbers = 0
        self.begun = self.voided = self.late = 0
        """Checks that were begun, were void, and began late."""

    # ---- what happens ----

    def adopt(self, lines: Iterable[Line], now: float) -> None:
        """These are the lines now. One that was there before goes on."""
        said = dict(said_by(self._states.values()))
        before, self._states, self._by_server = self._states, {}, {}
        for line in lines:
            state = before.pop(line.key, None)
            if state is None:
                share = zlib.crc32(f"{line.server} {line.ports} {line.version}".encode()) / (1 << 32)
                state = LineState(line, Judge(line.check), now + share * line.check.interval)
                self._push(state)
            state.line = line
            self._states[line.key] = state
            self._by_server.setdefault(line.server, []).append(state)
        for state in before.values():
            self._abandon(state)
        self._results.adopt(said, before.values(), self._states.values(), self._by_server)

    def connected(self, dpid: int) -> None:
        """A switch is connected: checks can be sent by it."""
        self._connected.add(dpid)

    def disconnected(self, dpid: int) -> None:
        """A switch is gone; what is on its way there counts for nothing."""
        self._connected.discard(dpid)
        for flight in self._flights:
            if flight.way.dpid == dpid:
                self._abandon(flight.state)

    def hurry(self, server: str, now: float) -> None:
        """There is reason to think that a server has failed: check it at once."""
        for state in self._by_server.get(server, ()):
            if state.probe is None and state.judge.is_up is not False and state.due > now:
                state.due = max(now, state.began + FAST)
                self._push(state)

    def tick(self, now: float) -> list[Send]:
        """Time passes."""
        if self._last is not None and now - self._last > STANDSTILL:
            self._stood_still(now)
        self._last = now
        sends: list[Send] = []
        for flight in self._flights:
            if flight.probe.due <= now:
                sends += self._flights.wake(flight, now)
                self._finish(flight, now)
        for _ in range(AT_ONCE):
            if not self._queue or self._queue[0][0] > now:
                break
            due, _, state = heapq.heappop(self._queue)
            if state.due == due and state.probe is None and self._states.get(state.line.key) is state:
                sends += self._begin(state, now)
        return sends + self._results.settle(now)

    def take(self, dpid: int, packet: PacketIn, now: float) -> tuple[Disposition, tuple[Send, ...]]:
        """A server on this switch has sent something to where checks come from."""
        frame = packet.frame
        port = port_of(frame)
        if port is None:
            return Disposition.MALFORMED, ()
        if self._loops.take(dpid, packet.in_port, port, now):
            return Disposition.SENT, ()
        flight = self._flights.to(port)
        if flight is None:
            return self._refuse(dpid, packet)
        origin = flight.state.line.origin
        is_its = (dpid, packet.in_port) == (flight.way.dpid, origin.port)
        if not is_its or int.from_bytes(frame[6:12], "big") not in origin.macs:
            return Disposition.UNKNOWN, ()
        sends = self._flights.take(flight, frame, now)
        self._finish(flight, now)
        return Disposition.SENT, tuple(sends)

    # ---- what follows ----

    @property
    def due(self) -> float:
        """When something is to be done next, unless something happens before."""
        times = [flight.probe.due for flight in self._flights]
        if self._queue:
            times.append(self._queue[0][0])
        return min(times, default=float("inf"))

    @property
    def in_flight(self) -> int:
        """Probes on their way."""
        return len(self._flights)

    def news(self) -> list[News]:
        """What is to be said about servers that was not said before."""
        return self._results.news()

    def logs(self) -> list[str]:
        """What an administrator should know, since this was asked last."""
        return self._results.logs()

    def states(self) -> Iterator[LineState]:
        """Every line."""
        return iter(self._states.values())

    # ---- one check ----

    def _begin(self, state: LineState, now: float) -> list[Send]:
        self.late += now - state.due > LATE
        state.began = now
        if state.line.way.dpid not in self._connected:
            self._reschedule(state, now)
            return []
        if state.judge.is_up is None:
            known = [self._known(state.line.server, state.line.vip, port) for port in state.line.ports]
            if any(known):
                state.judge.is_up = True
        self.begun += 1
        flight, sends = self._flights.begin(state, state.line.way, now)
        state.probe = flight.probe
        if state.line.direct is not None and state.judge.streak == -1 and state.direct is None:
            direct, more = self._flights.begin(state, state.line.direct, now, is_direct=True)
            state.direct = direct.probe
            sends += more
        return sends

    def _finish(self, flight: Flight, now: float) -> None:
        result = flight.probe.result
        if result is None or not self._flights.land(flight):
            return
        state = flight.state
        if flight.is_direct:
            state.direct, state.direct_result = None, result
            return
        state.probe, state.result, state.at, state.took = None, result, now, now - state.began
        self._on_result(state, result)
        self._results.take(state, result, now)
        self._reschedule(state, now)

    def _abandon(self, state: LineState) -> None:
        for flight in self._flights:
            if flight.state is state:
                self._flights.land(flight)
        if state.probe is not None:
            self.voided += 1
            state.probe = None
            state.due = state.began
            self._push(state)
        state.direct = None

    def _stood_still(self, now: float) -> None:
        """Answers may wait to be read: what is on its way begins again, a little apart."""
        for number, flight in enumerate(self._flights):
            if not flight.is_direct:
                flight.state.began = now + number * 0.001
            self._abandon(flight.state)

    def _reschedule(self, state: LineState, now: float) -> None:
        state.due = state.next_due(now, self._draw() / (1 << 32))
        self._push(state)

    def _push(self, state: LineState) -> None:
        self._numbers += 1
        heapq.heappush(self._queue, (state.due, self._numbers, state))

    def _refuse(self, dpid: int, packet: PacketIn) -> tuple[Disposition, tuple[Send, ...]]:
        """Nobody waits for it; a connection that was given up is reset, so that the server does not keep it."""
        segment, frame = packets.parse_tcp(packet.frame), packet.frame
        if segment is None:
            return Disposition.UNKNOWN, ()
        macs = int.from_bytes(frame[:6], "big"), int.from_bytes(frame[6:12], "big")
        answer = refuse(Ends(*macs, segment.destination, segment.source), segment)
        if answer is None:
            return Disposition.UNKNOWN, ()
        return Disposition.UNKNOWN, (Send(dpid, CONTROLLER, (Output(packet.in_port),), answer),)
