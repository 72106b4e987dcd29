"""``GET /v1/connections``: the log of connections."""

from __future__ import annotations

from typing import Any

from portlb_app.api.messages import Response, json_text
from portlb_app.api.routing import Call, Parameter
from portlb_app.api.status import lost_copies
from portlb_app.punt.records import Connection

CONNECTIONS = 100
MAX_CONNECTIONS = 1000
"""Connections of one answer: without a limit, and with the largest."""
LIMIT = Parameter("limit", f"At most so many; {CONNECTIONS} if it is not given", numbers=(1, MAX_CONNECTIONS))


def listed(call: Call) -> Response:
    """The connections that a query chooses, newest first."""
    snapshot = call.snapshot
    found = snapshot.connections.latest(int(call.query.get("limit", CONNECTIONS)), call.query.get("vip"))
    records = [_connection(each, snapshot.epoch) for each in found]
    return Response(200, json_text({"connections": records, "lost": lost_copies(snapshot)}))


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
