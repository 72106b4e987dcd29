"""The phases of a switch as the reconciler sees it, and the only ways from one to another."""

from __future__ import annotations

import enum
from collections.abc import Mapping


class Phase(enum.Enum):
    """Where a switch is in its round. At most one request to it is in flight: a read or an apply."""

    ABSENT = "absent"
    """It is not connected."""
    UNREAD = "unread"
    """What it holds is not known, or not compared with the goal: it must be read."""
    READING = "reading"
    """A read is in flight."""
    PENDING = "pending"
    """What it lacks is known, and waits for its rank in the rollout."""
    APPLYING = "applying"
    """A change is in flight."""
    DUE = "due"
    """It lacks nothing as far as is known, and is read when the rollout is done: after a change, or by the timer."""
    SYNCED = "synced"
    """It holds what the goal asks of it."""
    FAILED = "failed"
    """It refused, or took a change without effect: the timer tries again."""


class Change(enum.Enum):
    """What moves a switch from one phase to another."""

    CONNECTED = "it connects, again perhaps"
    DISCONNECTED = "it disconnects"
    READ = "a read is sent"
    APPLY = "a change is sent"
    EQUAL = "the read shows no difference"
    DIFFERENT = "the read shows a difference"
    STALE = "the answer is not about the goal"
    TOOK_PART = "it took a stage; others are left"
    TOOK_ALL = "it took the last stage"
    REFUSED = "it refuses, or still differs"
    REPLANNED = "a new goal asks something of it"
    CONFIRM = "a new goal asks nothing more of it than it took"
    UNCHANGED = "a new goal asks nothing of it"
    UNKNOWN = "what it holds is not known any more"
    TIMER = "its interval is over"


_PHASES: Mapping[Phase, Mapping[Change, Phase]] = {
    Phase.ABSENT: {},
    Phase.UNREAD: {
        Change.READ: Phase.READING,
    },
    Phase.READING: {
        Change.EQUAL: Phase.SYNCED,
        Change.DIFFERENT: Phase.PENDING,
        Change.STALE: Phase.UNREAD,
        Change.REFUSED: Phase.FAILED,
    },
    Phase.PENDING: {
        Change.APPLY: Phase.APPLYING,
        Change.REPLANNED: Phase.PENDING,
        Change.CONFIRM: Phase.DUE,
        Change.UNCHANGED: Phase.SYNCED,
        Change.UNKNOWN: Phase.UNREAD,
    },
    Phase.APPLYING: {
        Change.TOOK_PART: Phase.PENDING,
        Change.TOOK_ALL: Phase.DUE,
        Change.STALE: Phase.UNREAD,
        Change.REFUSED: Phase.FAILED,
    },
    Phase.DUE: {
        Change.READ: Phase.READING,
        Change.REPLANNED: Phase.PENDING,
        Change.CONFIRM: Phase.DUE,
        Change.UNCHANGED: Phase.SYNCED,
        Change.UNKNOWN: Phase.UNREAD,
    },
    Phase.SYNCED: {
        Change.TIMER: Phase.DUE,
        Change.REPLANNED: Phase.PENDING,
        Change.UNCHANGED: Phase.SYNCED,
        Change.UNKNOWN: Phase.UNREAD,
    },
    Phase.FAILED: {
        Change.TIMER: Phase.DUE,
        Change.REPLANNED: Phase.PENDING,
        Change.UNCHANGED: Phase.SYNCED,
        Change.UNKNOWN: Phase.UNREAD,
    },
}
TRANSITIONS: Mapping[tuple[Phase, Change], Phase] = {
    **{(phase, Change.CONNECTED): Phase.UNREAD for phase in Phase},
    **{(phase, Change.DISCONNECTED): Phase.ABSENT for phase in Phase if phase is not Phase.ABSENT},
    **{(phase, change): after for phase, changes in _PHASES.items() for change, after in changes.items()},
}
"""Every transition there is."""
FREE = frozenset({Phase.UNREAD, Phase.PENDING, Phase.DUE})
"""Phases in which something is to be sent to the switch."""
