"""``/servers/NAME``: everything about one server, and the forms that change what is wanted of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from portlb_app.api.messages import Response
from portlb_app.api.routing import Call
from portlb_app.api.servers import View, unknown
from portlb_app.health.line_state import LineState
from portlb_app.page import events
from portlb_app.page.frame import frame
from portlb_app.page.overview import TONES, open_connections, why
from portlb_app.page.rendering import page
from portlb_app.topology.conditions import ALL_SERVERS

CHANGES = 30
_KINDS = ("health", "admin", "weight", "agent", "drain")
REFRESH = 30
"""Seconds: a browser without JavaScript forgets what is typed into a form when it asks again."""


def answer(call: Call) -> Response:
    """One server."""
    snapshot, name = call.snapshot, call.names["server"]
    if name not in snapshot.config.server_by_name:
        return unknown(name)
    view, epoch = View(snapshot), snapshot.epoch
    server, config = view.server(name), snapshot.config.server_by_name[name]
    state = next((each for each in snapshot.backends.servers() if each.name == name), None)
    evidence = state.evidence if state else ()
    values = {
        **frame(snapshot, f"Server {name}", REFRESH, call.request),
        "server": server,
        "tones": TONES,
        "why": why(server),
        "service_ports": [(each.port, each.application) for each in config.service_ports],
        "open": open_connections(snapshot).get(name),
        "agent": next((each for each in snapshot.status.agents if each.server == name), None),
        "pools": list(_pools(view, server)),
        "evidence": [
            {"source": each.source, "word": "up" if each.is_up else "down", "reason": each.reason,
             "since": each.since + epoch, "pool": each.pool}
            for each in evidence
        ],
        "checks": [_check(each, epoch) for each in snapshot.checks if each.line.server == name],
        "events": list(events.about(snapshot, name, _KINDS, CHANGES)),
        "token": snapshot.form_token,
    }  # fmt: skip
    return page("server.html", values)


def _pools(view: View, server: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for pool in server["held"]["pools"]:
        judgement = view.judgement(server["name"], (pool["vip"], pool["port"]))
        yield {
            **pool,
            "seen": judgement.seen.value,
            "reason": judgement.reason,
            "since": judgement.since + view.snapshot.epoch if judgement.since else None,
            "most": max(pool["held"].values(), default=None),
            "differs": sorted(switch for switch, held in pool["held"].items() if held != pool["wanted"]),
        }


def _check(state: LineState, epoch: float) -> dict[str, Any]:
    judge, result = state.judge, state.result
    return {
        "what": state.what,
        "version": state.line.version,
        "ports": ", ".join("every pool" if port == ALL_SERVERS else str(port) for port in state.line.ports),
        "word": {True: "up", False: "down", None: "unknown"}[judge.is_up],
        "streak": judge.streak,
        "verdict": result.verdict.value if result else None,
        "reason": result.reason if result else None,
        "at": state.at + epoch if result else None,
        "milliseconds": 1000 * state.took,
        "held": state.held,
    }
