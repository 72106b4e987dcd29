"""Pools and their servers."""

from __future__ import annotations

from typing import Literal

from portlb_app.api.models import Count, Model, Port
from portlb_app.api.models.counters import Counter
from portlb_app.backends.states import Seen
from portlb_app.config import Legacy, Wanted


class PoolServer(Model):
    """One server of a pool."""

    name: str
    wanted: Wanted
    seen: Seen
    slots: Count | None
    """As the switches were read; of those that differ the most. None before any was."""
    wanted_slots: Count
    held: dict[str, Count]
    """Slots by switch, as it was read."""


class Pool(Model):
    """The servers of a redirect port, and their slots."""

    vip: str
    port: Port
    state: Literal["ok", "degraded", "fail_open", "empty", "unknown"]
    """Unknown: no switch was read yet, and nothing speaks against it."""
    slots: Count
    legacy: Legacy
    servers: list[PoolServer]
    counters: Counter | None
    """What its slots have delivered since the controller has started; null: it was not read yet."""


class Pools(Model):
    """Pools by VIP and port."""

    pools: list[Pool]
    next: str | None
    """The address of the next page; null for the last."""
