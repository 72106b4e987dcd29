"""One check of one server, as packets: frames come in and go out, time and chance are arguments.

A probe is begun, gets every frame that is for it, and is woken at `due`. When `result` is there it is over; what it
returned with that is still to be sent. It has a deadline, after which silence is its result.

**Against loss.** What is lost is sent again, every tenth of the timeout: a SYN from another port, because a host may
answer the repetition of one that it knows already only twice a second. So with 30 % of all packets lost, each way, a
check that takes one round trip fails once in 840 times, and three times in a row once in decades (tests/unit/health).
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from portlb_app.config import Address
from portlb_app.net.packets import Ends

TRIES = 10
"""How often a probe sends, at most: at its beginning, and after each tenth of its timeout."""
_PORTS = range(32768, 61000)
"""The ports that probes are sent from: those of any host's own connections."""

Draw = Callable[[], int]
"""A number of 32 random bits."""


class Verdict(str, enum.Enum):
    """What a check says."""

    PASSED = "passed"
    FAILED = "failed"
    NOTHING = "nothing"
    """Neither: there was no answer, and none was to be expected."""


class Failure(str, enum.Enum):
    """What a check found wrong, in one of a few words."""

    TIMEOUT = "timeout"
    REFUSED = "refused"
    RESET = "reset"
    UNREACHABLE = "unreachable"
    """An ICMP error came back."""
    PROTOCOL = "protocol"
    """What came is no answer of this kind, or another one than expected."""
    STATUS = "status"
    BODY = "body"


@dataclass(frozen=True)
class Result:
    """The result of a check, and why in a few words. They are ours: nothing that a server says is repeated.

    `failure`: the same in one word, of a check that failed.
    """

    verdict: Verdict
    reason: str
    failure: Failure | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Target:
    """Where a probe goes: MAC and IP addresses of the packets to the server, and the port.

    `answers_from`: the addresses from which the server itself, or its router, may answer.
    """

    ends: Ends
    port: int
    answers_from: frozenset[Address]


class Probe(Protocol):
    """One check."""

    @property
    def result(self) -> Result | None:
        """The result; None as long as there is none."""

    @property
    def due(self) -> float:
        """When it wants to be woken."""

    @property
    def ports(self) -> frozenset[int]:
        """The ports (or, of pings, the identifier) that answers to it come to."""

    def begin(self, now: float) -> list[bytes]:
        """Send the first packet."""

    def take(self, frame: bytes, now: float) -> list[bytes]:
        """Take a frame from the server that came to one of its ports."""

    def wake(self, now: float) -> list[bytes]:
        """Time has passed."""


def draw_port(draw: Draw, taken: Callable[[int], bool]) -> int:
    """A port that no other probe has; ValueError if chance finds none."""
    for _ in range(64):
        port = _PORTS[draw() % len(_PORTS)]
        if not taken(port):
            return port
    raise ValueError("no port is free")


class Timer:
    """When a probe sends again, and when it gives up."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._began = self._again = 0.0

    def begin(self, now: float) -> None:
        """Time runs from now on."""
        self._began, self._again = now, now + self.step

    @property
    def step(self) -> float:
        """Seconds between two packets that repeat each other."""
        return self._timeout / TRIES

    @property
    def due(self) -> float:
        """The next time at which anything is to be done."""
        return min(self._again, self._began + self._timeout)

    def is_over(self, now: float) -> bool:
        """Whether the time for an answer is over."""
        return now >= self._began + self._timeout

    def again(self, now: float) -> bool:
        """Whether it is time to send again; if so, the next time is later."""
        if now < self._again:
            return False
        self._again = now + self.step
        return now + self.step / 2 < self._began + self._timeout

    @property
    def silence(self) -> Result:
        """The result where an answer was expected and none came."""
        return Result(Verdict.FAILED, f"no answer within {self._timeout:g} s", Failure.TIMEOUT)
