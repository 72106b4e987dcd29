"""The body of every answer that says what is wrong."""

from __future__ import annotations

from typing import Literal

from portlb_app.api.models import Model
from portlb_app.api.models.pools import PoolServer
from portlb_app.api.models.servers import PoolChange
from portlb_app.api.problem_details import KINDS


class Mistake(Model):
    """One mistake."""

    path: str
    """Where, such as ``servers.a.connector``; empty for the whole text."""
    message: str


class PoolLeft(Model):
    """A pool that would be left without a server that serves."""

    vip: str
    port: int
    servers: list[PoolServer]


class ProblemBody(Model):
    """Problem details (RFC 9457)."""

    type: Literal[tuple(f"/docs/problems#{slug}" for slug in KINDS)]  # type: ignore[valid-type]
    """A path in the documents: which kind of problem it is."""
    title: str
    status: int
    detail: str
    """What is wrong this time."""
    error: str
    """The same as `detail`, for clients of earlier versions."""
    instance: str | None = None
    """The change that this is about."""
    errors: list[Mistake] | None = None
    """Every mistake of a configuration or of a request."""
    switches: dict[str, list[str]] | list[str] | None = None
    """The switches that it is about, and what they say."""
    current_etag: str | None = None
    """The entity tag of what is live."""
    etag: str | None = None
    """The same, for clients of earlier versions."""
    diff: str | None = None
    """A unified diff from the configuration that the request means by If-Match to the live one, if that is kept."""
    says: list[str] | None = None
    """What was changed all the same."""
    pools: list[PoolLeft] | list[PoolChange] | None = None
