"""The whole status."""

from __future__ import annotations

from typing import Literal

from portlb_app.api.models import Count, Model, Slots
from portlb_app.backends.states import Seen
from portlb_app.config import Forwarding, Wanted
from portlb_app.reconcile.outcomes import Landed


class Problem(Model):
    """Something that needs a person. `seconds`: since when, if that is known. `to_do`: what helps; may be empty."""

    kind: Literal["configuration", "switch", "pool", "server", "link"]
    name: str
    """Of the thing that has it; empty for the configuration."""
    severity: Literal["bad", "warning"]
    """Bad: packets are lost or may be."""
    word: str
    """What it is, in short."""
    words: str
    seconds: float | None
    to_do: str


class SwitchPort(Model):
    """A port of the configuration that is not as it should be."""

    number: int
    name: str | None
    use: str
    problem: str


class ForeignFlow(Model):
    """A flow of others that takes packets before flows of portlb's."""

    table: Count
    table_name: str
    priority: Count
    match: str
    """Empty: all packets."""
    cookie: str
    ours: str
    """The first of portlb's flows that it is found before."""
    count: Count
    """How many of these there are."""


class ForeignFlows(Model):
    """The flows of others in portlb's tables: how many, not looked at, and found before flows of portlb's."""

    flows: Count
    unread: Count
    shadowing: Count
    shadows: list[ForeignFlow]
    """The first of those, at most 20."""


class Switch(Model):
    """One switch of the configuration."""

    name: str
    dpid: str
    """Its datapath id, hexadecimal."""
    state: Literal["absent", "reading", "applying", "synced", "error"]
    flows: Count | None
    """Entries of ours, as they were last read; None if they never were."""
    groups: Count | None
    meters: Count | None
    metered: dict[str, Count]
    """Packets that it kept from being handed up, by reason."""
    drift: Count
    """Entries of ours that others have changed, and that were put right."""
    errors: list[str]
    ports: list[SwitchPort]
    datapath: Forwarding | None
    """Where it forwards, as far as it tells."""
    foreign: ForeignFlows | None
    """Null: it was not read since it connected."""
    read_age_seconds: float | None


class Link(Model):
    """One link."""

    ends: tuple[str, str]
    up: bool
    """It is used."""
    seen: Literal["up", "down", "unknown"]
    """Unknown: it is used, as no switch has said anything about it."""
    hold_seconds: float
    """How long it must stay up before it is used again."""


class HeldSlots(Model):
    """What some switches hold of a pool."""

    switches: list[str]
    slots: Slots
    differ: Count


class Missing(Model):
    """Why a server is missing from a pool."""

    wanted: Wanted
    seen: Seen
    reason: str
    seconds: float


class PoolSlots(Model):
    """The slots of a pool; `port` is null for all servers of a VIP."""

    vip: str
    port: int | None
    slots: Slots
    held: list[HeldSlots]
    missing: dict[str, Missing]
    fails_open: bool


class PerSecond(Model):
    """What happens in a second at a server."""

    openings: float
    short: float
    resets: float
    overflow: float


class Pressure(Model):
    """Parts of the time for which tasks of a server wait; null: not known."""

    cpu: float | None
    io: float | None


class Agent(Model):
    """What a server's agent said last."""

    server: str
    state: Literal["ready", "drain", "down"]
    can: list[str]
    open: Count
    ports: dict[str, Count]
    per_second: PerSecond
    pressure: Pressure
    moved: Count
    left: Count
    version: str | None
    """Of its portlb; null: it does not tell."""
    clock_offset_seconds: float | None
    """How much its clock is ahead of the controller's."""
    differs: list[Literal["addresses", "services", "announced"]] | None
    """What it serves otherwise than the configuration says."""
    age_seconds: float


class RefusedConnection(Model):
    """An OpenFlow connection that broke a rule."""

    address: str
    reason: str


class RefusedConnections(Model):
    """All of them, and the last ones."""

    count: Count
    last: list[RefusedConnection]


class LostCopies(Model):
    """What the log of connections lacks, and why."""

    metered: Count
    queue: Count
    forgotten: Count


class ConnectionCounts(Model):
    """The log of connections in numbers."""

    open: Count
    ended: Count
    counts: dict[str, Count]
    lost: LostCopies


class Status(Model):
    """The whole status."""

    version: str
    generation: Count
    """How many configurations have become live since the controller started."""
    etag: str
    """The entity tag of the live configuration's text."""
    configuration: Literal["verified", "unverified"]
    problem: str | None
    """Why the live configuration cannot be compiled."""
    problems: list[Problem]
    """What needs a person, worst first."""
    switches: list[Switch]
    links: list[Link]
    pools: list[PoolSlots]
    agents: list[Agent]
    unknown_switches: list[str]
    refused_connections: RefusedConnections
    punted: dict[str, dict[str, Count]]
    """Packets that switches handed up, by reason and what became of them."""
    unsent: Count
    connections: ConnectionCounts


class Applied(Status):
    """A configuration is live; the whole status."""

    landed: dict[str, Landed]
    """What each switch of the configuration has made of it."""
