"""``GET /v1/checks``: what is known of every health check."""

from __future__ import annotations

from typing import Any

from portlb_app.api.messages import Response, json_pieces
from portlb_app.api.routing import Call
from portlb_app.health.line_state import LineState


def listed(call: Call) -> Response:
    """Every check, and how many packets checks took in all."""
    snapshot = call.snapshot
    found = (_check(state, snapshot.epoch) for state in snapshot.checks)
    return Response(200, json_pieces({"counts": dict(snapshot.check_counts), "checks": found}))


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
