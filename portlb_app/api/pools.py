"""``GET /v1/pools``: the slots of every redirect port's pool, as they are wanted and as the switches were read."""

from __future__ import annotations

from typing import Any

from portlb_app.api import counters, paging
from portlb_app.api.messages import Response, json_pieces
from portlb_app.api.routing import Call
from portlb_app.api.servers import View, no_vip
from portlb_app.config import RedirectPort, Vip
from portlb_app.topology.conditions import PoolKey


def listed(call: Call) -> Response:
    """The pools of all VIPs, or of one: by VIP and port."""
    name, view = call.query.get("vip"), View(call.snapshot)
    vips = (vip for vip in view.snapshot.config.vips if name in (None, vip.name))
    pools = ((vip, pool) for vip in vips for pool in vip.redirect_ports)
    shown = no_vip(name, call.snapshot) or paging.page(call, pools, _place)
    if isinstance(shown, Response):
        return shown
    found = (pool_value(view, vip, pool) for vip, pool in shown)
    return Response(200, json_pieces({"pools": found, "next": shown.next}))


def _place(pool: tuple[Vip, RedirectPort]) -> str:
    """Its place in the order, as a text."""
    return f"{pool[0].name}\0{pool[1].port:05}"


def pool_value(view: View, vip: Vip, pool: RedirectPort) -> dict[str, Any]:
    """One pool. Its state is one word: ok, degraded (some server does not serve), fail_open, empty, or unknown.

    `slots` of a server: as the switches were read; of those that differ the most. None before any was.
    """
    key = (vip.name, pool.port)
    serving = [name for name in pool.servers if view.is_serving(name, key)]
    return {
        "vip": vip.name,
        "port": pool.port,
        "state": _state(view, pool, serving, key),
        "slots": len(view.tables.get(key, ())),
        "legacy": pool.legacy.value,
        "servers": [server_in_pool(view, name, key) for name in pool.servers],
        "counters": counters.of_pool(key, view.snapshot),
    }


def server_in_pool(view: View, name: str, key: PoolKey) -> dict[str, Any]:
    """One server of a pool."""
    held = view.held_in(name, key)
    return {
        "name": name,
        "wanted": view.used.server_by_name[name].wanted.value,
        "seen": view.judgement(name, key).seen.value,
        "slots": max(held.values(), default=None),
        "wanted_slots": view.wanted_slots.get(key, {}).get(name, 0),
        "held": held,
    }


def _state(view: View, pool: RedirectPort, serving: list[str], key: PoolKey) -> str:
    if not view.tables.get(key):
        return "empty"
    if not serving or key in view.failing_open:
        return "fail_open"
    if len(serving) < len(pool.servers):
        return "degraded"
    return "ok" if any(key in held for held in view.held_slots.values()) else "unknown"
