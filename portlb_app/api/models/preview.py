"""What a dry run says."""

from __future__ import annotations

from typing import Literal

from pydantic import RootModel

from portlb_app.api.models import Count, Model, Port
from portlb_app.api.models.history import Accepted
from portlb_app.api.models.problem import Mistake
from portlb_app.api.models.servers import SwitchSteps
from portlb_app.api.models.status import Applied
from portlb_app.config import Legacy


class PoolMoves(Model):
    """A pool whose slots change."""

    vip: str
    port: Port
    slots: Count
    moved: Count
    least_possible: Count
    """Slots that must move at least, so that each server has as many as it is to have."""
    servers: dict[str, tuple[Count, Count]]
    """Slots of each server before and after."""
    plain: Legacy
    breaks_plain: bool
    """Whether connections of plain clients on the slots that move break."""
    udp_slots_moved: Count
    redirected_connections_broken: Literal[0]
    """Redirected connections name their server: they do not depend on slots."""


class DryRun(Model):
    """What a configuration would change."""

    dry_run: Literal[True]
    changes: bool
    switches: dict[str, SwitchSteps | None]
    """Null: the switch is not connected, or was not read yet."""
    pools: list[PoolMoves]
    service_ports_lost: dict[str, list[Port]]
    """By server the ports that do not lead to it any more: redirected connections that continue on them end."""
    warnings: list[Mistake]


class ConfigLater(RootModel[Applied | Accepted]):
    """The configuration is live, but not everywhere; or the client does not wait, and it goes on."""


class ConfigAnswer(RootModel[Applied | DryRun]):
    """The configuration is live, or, for a dry run, what it would change."""
