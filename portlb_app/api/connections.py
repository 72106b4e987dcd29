"""``GET /v1/connections``: the log of connections."""

from __future__ import annotations

import re
from typing import Any

from portlb_app.api.messages import Response, failure, json_text
from portlb_app.api.snapshot import Snapshot
from portlb_app.api.status import lost_copies
from portlb_app.punt.records import Connection

CONNECTIONS = 100
MAX_CONNECTIONS = 1000
"""Connections of one answer: without a limit, and with the largest."""
_LIMIT = re.compile("[1-9][0-9]{0,3}")


def connections(query: str, snapshot: Snapshot) -> Response:
    """The connections that a query chooses, newest first.

    Names of VIPs and numbers need no percent-encoding, so none is undone.
    """
    limit, vip = CONNECTIONS, None
    given: set[str] = set()
    for pair in filter(None, query.split("&")):
        key, _, value = pair.partition("=")
        if key not in ("vip", "limit"):
            return failure(400, f"there is no {key!r}; there are vip, limit")
        if key in given:
            return failure(400, f"{key} is given twice")
        given.add(key)
        if key == "vip":
            vip = value
        elif _LIMIT.fullmatch(value) and int(value) <= MAX_CONNECTIONS:
            limit = int(value)
        else:
            return failure(400, f"limit is a number from 1 to {MAX_CONNECTIONS}")
    found = snapshot.connections.latest(limit, vip)
    listed = [_connection(each, snapshot.epoch) for each in found]
    return Response(200, json_text({"connections": listed, "lost": lost_copies(snapshot)}))


def _connection(connection: Connection, epoch: float) -> dict[str, Any]:
    opened, closed = (None if at is None else round(at + epoch, 3) for at in (connection.opened, connection.closed))
    return {
        "vip": connection.vip,
        "client": str(connection.client),
        "client_port": connection.client_port,
        "opened_on": connection.opened_on,
        "continued_on": connection.continued_on,
        "server": connection.server,
        "opened": opened,
        "closed": closed,
        "how": None if connection.how is None else connection.how.value,
    }
