"""What is wanted of a server, and what is seen of it: two words, never one.

A server is down by any evidence, and up by nothing less than all of the evidence that its configuration asks for. In
between it stays what it was. A server of which nothing was heard is neither: it is used, because a controller that has
just started knows less than the administrator who wrote the configuration.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Set
from dataclasses import dataclass, field, replace

from portlb_app.topology.conditions import PoolKey

PORT = "port"
"""The source of what switches say about a server's connector."""


def check_source(port: int, version: int) -> str:
    """The source of what checks say about a server in the pool of a redirect port, by a version of IP."""
    return f"check:{port}/IPv{version}"


class Cause(str, enum.Enum):
    """Why slots of a pool move."""

    START = "start"
    """The switches have others than the configuration asks for when the controller starts."""
    CONFIG = "config"
    ADMIN = "admin"
    HEALTH = "health"
    AGENT = "agent"
    LOAD = "load"
    TURN = "turn"
    """Time has passed: an algorithm's next turn."""
    PACE = "pace"
    """Time has passed: a slow start, or as many slots a second as `moves` lets go."""


class Seen(str, enum.Enum):
    """What is seen of a server."""

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Evidence:
    """What one source says about a server, in a sentence.

    `source`: ``port``, ``check:NAME``, ``agent`` or ``passive``. `pool`: the only pool that it is about; None: all.
    """

    source: str
    is_up: bool
    reason: str
    since: float
    pool: PoolKey | None = None


@dataclass(frozen=True)
class Judgement:
    """What is seen of a server in one pool, why, and since when.

    `source`: what said so, as in `Evidence`; empty for what was taken from the switches or from the configuration.
    """

    seen: Seen = Seen.UNKNOWN
    reason: str = "nothing was heard of it yet"
    since: float = 0.0
    source: str = field(default="", compare=False)

    @property
    def cause(self) -> str:
        """The kind of the source: port, check, agent or passive; slots for what was taken from the switches."""
        return self.source.partition(":")[0] or "slots"


@dataclass
class Known:
    """What is known of one server. `not_up_before`: when it may be up at the earliest if it is taken for down."""

    evidence: dict[tuple[str, PoolKey | None], Evidence] = field(default_factory=dict)
    judgements: dict[PoolKey, Judgement] = field(default_factory=dict)
    not_up_before: float = 0.0
    drains: bool = False
    """Its agent says that it is to get no new connections."""

    def is_down(self, key: PoolKey) -> bool:
        """Whether it is seen to be down in a pool."""
        judgement = self.judgements.get(key)
        return judgement is not None and judgement.seen is Seen.DOWN

    @property
    def has_bad_port(self) -> bool:
        """Whether its connector does not work."""
        port = self.evidence.get((PORT, None))
        return port is not None and not port.is_up


def judge(before: Judgement, evidence: Iterable[Evidence], needed: Set[str], now: float) -> Judgement:
    """What is seen of a server by all that is said about it. `needed`: the sources that must say up for it to be up."""
    said = sorted(evidence, key=lambda each: (each.since, each.source))
    if bad := [each for each in said if not each.is_up]:
        if before.seen is not Seen.DOWN:
            return Judgement(Seen.DOWN, bad[0].reason, now, bad[0].source)
        return before if _is_said(before, bad) else replace(before, reason=bad[0].reason)
    if before.seen is not Seen.UP and needed and needed <= {each.source for each in said}:
        last = [each for each in said if each.source in needed][-1]
        return Judgement(Seen.UP, last.reason, now, last.source)
    return before


def _is_said(before: Judgement, bad: Iterable[Evidence]) -> bool:
    """Whether the reason for which it is down still is one."""
    return any(each.reason == before.reason for each in bad)
