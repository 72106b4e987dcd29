"""``/``: what is wrong first, then pools, servers and what was changed by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from portlb_app.api.messages import Response
from portlb_app.api.pools import pool_value
from portlb_app.api.routing import Call
from portlb_app.api.servers import View, no_vip
from portlb_app.api.snapshot import Snapshot
from portlb_app.config import Vip
from portlb_app.page import troubles
from portlb_app.page.events import newest, shown
from portlb_app.page.frame import frame
from portlb_app.page.rendering import page

SERVERS = 100
"""Servers of a VIP that are shown where all VIPs are."""
EVENTS = 10
TONES = {
    **{"up": "good", "down": "bad", "unknown": "plain", "ready": "good", "drain": "warn", "maint": "warn"},
    **{"slots": "good", "none": "plain", "closed": "warn", "ok": "good", "degraded": "warn", "fail_open": "bad"},
    **{"empty": "bad", "synced": "good", "absent": "bad", "error": "bad", "reading": "plain", "applying": "plain"},
}
"""How a word looks; it is always written beside that."""


def answer(call: Call) -> Response:
    """The whole network, or what is behind one VIP."""
    snapshot, name = call.snapshot, call.query.get("vip")
    missing = no_vip(name, snapshot)
    if missing is not None:
        return missing
    view = View(snapshot)
    wrong, more = troubles.shown(snapshot)
    vips = [vip for vip in snapshot.config.vips if name in (None, vip.name)]
    values = {
        **frame(snapshot, "Overview" if name is None else f"VIP {name}", request=call.request),
        "troubles": wrong,
        "more_troubles": more,
        "vips": (_vip(view, vip, SERVERS if name is None else None) for vip in vips),
        "tones": TONES,
        "open": snapshot.connections.open if any(vip.log for vip in vips) else None,
        "events": [shown(each, snapshot) for each in newest(snapshot)[:EVENTS]],
    }
    return page("overview.html", values)


def _vip(view: View, vip: Vip, limit: int | None) -> dict[str, Any]:
    servers = view.snapshot.config.servers_of(vip)
    chosen = sorted(servers, key=lambda each: is_well(view, each.name))[:limit] if limit else servers
    return {
        "name": vip.name,
        "addresses": ", ".join(map(str, vip.addresses)),
        "pools": [pool_value(view, vip, pool) for pool in vip.redirect_ports],
        "servers": _servers(view, [each.name for each in chosen]),
        "number": len(servers),
        "hidden": len(servers) - len(chosen),
    }


def _servers(view: View, names: list[str]) -> Iterator[dict[str, Any]]:
    opened = open_connections(view.snapshot)
    for name in names:
        server = view.server(name)
        pools = server["held"]["pools"]
        yield {
            **server,
            "open": opened.get(name),
            "wanted_slots": sum(each["wanted"] for each in pools),
            "of": sum(each["of"] for each in pools),
            "why": why(server),
        }


def is_well(view: View, name: str) -> bool:
    """Whether there is nothing to say about a server."""
    server = view.server(name)
    return bool(server["wanted"]["state"] == "ready" and server["seen"]["state"] != "down")


def open_connections(snapshot: Snapshot) -> dict[str, int]:
    """Open connections by server, where its agent or its drain tells them."""
    found = {name: drain.open for name, drain in snapshot.drains.items() if drain.open is not None}
    return found | {agent.server: agent.heartbeat.open for agent in snapshot.status.agents}


def why(server: dict[str, Any]) -> str:
    """Why a server is as it is, in a few words; empty where there is nothing to say."""
    wanted, drain, weight = server["wanted"], server["drain"], server["weight"]["override"]
    said = []
    if server["seen"]["state"] == "down":
        said.append(server["seen"]["reason"])
    if wanted["source"] == "override":
        by = f" by {wanted['by']}" if wanted["by"] else ""
        said.append(f"{wanted['state']}{by}" + (f": {wanted['reason']}" if wanted["reason"] else ""))
    elif wanted["state"] != "ready":
        said.append(f"the file says {wanted['state']}")
    if drain is not None:
        said.append(drain["reason"])
    if weight is not None and wanted["state"] == "ready":
        said.append(f"weight {weight['value']} by {weight['by'] or 'REST'}")
    return "; ".join(said)
