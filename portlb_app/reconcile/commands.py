"""What the reconciler wants done."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from portlb_app.openflow import FlowFilter
from portlb_app.reconcile.happened import Happened
from portlb_app.reconcile.outcomes import Outcome, WishOutcome
from portlb_app.reconcile.plan import Verb
from portlb_app.topology.conditions import Conditions


@dataclass(frozen=True)
class ReadFile:
    """Read the configuration file; answered by FileRead."""

    ticket: int


@dataclass(frozen=True)
class Load:
    """Read and check a proposed text; answered by Loaded or TablesLost."""

    ticket: int
    text: str


@dataclass(frozen=True)
class Compile:
    """Make this the goal; answered by GoalCompiled or TablesLost. Of other goals only those in `keep` matter."""

    goal: int
    text: str
    conditions: Conditions
    keep: Collection[int]


@dataclass(frozen=True)
class Forget:
    """What was known of this switch is not true any more."""

    dpid: int


@dataclass(frozen=True)
class ReadState:
    """Read what the switch holds of ours; answered by StateRead, Refused or Interrupted."""

    dpid: int


@dataclass(frozen=True)
class Apply:
    """Do these stages of the switch's plan, all or none; answered by Applied, Refused or Interrupted."""

    dpid: int
    verbs: tuple[Verb, ...]


@dataclass(frozen=True)
class CountPackets:
    """Count the packets of a server that these flows of a switch have seen; answered by PacketsCounted."""

    dpid: int
    server: str
    filters: tuple[FlowFilter, ...]


@dataclass(frozen=True)
class ReportOutcome:
    """Say what became of the proposal with this ticket."""

    ticket: int
    outcome: Outcome


@dataclass(frozen=True)
class ReportWish:
    """Say what became of the overrides that were wanted with this ticket."""

    ticket: int
    outcome: WishOutcome


@dataclass(frozen=True)
class SaveOverrides:
    """Some overrides have ended: save those that there are now."""


@dataclass(frozen=True)
class Log:
    """Something the operator should be able to read later. `about`: what it is about, by name (`net.log_entry`)."""

    level: Literal["info", "warning", "error"]
    text: str
    about: Mapping[str, str] = field(default_factory=dict, compare=False)


_About = ReportOutcome | ReportWish | SaveOverrides | Log | Happened
Command = ReadFile | Load | Compile | Forget | ReadState | Apply | CountPackets | _About
