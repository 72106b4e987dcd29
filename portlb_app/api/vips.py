"""``GET /v1/vips``: VIPs, their pools, and the slots of those one by one."""

from __future__ import annotations

from typing import Any

from portlb_app.api import counters, paging
from portlb_app.api.messages import Response, json_pieces, json_text
from portlb_app.api.pools import pool_value
from portlb_app.api.problem_details import failure
from portlb_app.api.routing import Call
from portlb_app.api.servers import View, no_vip
from portlb_app.config import RedirectPort, Vip
from portlb_app.config.problems import printable
from portlb_app.openflow import mac_text

WORST = ("empty", "fail_open", "degraded", "unknown", "ok")
"""States of a pool; a VIP is as bad as its worst."""


def listed(call: Call) -> Response:
    """The VIPs by name."""
    vips = sorted(call.snapshot.config.vips, key=lambda vip: vip.name)
    shown = paging.page(call, vips, lambda vip: vip.name)
    if isinstance(shown, Response):
        return shown
    view = View(call.snapshot)
    return Response(200, json_pieces({"vips": (_vip(view, vip) for vip in shown), "next": shown.next}))


def one(call: Call) -> Response:
    """One VIP."""
    vip = _named(call)
    return vip if isinstance(vip, Response) else Response(200, json_text(_vip(View(call.snapshot), vip)))


def port(call: Call) -> Response:
    """One pool, with its policies."""
    found = _pool(call)
    if isinstance(found, Response):
        return found
    vip, pool = found
    more = {
        "signal": pool.signal.value,
        "selection": pool.selecting.algorithm.value,
        "slow_start": pool.slow_start,
        "second_chance": pool.second_chance,
        "quality": {"dscp": pool.qos.dscp, "queue": pool.qos.queue, "rate": pool.qos.rate},
    }
    return Response(200, json_text({**pool_value(View(call.snapshot), vip, pool), **more}))


def slots(call: Call) -> Response:
    """The server of each slot: as it is wanted, and as each switch was read."""
    found = _pool(call)
    if isinstance(found, Response):
        return found
    key = found[0].name, found[1].port
    only = call.query.get("switch")
    switches = [each for each in call.snapshot.status.switches if only in (None, each.name)]
    if not switches:
        return failure("not-found", f"there is no switch {printable(only or '')}")
    held = {
        each.name: None if each.held is None or key not in each.held else list(each.held[key].servers)
        for each in switches
    }
    wanted = list(call.snapshot.backends.tables().get(key, ()))
    return Response(200, json_text({"vip": key[0], "port": key[1], "wanted": wanted, "held": held}))


def _named(call: Call) -> Vip | Response:
    name = call.names["vip"]
    return no_vip(name, call.snapshot) or next(vip for vip in call.snapshot.config.vips if vip.name == name)


def _pool(call: Call) -> tuple[Vip, RedirectPort] | Response:
    vip, given = _named(call), call.names["port"]
    if isinstance(vip, Response):
        return vip
    for pool in vip.redirect_ports:
        if str(pool.port) == given:
            return vip, pool
    return failure("not-found", f"{vip.name} has no redirect port {printable(given)}")


def _vip(view: View, vip: Vip) -> dict[str, Any]:
    states = [pool_value(view, vip, pool)["state"] for pool in vip.redirect_ports]
    return {
        "name": vip.name,
        "addresses": list(map(str, vip.addresses)),
        "mac": mac_text(vip.mac),
        "number": vip.number,
        "rewrite": vip.rewrite.value,
        "default_server": vip.default_server,
        "log": vip.log,
        "state": min(states, key=WORST.index, default="ok" if view.held_slots else "unknown"),
        "ports": {str(pool.port): state for pool, state in zip(vip.redirect_ports, states, strict=True)},
        "servers": [server.name for server in view.snapshot.config.servers if server.vip == vip.name],
        "counters": counters.of_vip(vip.name, view.snapshot),
    }
