"""What happens to the reconciler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from portlb_app.backends.states import Evidence
from portlb_app.config import Config, Forwarding
from portlb_app.config.etag import ANY, Precondition
from portlb_app.config.overrides import Overrides
from portlb_app.net.heartbeat import Heartbeat
from portlb_app.openflow.messages import Port, PortCounts
from portlb_app.reconcile.double import Ends
from portlb_app.reconcile.results import Compiled, Mistakes, Read, Remaining


@dataclass(frozen=True)
class SwitchConnected:
    """A switch is connected; also if a new connection has silently replaced its old one.

    `ports`: its OpenFlow ports; None if it has not told.
    """

    dpid: int
    ports: Mapping[int, Port] | None = None


@dataclass(frozen=True)
class SwitchDisconnected:
    """A switch is gone, and so are requests in flight."""

    dpid: int


@dataclass(frozen=True)
class Claimed:
    """Another connection claimed the datapath id of one that is up and answers. It was refused."""

    dpid: int
    first: Ends
    second: Ends


@dataclass(frozen=True)
class PortsSeen:
    """Connected switches, by datapath id, describe their OpenFlow ports anew."""

    ports: Mapping[int, Mapping[int, Port]]


@dataclass(frozen=True)
class ServersSeen:
    """Sources say this about servers; `silent`: servers of which a source says nothing any more."""

    said: tuple[tuple[str, Evidence], ...] = ()
    silent: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class StateRead:
    """The answer to ReadState."""

    dpid: int
    read: Read
    ports: Mapping[int, PortCounts] = field(default_factory=dict)
    """What its ports have counted."""
    forwarding: Forwarding | None = None
    """Where it forwards; None if it does not tell."""


@dataclass(frozen=True)
class Applied:
    """The answer to Apply: the switch has committed all of it."""

    dpid: int
    remaining: Remaining


@dataclass(frozen=True)
class Refused:
    """A switch refuses ReadState or Apply. One line per error.

    It has taken nothing of a bundle.
    """

    dpid: int
    errors: tuple[str, ...]


@dataclass(frozen=True)
class Interrupted:
    """The answer to ReadState or Apply that was not finished, because the process with the tables ended."""

    dpid: int


@dataclass(frozen=True)
class ConfigProposed:
    """The configuration in this text shall become live; `ReportOutcome` carries the same ticket.

    No text: that of the file, as it is when its turn has come. That one waits as long as it takes.
    It may wait `turn` seconds for its turn. Then the switches have `patience` seconds for it, and more for what they
    must be told. `unverified`: it is wanted, too, if no switch is connected. `precondition` is about the configuration
    that is live when this one's turn has come, not when it was sent. `atomic`: all connected switches or none.
    """

    ticket: int
    text: str | None
    patience: float
    unverified: bool = False
    precondition: Precondition = ANY
    turn: float = 0.0
    atomic: bool = False
    change: str = ""
    """The id under which it is written down."""


@dataclass(frozen=True)
class FileRead:
    """The answer to ReadFile: a text, or why there is none. `change`: the id under which it is written down."""

    ticket: int
    read: str | Mistakes
    change: str = ""


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
class AgentsHeard:
    """Agents of these servers have said this since the last such event."""

    heartbeats: Mapping[str, Heartbeat]


@dataclass(frozen=True)
class OverridesWanted:
    """These overrides, which are saved, take the place of those before; `ReportWish` carries the same ticket.

    The switches have `patience` seconds for what follows.
    """

    ticket: int
    overrides: Overrides
    patience: float
    change: str = ""
    """The id under which it is written down."""


@dataclass(frozen=True)
class ReadWanted:
    """A switch is to be read now, and not by the timer."""

    dpid: int


@dataclass(frozen=True)
class PacketsCounted:
    """The answer to CountPackets; none comes from a switch that is lost over it."""

    server: str
    packets: int


@dataclass(frozen=True)
class ConnectionsOpen:
    """How many connections may be open at servers that drain, by the log of connections."""

    counts: Mapping[str, int]


@dataclass(frozen=True)
class Tick:
    """Time passes. `unix`: the time of day, in seconds since 1970."""

    unix: float | None = None


Event = (
    SwitchConnected
    | SwitchDisconnected
    | Claimed
    | PortsSeen
    | ServersSeen
    | StateRead
    | Applied
    | Refused
    | Interrupted
    | ConfigProposed
    | FileRead
    | Loaded
    | GoalCompiled
    | TablesLost
    | AgentsHeard
    | OverridesWanted
    | ReadWanted
    | PacketsCounted
    | ConnectionsOpen
    | Tick
)
