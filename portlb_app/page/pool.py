"""``/pools/VIP/PORT``: one pool, and its slots as the switches were read to hold them."""

from __future__ import annotations

from typing import Any

from portlb_app.api.messages import Response
from portlb_app.api.pools import pool_value
from portlb_app.api.problem_details import failure
from portlb_app.api.routing import Call
from portlb_app.api.servers import View
from portlb_app.config.problems import printable
from portlb_app.page import events
from portlb_app.page.frame import frame
from portlb_app.page.overview import TONES
from portlb_app.page.picture_of_slots import Legend, picture
from portlb_app.page.rendering import page
from portlb_app.topology.conditions import HeldSlots, PoolKey

CHANGES = 20


def answer(call: Call) -> Response:
    """One pool."""
    snapshot, name, port = call.snapshot, call.names["vip"], call.names["port"]
    found = ((vip, pool) for vip in snapshot.config.vips if vip.name == name for pool in vip.redirect_ports)
    vip, pool = next(((vip, pool) for vip, pool in found if str(pool.port) == port), (None, None))
    if vip is None or pool is None:
        return failure("not-found", f"there is no pool {printable(name)}:{printable(port)}")
    view, key = View(snapshot), (vip.name, pool.port)
    value = pool_value(view, vip, pool)
    legend = Legend(pool.servers)
    wanted = tuple(view.tables.get(key, ()))
    values = {
        **frame(snapshot, f"Pool {name}:{port}", request=call.request),
        "pool": value,
        "signal": pool.signal.value,
        "selection": pool.selecting.algorithm.value,
        "tones": TONES,
        "wanted": wanted,
        "servers": [_server(view, each, key, legend) for each in value["servers"]],
        "pictures": [
            {"switches": names, **picture(held.servers, wanted, legend)} for held, names in _alike(view, key)
        ],
        "unread": [each.name for each in snapshot.status.switches if each.held is None],
        "events": list(events.about(snapshot, f"{name}:{port}", ("pool", "slots"), CHANGES)),
    }
    return page("pool.html", values)


def _server(view: View, server: dict[str, Any], key: PoolKey, legend: Legend) -> dict[str, Any]:
    name, judgement = server["name"], view.judgement(server["name"], key)
    return {
        **server,
        "mark": legend.mark(name),
        "colour": legend.colour(name),
        "reason": judgement.reason,
        "since": judgement.since + view.snapshot.epoch if judgement.since else None,
        "weight": view.used.server_by_name[name].share,
        "least": min(server["held"].values(), default=0),
    }


def _alike(view: View, key: PoolKey) -> list[tuple[HeldSlots, list[str]]]:
    """What switches hold of a pool, and which of them hold the same."""
    found: dict[tuple[str | None, ...], tuple[HeldSlots, list[str]]] = {}
    for switch in view.snapshot.status.switches:
        held = (switch.held or {}).get(key)
        if held is not None:
            found.setdefault(held.servers, (held, []))[1].append(switch.name)
    return list(found.values())
