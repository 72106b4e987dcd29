"""What every page has: the head of it, and how far the events are that it shows."""

from __future__ import annotations

from typing import Any

from portlb_app import __version__
from portlb_app.api.identity import Role
from portlb_app.api.messages import Request
from portlb_app.api.snapshot import Snapshot
from portlb_app.reconcile.happened import KINDS, Happened


def frame(snapshot: Snapshot, title: str, refresh: int = 5, request: Request | None = None) -> dict[str, Any]:
    """The values for the frame. `refresh`: seconds until a browser without JavaScript asks again; 0 for never.

    `request`: says who looks; None where it was not read.
    """
    return {
        "version": __version__,
        "title": title,
        "refresh": refresh,
        "kinds": KINDS,
        "event": snapshot.events.id(snapshot.events.last),
        "now": snapshot.unix,
        "generation": snapshot.status.generation,
        "verified": snapshot.status.verified,
        "notices": (),
        "by": request.by if request else "",
        "has_session": bool(request and request.has_session),
        "may_change": request is not None and request.role >= Role.OPERATOR,
    }


def link_of(what: Happened, snapshot: Snapshot) -> str | None:
    """The page about what an event is about; None if there is none any more."""
    match what.kind:
        case "health" | "admin" | "weight" | "agent" | "drain":
            return f"/servers/{what.of}" if what.of in snapshot.config.server_by_name else None
        case "pool" | "slots":
            vip, _, port = what.of.partition(":")
            return f"/pools/{vip}/{port}" if has_pool(snapshot, vip, port) else None
        case "switch" | "drift" | "conflict" | "port" | "link":
            return "/network"
    return None


def has_pool(snapshot: Snapshot, name: str, port: str) -> bool:
    """Whether there is a VIP of this name with this redirect port."""
    pools = (pool for vip in snapshot.config.vips if vip.name == name for pool in vip.redirect_ports)
    return any(str(pool.port) == port for pool in pools)
