"""Events and changes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from portlb_app.api.history import Source, What
from portlb_app.api.models import Count, Model
from portlb_app.reconcile.happened import Kind


class Event(Model):
    """A state that was one thing and is another."""

    id: str
    at: float
    """Unix seconds."""
    kind: Kind
    object: str
    """What it is about, by name."""
    before: str | None = Field(alias="from")
    to: str
    reason: str
    evidence: dict[str, Any]
    change: int | None
    """The change of the configuration or of an override that led to it."""


class Events(Model):
    """Events, oldest first."""

    events: list[Event]
    reset: bool
    """The cursor is of another boot, or what came after it is not kept any more: something may be missing."""
    last: str
    """The cursor for what comes after these."""
    next: str | None
    """Where more are, if there are more now."""


class OnSwitch(Model):
    """What became of a change on one switch."""

    state: str
    errors: list[str]


class Change(Model):
    """One change of the configuration, or of an override."""

    id: int
    what: What
    source: Source
    subject: str
    by: str
    came_from: str = Field(alias="from")
    at: float
    """Unix seconds."""
    seconds: float | None
    config: str
    """The configuration, by the digits of its entity tag; for an override the one it is over."""
    before: str
    """The one that was live."""
    outcome: str
    reason: str
    switches: dict[str, OnSwitch]


class Accepted(Model):
    """A change that the client does not wait for: under it is found what becomes of it."""

    change: Count
    href: str


class Changes(Model):
    """Changes, the last one first."""

    changes: list[Change]
    next: str | None
    """Where those before are, if there are some."""


class WholeChange(Change):
    """One change, with the text of its configuration and what that changed."""

    text: str | None
    """Null where it is not kept any more, or damaged; `problem` says so."""
    diff: str | None
    """A unified diff from the one that was live before; null where one of both is not there, or they are too long."""
    problem: Literal[""] | str
