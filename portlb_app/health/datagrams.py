"""Checks without connections: a UDP datagram that is answered, and a ping."""

from __future__ import annotations

from collections.abc import Callable

from portlb_app.config import Check, CheckKind
from portlb_app.health.probe import Draw, Failure, Result, Target, Timer, Verdict, draw_port
from portlb_app.net.packets import (
    UDP,
    Datagram,
    make_echo_request,
    parse_datagram,
    parse_echo_reply,
    parse_quote,
)


class DatagramProbe:
    """A check of kind udp or ping. A ping's port is its identifier."""

    def __init__(self, check: Check, target: Target, draw: Draw, taken: Callable[[int], bool]) -> None:
        self.result: Result | None = None
        self._check, self._target = check, target
        self._timer = Timer(check.timeout)
        self._port = draw_port(draw, taken)
        self._sent = 0

    @property
    def due(self) -> float:
        """When it wants to be woken."""
        return self._timer.due

    @property
    def ports(self) -> frozenset[int]:
        """The port it comes from."""
        return frozenset((self._port,))

    def begin(self, now: float) -> list[bytes]:
        """Send the first one."""
        self._timer.begin(now)
        return self._send()

    def take(self, frame: bytes, now: float) -> list[bytes]:
        """A frame from the server."""
        if self.result is None:
            self.result = self._pinged(frame) if self._check.kind is CheckKind.PING else self._answered(frame)
        return []

    def wake(self, now: float) -> list[bytes]:
        """Repeat it, if an answer is expected, or give up."""
        if self.result is not None:
            return []
        if self._timer.is_over(now):
            self.result = self._timer.silence if self._expects else Result(Verdict.NOTHING, "no answer is expected")
            return []
        return self._send() if self._timer.again(now) and self._expects else []

    @property
    def _expects(self) -> bool:
        return self._check.kind is CheckKind.PING or self._check.expect is not None

    def _pinged(self, frame: bytes) -> Result | None:
        reply = parse_echo_reply(frame)
        if reply is None or reply.identifier != self._port or reply.source not in self._target.answers_from:
            return None
        return Result(Verdict.PASSED, "answers pings") if 1 <= reply.sequence <= self._sent else None

    def _answered(self, frame: bytes) -> Result | None:
        answer, target = parse_datagram(frame), self._target
        if answer is None:
            return self._unreachable(frame)
        if (answer.sport, answer.dport) != (target.port, self._port) or answer.source not in target.answers_from:
            return None
        if answer.data.startswith(self._check.expect or b""):
            return Result(Verdict.PASSED, "answers")
        return Result(Verdict.FAILED, "another answer than expected", Failure.PROTOCOL)

    def _unreachable(self, frame: bytes) -> Result | None:
        quote = parse_quote(frame)
        if quote is None or quote.protocol != UDP or quote.source != self._target.ends.source:
            return None
        if quote.ports != (self._port, self._target.port):
            return None
        return Result(Verdict.FAILED, "refused by an ICMP error", Failure.UNREACHABLE)

    def _send(self) -> list[bytes]:
        self._sent += 1
        ends = self._target.ends
        if self._check.kind is CheckKind.PING:
            return [make_echo_request(ends, self._port, self._sent)]
        return [Datagram(*ends, self._port, self._target.port, self._check.send).pack()]
