"""Requests to a controller with FIG. 2 and one switch, as values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from portlb_app.api.messages import Request, Response
from portlb_app.api.routes import respond
from portlb_app.api.snapshot import RefusedConnections, Snapshot
from portlb_app.backends import Backends
from portlb_app.backends.drained import Drain
from portlb_app.config import Wanted, load
from portlb_app.config.overrides import NONE, Override, Overrides
from portlb_app.reconcile.status import Status, SwitchStatus
from portlb_app.topology.conditions import HeldSlots

TEXT = (Path(__file__).parents[2] / "flows/fig2/lb.yaml").read_text()
FIG2 = load(TEXT)
NOW = 1_764_000_000.0
NOW_TEXT = "2025-11-24T16:00:00Z"
LATER = "2025-11-24T17:00:00Z"


def snapshot(overrides: Overrides = NONE, **drains: Drain) -> Snapshot:
    """FIG. 2 with one switch that has what is wanted."""
    backends = Backends(FIG2, overrides)
    held = {key: HeldSlots(slots) for key, slots in backends.tables().items()}
    switch = SwitchStatus("s1", 1, "synced", 5, 2, 1, 0, (), 0.25, held=held, closed=backends.conditions(FIG2)[1])
    return Snapshot(
        *(Status(1, (switch,), ()), TEXT, RefusedConnections()),
        epoch=NOW - 1000.0,
        unix=NOW,
        config=FIG2,
        overrides=overrides,
        backends=backends,
        drains=drains,
    )


def overridden(server: str, value: Wanted | int, before: Overrides = NONE, until: float | None = None) -> Overrides:
    """With this value in place of the file's."""
    said = Override(value, value, "kernel", "root", NOW - 130, until)
    key = "state" if isinstance(value, Wanted) else "weight"
    return before.put(FIG2.server_by_name[server], key, value, said)  # type: ignore[arg-type]


def ask(method: str, path: str, body: Any = None, view: Snapshot | None = None, **more: str) -> Any:
    """What a request is answered, or what it asks for."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    path, _, query = path.partition("?")
    return respond(Request(method, path, "localhost:8080", data, query, **more), view or snapshot())


def reply(method: str, path: str, body: Any = None, view: Snapshot | None = None) -> tuple[int, Any]:
    """The status and the JSON of an answer."""
    response = ask(method, path, body, view)
    assert isinstance(response, Response)
    return response.status, json.loads("".join(response.body))
