"""VIPs, slots, switches and their tables."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from portlb_app.api.models import Count, Model, Port
from portlb_app.api.models.counters import BothWays, OfPorts
from portlb_app.api.models.pools import Pool
from portlb_app.api.models.status import Link, Switch
from portlb_app.config import Rewrite, Signal

PoolWord = Literal["ok", "degraded", "fail_open", "empty"]


class Vip(Model):
    """One VIP. Its state is that of its worst pool."""

    name: str
    addresses: list[str]
    mac: str
    number: Count
    """The one in cookies."""
    rewrite: Rewrite
    default_server: str | None
    log: bool
    state: PoolWord
    ports: dict[str, PoolWord]
    """The states of its pools, by redirect port."""
    servers: list[str]
    counters: BothWays


class Vips(Model):
    """VIPs by name."""

    vips: list[Vip]
    next: str | None
    """The address of the next page; null for the last."""


class Quality(Model):
    """How packets are marked and bounded; null: they are not."""

    dscp: Count | None
    queue: Count | None
    rate: Count | None


class VipPort(Pool):
    """One pool with its policies."""

    signal: Signal
    selection: str
    slow_start: Count
    """Seconds."""
    second_chance: Count
    """Seconds; 0 for none."""
    quality: Quality


class PoolTables(Model):
    """The server of each slot."""

    vip: str
    port: Port
    wanted: list[str]
    held: dict[str, list[str | None] | None]
    """By switch, as it was read: null for a server that the configuration does not name, or for a switch not read."""


class Plan(Model):
    """What a switch still lacks."""

    steps: Count
    first: list[str]


class SwitchWithPlan(Switch):
    """One switch, and what it still lacks; null if that is not known."""

    plan: Plan | None
    counters: OfPorts | None


class Switches(Model):
    """Switches by name."""

    switches: list[SwitchWithPlan]
    next: str | None


class Links(Model):
    """Links by name."""

    links: list[Link]
    next: str | None


class Cookie(Model):
    """What a cookie says."""

    value: Annotated[str, Field(pattern="^0x[0-9a-f]{16}$")]
    reason: str | None
    vip: str | None
    port: Port | None


class Entry(Model):
    """One flow, group or meter. Flows have a table and a cookie."""

    kind: Literal["flow", "group", "meter"]
    text: str
    """As ovs-ofctl writes it."""
    table: str | None = None
    cookie: Cookie | None = None


class EntryCounts(Model):
    """All entries, in numbers."""

    flows: Count
    groups: Count
    meters: Count


class Entries(Model):
    """Some entries of a switch, in the order of packets."""

    switch: str
    which: Literal["held", "wanted"]
    counts: EntryCounts
    entries: list[Entry]
    next: str | None


class Resynced(Model):
    """A switch is read, and put right where it differs."""

    switch: str
    state: Literal["reading", "applying", "synced", "error"]
