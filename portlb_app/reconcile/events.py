"""What happens to the reconciler (events), what it wants done (commands), and what there is to tell (status)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from portlb_app.config import Config, Link
from portlb_app.config.etag import ANY, Precondition
from portlb_app.openflow.messages import Port
from portlb_app.reconcile.plan import Verb
from portlb_app.reconcile.ports import PortProblem
from portlb_app.reconcile.tables import Compiled, Mistakes, Read, Told
from portlb_app.topology.conditions import AS_CONFIGURED, Conditions
from portlb_app.topology.links import End

NO_CONFIG = Config((), (), ())
"""A configuration of nothing."""

State = Literal["absent", "reading", "applying", "synced", "error"]


@dataclass(frozen=True, eq=False)
class Configuration:
    """A configuration's text and what it means, and the conditions it is to be compiled under."""

    text: str
    config: Config = NO_CONFIG
    conditions: Conditions = AS_CONFIGURED

    def under(self, conditions: Conditions) -> Configuration:
        """The same configuration under these conditions, as far as they are about it."""
        conditions = conditions.of(self.config)
        return self if conditions == self.conditions else replace(self, conditions=conditions)

    @cached_property
    def names(self) -> Mapping[int, str]:
        """Its switches' names by datapath id."""
        return {switch.dpid: switch.name for switch in self.config.switches}

    @cached_property
    def ends(self) -> Mapping[Link, tuple[End, End]]:
        """Both ends of every link, as switches know them."""
        dpids = {switch.name: switch.dpid for switch in self.config.switches}
        return {
            link: ((dpids[link.one.switch], link.one.port), (dpids[link.other.switch], link.other.port))
            for link in self.config.links
        }


# ---- status ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SwitchStatus:
    """One configured switch. Counts are of what was last read; `read_age` is in seconds, None if it never was read.

    `metered`: how many packets each of our meters, by its number, has kept from being handed up since it was made.
    `ports`: ports of the configuration that are not as they should be; empty while it is not connected.
    """

    name: str
    dpid: int
    state: State
    flows: int
    groups: int
    meters: int
    drift: int
    errors: tuple[str, ...]
    read_age: float | None
    metered: Mapping[int, int] = field(default_factory=dict)
    ports: tuple[PortProblem, ...] = ()


@dataclass(frozen=True)
class LinkStatus:
    """One configured link. `up`: it is used. `hold`: seconds it must stay up before it is used again, if it is not."""

    link: Link
    up: bool
    hold: float = 0.0


@dataclass(frozen=True)
class LinkStatuses:
    """The status of every link, made when it is asked for: there may be thousands. `holds`: of those that are down."""

    links: tuple[Link, ...] = ()
    holds: Mapping[Link, float] = field(default_factory=dict)

    def __iter__(self) -> Iterator[LinkStatus]:
        return (LinkStatus(link, link not in self.holds, self.holds.get(link, 0.0)) for link in self.links)


@dataclass(frozen=True)
class Status:
    """Everything. `generation` counts configurations that became live; `unknown` are connected but not configured.

    `verified`: a switch was seen to hold what the live configuration asks of it. `problem`: why switches do not get
    what the live configuration asks of them, if it cannot be compiled.
    """

    generation: int
    switches: tuple[SwitchStatus, ...]
    unknown: tuple[int, ...]
    links: Iterable[LinkStatus] = ()
    verified: bool = True
    problem: str = ""


# ---- events ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SwitchConnected:
    """A switch can be talked to; also after it was silently replaced by a new connection.

    `ports`: its OpenFlow ports; None if it has not told.
    """

    dpid: int
    ports: Mapping[int, Port] | None = None


@dataclass(frozen=True)
class SwitchDisconnected:
    """A switch is gone, with whatever was in flight."""

    dpid: int


@dataclass(frozen=True)
class PortsSeen:
    """Connected switches, by datapath id, tell anew which OpenFlow ports they have."""

    ports: Mapping[int, Mapping[int, Port]]


@dataclass(frozen=True)
class StateRead:
    """The answer to ReadState."""

    dpid: int
    read: Read


@dataclass(frozen=True)
class Applied:
    """The answer to Apply: the switch has committed all of it."""

    dpid: int
    told: Told


@dataclass(frozen=True)
class Refused:
    """The answer to ReadState or Apply of a switch that would not. One line per error.

    Nothing of a bundle is in it.
    """

    dpid: int
    errors: tuple[str, ...]


@dataclass(frozen=True)
class Interrupted:
    """The answer to ReadState or Apply that was not finished, because the process with the tables ended."""

    dpid: int


@dataclass(frozen=True)
class ConfigProposed:
    """Somebody wants the configuration in this text to be live; the Answer carries the same ticket.

    The switches have `patience` seconds for it, and more for what they must be told. `unverified`: it is wanted, too,
    if no switch is connected. `precondition` is about the configuration that is live when this one's turn has come, not
    when it was sent.
    """

    ticket: int
    text: str
    patience: float
    unverified: bool = False
    precondition: Precondition = ANY


@dataclass(frozen=True)
class Loaded:
    """The answer to Load."""

    ticket: int
    loaded: Config | Mistakes


@dataclass(frozen=True)
class GoalCompiled:
    """The answer to Compile."""

    goal: int
    compiled: Compiled | Mistakes


@dataclass(frozen=True)
class TablesLost:
    """The process with the tables has ended, and another one, which knows nothing, takes its place."""

    reason: str


@dataclass(frozen=True)
class Tick:
    """Time passes."""


Event = (
    SwitchConnected
    | SwitchDisconnected
    | PortsSeen
    | StateRead
    | Applied
    | Refused
    | Interrupted
    | ConfigProposed
    | Loaded
    | GoalCompiled
    | TablesLost
    | Tick
)


# ---- commands --------------------------------------------------------------------------------------------------------


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
class Live:
    """The proposed configuration is live. `verified`: all connected switches have it, else none was connected."""

    verified: bool = True


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
    """Not tried: another configuration is on trial."""


@dataclass(frozen=True)
class Ended:
    """The controller ended before it was known what becomes of it: the file is as it was."""


_NotTried = Mistaken | NotComputed | NoSwitch | Busy | Outdated
Outcome = Live | RefusedBySwitches | LostSwitches | TimedOut | Ended | _NotTried


@dataclass(frozen=True)
class Answer:
    """What became of the proposal with this ticket."""

    ticket: int
    outcome: Outcome


@dataclass(frozen=True)
class Log:
    """Something the operator should be able to read later."""

    level: Literal["info", "warning", "error"]
    text: str


Command = Load | Compile | Forget | ReadState | Apply | Answer | Log
