"""What is asked for several servers as one."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, RootModel

from portlb_app.api.models import Model, Moment
from portlb_app.api.models.history import Accepted
from portlb_app.api.models.servers import PoolChange, Server, SwitchSteps, Weight
from portlb_app.config import Wanted
from portlb_app.config.overrides import MAX_OVERRIDES


class ServerValues(Model):
    """Values for one server: a state, a weight, or both. Null: the file's."""

    state: Wanted | None = None
    weight: Weight | None = None
    deadline: Moment | None = None
    """When connections that are open then are ended."""
    move: bool = False
    """Have open connections redirected by the server's agent."""


class Selection(Model):
    """The servers that have all of this in common; something has to be said."""

    vip: str | None = None
    pool: str | None = None
    """A pool that they are in, such as ``web:22``."""
    switch: str | None = None
    connector: str | None = None
    """Where they are attached, such as ``s1:2``."""


class BatchBody(Model):
    """Values by the names of servers; or a selection, and what is to be set for those that are selected."""

    servers: Annotated[dict[str, ServerValues], Field(min_length=1, max_length=MAX_OVERRIDES)] | None = None
    select: Selection | None = None
    set: ServerValues | None = None
    reason: Annotated[str, Field(max_length=200)] = ""
    by: Annotated[str, Field(max_length=100)] = ""
    until: Moment | None = None
    """When all of it ends by itself."""
    force: bool = False
    """Also if a pool is left without a server, or connections end."""


class BatchDryRun(Model):
    """What would change."""

    servers: list[str]
    dry_run: Literal[True]
    says: list[str]
    switches: dict[str, SwitchSteps | None]
    """Null: the switch is not connected, or was not read yet."""
    pools: list[PoolChange]


class BatchDone(Model):
    """What has changed, and the servers as they are now."""

    dry_run: Literal[False]
    says: list[str]
    absent: list[str]
    """Switches that are not connected, and get it later."""
    servers: list[Server]
    pools: list[PoolChange]


class BatchLater(RootModel[BatchDone | Accepted]):
    """It stands, and no switch was read to have it yet; or the client does not wait, and it goes on."""


class BatchAnswer(RootModel[BatchDone | BatchDryRun]):
    """What has changed, or, for a dry run, would change."""
