"""``GET /v1/checks``: what is known of every health check."""

from __future__ import annotations

from typing import Any

from portlb_app.api import paging
from portlb_app.api.messages import Response, json_pieces
from portlb_app.api.routing import Call, Parameter
from portlb_app.health.line_state import LineState

QUERY = (Parameter("server", "Only of this server"), Parameter("vip", "Only of this VIP"), *paging.PAGED)


def listed(call: Call) -> Response:
    """The checks that a query chooses, by server, and how many packets checks took in all."""
    snapshot, server, vip = call.snapshot, call.query.get("server"), call.query.get("vip")
    chosen = (each for each in snapshot.checks if server in (None, each.line.server) and vip in (None, each.line.vip))
    shown = paging.page(call, sorted(chosen, key=_place), _place)
    if isinstance(shown, Response):
        return shown
    found = (_check(state, snapshot.epoch) for state in shown)
    return Response(200, json_pieces({"counts": dict(snapshot.check_counts), "checks": found, "next": shown.next}))


def _place(state: LineState) -> str:
    """Its place in the order, as a text: for a port of a VIP a server has one check by each version of IP."""
    line = state.line
    return f"{line.server}\0{line.vip}\0{line.version}{min(line.ports, default=0):05}"


def _check(state: LineState, epoch: float) -> dict[str, Any]:
    line, judge, result = state.line, state.judge, state.result
    last = None
    if result is not None:
        last = {"verdict": result.verdict.value, "reason": result.reason, "at": round(epoch + state.at, 3)}
    return {
        "server": line.server,
        "vip": line.vip,
        "ports": list(line.ports),
        "version": line.version,
        "check": state.what,
        "up": judge.is_up,
        "streak": judge.streak,
        "needed": judge.needed(state.at) if judge.is_up is False else line.check.fall,
        "last": last,
        "reason": state.reason or None,
        "held": state.held or None,
    }
