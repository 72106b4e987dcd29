"""Servers, and what is asked for them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, RootModel

from portlb_app.api.models import Count, Model, Moment, Port
from portlb_app.api.models.counters import BothWays
from portlb_app.api.models.history import Accepted
from portlb_app.backends.states import Seen
from portlb_app.config import Legacy, Wanted
from portlb_app.config.values import MAX_WEIGHT

Weight = Annotated[int, Field(ge=0, le=MAX_WEIGHT)]


class WantedState(Model):
    """What is wanted of a server, and by whom."""

    state: Wanted
    configured: Wanted
    """What the file says."""
    source: Literal["file", "override"]
    reason: str
    by: str
    since: Moment | None
    until: Moment | None
    deadline: Moment | None
    move: bool


class SeenState(Model):
    """What is seen of a server: the worst of its pools."""

    state: Seen
    reason: str
    since: Moment | None


class HeldPool(Model):
    """The slots that a server has of one pool."""

    vip: str
    port: Port
    of: Count
    wanted: Count
    held: dict[str, Count]


class HeldState(Model):
    """What the switches were read to have of a server."""

    state: Literal["slots", "none", "closed", "unknown"]
    slots: Count | None
    """None before any was read."""
    pools: list[HeldPool]


class WeightOverride(Model):
    """A weight in place of the file's."""

    value: Weight | Wanted
    reason: str
    by: str
    since: Moment
    until: Moment | None


class WeightState(Model):
    """A server's weight."""

    configured: Weight
    override: WeightOverride | None
    used: Weight


class DrainState(Model):
    """How far a server is that drains."""

    state: Literal["draining", "drained"]
    open: Count | None
    source: str | None
    since: Moment
    quiet_seconds: float | None
    reason: str


class ServerAgent(Model):
    """What a server's agent is like, beside the controller; null where it does not tell."""

    version: str | None
    clock_offset_seconds: float | None
    differs: list[Literal["addresses", "services", "announced"]] | None


class Server(Model):
    """One server: what is wanted, seen and held of it."""

    name: str
    vip: str
    connector: str
    wanted: WantedState
    seen: SeenState
    held: HeldState
    weight: WeightState
    drain: DrainState | None
    counters: BothWays
    agent: ServerAgent | None
    """Null: none is heard."""


class Servers(Model):
    """Servers by name."""

    servers: list[Server]
    next: str | None
    """The address of the next page; null for the last."""


class Sentence(Model):
    """One piece of evidence, in words."""

    about: str
    words: str
    since: Moment | None


class ServerWhy(Model):
    """Why a server gets new connections, or gets none."""

    server: str
    vip: str
    gets: Literal["all", "some", "none", "not yet"]
    """New connections: of all its pools, of some, of none, or of none before switches hold what is wanted."""
    answer: str
    because: list[Sentence]
    last_change: Sentence | None
    """The last event about it since the controller has started."""
    would_change: list[str]
    """What has to happen so that it gets all of them; each may be needed."""


class StateBody(Model):
    """A state for a server."""

    state: Wanted
    reason: Annotated[str, Field(max_length=200)] = ""
    by: Annotated[str, Field(max_length=100)] = ""
    until: Moment | None = None
    """When it ends by itself."""
    deadline: Moment | None = None
    """When connections that are open then are ended."""
    move: bool = False
    """Have open connections redirected by the server's agent."""
    force: bool = False
    """Also if a pool is left without a server, or connections end."""


class WeightBody(Model):
    """A weight for a server."""

    weight: Weight
    reason: Annotated[str, Field(max_length=200)] = ""
    by: Annotated[str, Field(max_length=100)] = ""
    until: Moment | None = None
    force: bool = False


class PoolChange(Model):
    """What becomes of a pool's slots."""

    vip: str
    port: Port
    slots: Count
    """How many it has afterwards."""
    moved: Count
    servers: dict[str, tuple[Count, Count]]
    """Slots of each server before and after."""
    plain: Legacy
    breaks_plain: bool
    """Whether connections of plain clients on the slots that move break."""
    udp_slots_moved: Count


class SwitchSteps(Model):
    """What a switch would be told."""

    add: Count
    modify: Count
    delete: Count
    steps: list[str] | None = None
    """The first 1,000, with ``?steps=1``."""


class WishDryRun(Model):
    """What would change."""

    server: str
    dry_run: Literal[True]
    says: list[str]
    switches: dict[str, SwitchSteps | None]
    """Null: the switch is not connected, or was not read yet."""
    pools: list[PoolChange]


class WishDone(Server):
    """What has changed, and the server as it is now."""

    server: str
    dry_run: Literal[False]
    says: list[str]
    absent: list[str]
    """Switches that are not connected, and get it later."""
    pools: list[PoolChange]


class WishLater(RootModel[WishDone | Accepted]):
    """It stands, and no switch was read to have it yet; or the client does not wait, and it goes on."""


class WishAnswer(RootModel[WishDone | WishDryRun]):
    """What has changed, or, for a dry run, would change."""
