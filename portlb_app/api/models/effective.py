"""Values that are used, and where they come from."""

from __future__ import annotations

from typing import Any, Literal

from portlb_app.api.models import Count, Model, Moment
from portlb_app.api.models.servers import Weight


class InPlace(Model):
    """What is in place of the configuration's value."""

    replaced: Any
    """The configuration's value."""
    reason: str
    by: str
    since: Moment
    until: Moment | None


class Member(Model):
    """What a pool makes of one of its servers."""

    server: str
    weight: Weight
    """0 for one that drains, or is taken out."""
    slots: Count
    """Those that it is to have now."""
    reason: str


class Value(Model):
    """One value."""

    path: str
    """Where it is in the configuration, such as ``servers.a.weight``."""
    value: Any
    source: Literal["file", "default", "override"]
    override: InPlace | None
    used: list[Member] | None
    """Of the servers of a pool: what becomes of them. Null for every other value."""


class Effective(Model):
    """Values by their paths."""

    etag: str
    """The entity tag of the configuration."""
    values: list[Value]
    next: str | None
