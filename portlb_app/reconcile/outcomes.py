"""What becomes of a proposed configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from portlb_app.reconcile.happened import Evidence
from portlb_app.reconcile.results import SHOWN, Mistakes

MISTAKES_TOLD = 20
"""Mistakes of a proposal that are written down."""
SHOWN_NAMES = 16


Landed = Literal["has it", "late", "lost", "absent", "in error"]
"""What a switch of a configuration that became live made of it: it has it; it has not taken it in time; it was lost
meanwhile; it was not connected; it refuses everything, and did before. All but the first get it when they take it."""


@dataclass(frozen=True)
class Live:
    """The proposed configuration is live. `verified`: some switch has it, else none was connected.

    `landed`: what each of its switches made of it, by name.
    """

    verified: bool = True
    landed: Mapping[str, Landed] = field(default_factory=dict, compare=False)

    @property
    def is_everywhere(self) -> bool:
        """Whether all switches that were connected have it."""
        return self.verified and not {"late", "lost"} & {*self.landed.values()}


@dataclass(frozen=True)
class RefusedBySwitches:
    """Withdrawn: these switches refused, each with its errors. The last good configuration stays live."""

    reasons: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class LostSwitches:
    """Withdrawn: these switches were connected when the trial began and are not any more. The last good one stays."""

    switches: tuple[str, ...]


@dataclass(frozen=True)
class TimedOut:
    """Withdrawn: these switches did not get there within so many seconds. The last good configuration stays live."""

    waiting: tuple[str, ...]
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class Mistaken:
    """Not tried: the text has these mistakes."""

    mistakes: Mistakes


@dataclass(frozen=True)
class NotComputed:
    """Not tried, or withdrawn: it cannot be compiled, and why."""

    reason: str


@dataclass(frozen=True)
class NoSwitch:
    """Not tried: no switch is connected that could show that it works."""


@dataclass(frozen=True)
class Outdated:
    """Not tried: the live configuration is not the one that the proposal was to replace."""


@dataclass(frozen=True)
class Busy:
    """Not tried: another configuration is on trial, and too many wait for their turn already, or this one does not."""


@dataclass(frozen=True)
class TurnMissed:
    """Not tried: its turn did not come within so many seconds."""

    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class Ended:
    """The controller ended before it was known what becomes of it: the file is as it was."""


_NotTried = Mistaken | NotComputed | NoSwitch | Busy | TurnMissed | Outdated
Outcome = Live | RefusedBySwitches | LostSwitches | TimedOut | Ended | _NotTried


@dataclass(frozen=True)
class Carried:
    """All connected switches have what was wished for. `absent`: those of the configuration that are not connected."""

    absent: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lacking:
    """These connected switches do not have what was wished for within so many seconds, each with its errors.

    The wish stands: they get it as soon as they take it.
    """

    switches: Mapping[str, tuple[str, ...]]
    seconds: float = field(default=0.0, compare=False)


WishOutcome = Carried | Lacking | Ended


def told(outcome: Outcome) -> tuple[str, str, Evidence]:
    """What became of a proposal: a word, a sentence, and what each switch says about it."""
    match outcome:
        case Live(verified, landed):
            lacking = {name: [each] for name, each in landed.items() if each != "has it"}
            if verified:
                return "live", "it is live", {"switches": lacking} if lacking else {}
            return "unverified", "it is live; no switch has shown it", {}
        case RefusedBySwitches(reasons):
            switches = {name: list(errors[:SHOWN]) for name, errors in reasons.items()}
            return "refused", "a switch refused it", {"switches": switches}
        case LostSwitches(lost):
            return "lost", "a switch was lost while it was tried", {"switches": {name: [] for name in lost}}
        case TimedOut(waiting, seconds):
            reason = f"it did not get to all switches within {seconds:.0f} s"
            return "timed_out", reason, {"switches": {name: [] for name in waiting}}
        case Mistaken(mistakes):
            listed = [{"path": each.path, "message": each.message} for each in mistakes.problems[:MISTAKES_TOLD]]
            return "invalid", f"it has {len(mistakes.problems)} mistakes", {"errors": listed}
        case NotComputed(reason):
            return "not_computed", f"it cannot be compiled: {reason}", {}
        case NoSwitch():
            return "no_switch", "no switch is connected that could show that it works", {}
        case Outdated():
            return "outdated", "the live one was not the one that it was to replace", {}
        case Busy():
            return "busy", "another one was on trial", {}
        case TurnMissed(seconds):
            return "turn_missed", f"its turn did not come within {seconds:.0f} s", {}
    return "ended", "the controller ended before it was known what becomes of it", {}


def told_of_wish(outcome: WishOutcome) -> tuple[str, str, Evidence]:
    """The same of a wish."""
    match outcome:
        case Carried(absent):
            later = f"; not connected, and to get it later: {', '.join(absent[:SHOWN_NAMES])}" if absent else ""
            return "carried_out", f"all connected switches have it{later}", {}
        case Lacking(switches, seconds):
            listed = {name: list(errors[:SHOWN]) for name, errors in switches.items()}
            return "lacking", f"some switches did not take it within {seconds:.0f} s; it stands", {"switches": listed}
    return "saved", "the controller ended before switches had it; they get it when it is started again", {}
