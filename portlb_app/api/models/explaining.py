"""Where a packet goes, and why."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from portlb_app.api.models import Count, Model
from portlb_app.pipeline import SLOTS

Slot = Annotated[int, Field(ge=0, lt=SLOTS)]


class ExplainBody(Model):
    """Which packet is meant."""

    packet: Annotated[str, Field(max_length=500)]
    """In the packet language (docs/explain.md)."""
    slot: Slot | None = None
    """The slot that the packet has, where that is known."""


class Change(Model):
    """A field that is not what it was, as ovs-ofctl writes it."""

    field: str
    before: str
    after: str


class Exit(Model):
    """Where the packet, or a copy of it, gets."""

    kind: Literal["server", "network", "link", "host", "unknown", "controller", "copy", "stopped"]
    words: str
    name: str = ""
    """The server, or the switch at the other end of the link."""
    switch: str = ""
    """The switch that it leaves, by `port`."""
    port: str = ""
    changed: list[Change] = []
    """What is not as it was when it came in."""


class Why(Model):
    """The flow that a packet finds in a table."""

    switch: str
    table: str
    flow: str | None
    """As ovs-ofctl writes it; null: none matches."""
    cookie: str = ""
    reason: str | None = None
    why: str
    origin: str
    """What the cookie says."""
    vip: str
    path: str
    """The part of the configuration that it comes from; empty where that is no part in particular."""
    actions: str = ""
    as_desired: bool
    """Whether the switch is meant to have such a flow."""
    unread: Count = 0
    """Flows of the table that match what is not understood."""


class Outcome(Model):
    """What becomes of a packet with one of these slots."""

    slots: Count
    among: Count
    which: str
    """Their numbers; empty where no slot decides."""
    exits: list[Exit]
    dropped: list[Why]
    """The lookups in which nothing happened, if the packet gets nowhere: the last one drops it."""


class Enters(Model):
    """The packet comes in by a port of a switch. `depth`: of the tree of what happens."""

    kind: Literal["enters"]
    depth: Count
    switch: str
    port: str
    words: str


class Looked(Why):
    """The packet is looked up in a table, and the flow changes this."""

    kind: Literal["table"]
    depth: Count
    changed: list[Change]


class Chosen(Model):
    """Slots of a group that do the same."""

    kind: Literal["choice"]
    depth: Count
    switch: str
    group: Count
    slots: Count
    of: Count
    which: str
    server: str
    """Whose slots they are."""
    watched: str | None
    """The port without which other slots get the packet."""
    actions: str


class Leaves(Model):
    """The packet leaves a switch."""

    kind: Literal["leaves"]
    depth: Count
    switch: str
    port: str
    words: str


class Said(Model):
    """Something else happens."""

    kind: Literal["controller", "conntrack", "copy", "stopped"]
    depth: Count
    switch: str
    words: str


Step = Annotated[Enters | Looked | Chosen | Leaves | Said, Field(discriminator="kind")]


class Start(Model):
    """The packet where it comes in, what may become of it, and what happens to it, in order."""

    switch: str
    port: str
    place: str
    fields: dict[str, str]
    outcomes: list[Outcome]
    steps: list[Step]


class Explained(Model):
    """A packet, followed from every network side where it may come in."""

    packet: str
    slot: Slot | None
    starts: list[Start]
