"""Connections and health checks."""

from __future__ import annotations

from typing import Literal

from portlb_app.api.models import Count, Model, Port
from portlb_app.api.models.status import LostCopies
from portlb_app.health.probe import Verdict
from portlb_app.punt.records import EndReason


class Connection(Model):
    """One record; null is what is not known. Times are Unix seconds."""

    vip: str
    client: str
    client_port: Port
    opened_on: Port | None
    continued_on: Port | None
    server: str | None
    opened: float | None
    closed: float | None
    how: EndReason | None


class Connections(Model):
    """Connections, newest first."""

    connections: list[Connection]
    next: str | None
    """The address of the next page; null for the last."""
    lost: LostCopies


class Result(Model):
    """What a check said last. `at`: Unix seconds."""

    verdict: Verdict
    reason: str
    at: float


class Check(Model):
    """One health check."""

    server: str
    vip: str
    ports: list[Port]
    version: Literal[4, 6]
    check: str
    up: bool | None
    streak: int
    """Results in a row: positive for those that passed."""
    needed: Count
    last: Result | None
    reason: str | None
    held: str | None


class Checks(Model):
    """All health checks, and how many packets they took."""

    counts: dict[str, Count]
    checks: list[Check]
    next: str | None
    """The address of the next page; null for the last."""
