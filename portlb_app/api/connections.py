"""``GET /v1/connections``: the log of connections."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from portlb_app.api import paging
from portlb_app.api.messages import Response, json_text
from portlb_app.api.problem_details import failure
from portlb_app.api.routing import Call, Parameter
from portlb_app.api.status import lost_copies
from portlb_app.config import Address, moments
from portlb_app.punt.records import Connection, Record

CONNECTIONS = 100
MAX_CONNECTIONS = 1000
"""Connections of one answer: without a limit, and with the largest."""
QUERY = (
    Parameter("vip", "Only of this VIP"),
    Parameter("server", "Only those whose server is known to be this one"),
    Parameter("client", "Only those of this client: an address, or address:port ([address]:port for IPv6)"),
    Parameter("since", "Only those of which something was heard at this time (RFC 3339) or later"),
    Parameter("limit", f"At most so many; {CONNECTIONS} if it is not given", numbers=(1, MAX_CONNECTIONS)),
    paging.CURSOR,
)
_WITH_PORT = re.compile(r"(?:\[([0-9a-fA-F:.]{2,45})\]|([0-9.]{7,15})):([1-9][0-9]{0,4})")


def listed(call: Call) -> Response:
    """The connections that a query chooses, newest first.

    A cursor names what was heard last of all that the pages before it have: a connection that is heard of again is
    among the newest then, and not in a later page.
    """
    snapshot, limit = call.snapshot, int(call.query.get("limit", CONNECTIONS))
    before = _before(call)
    if isinstance(before, Response):
        return before
    try:
        wanted = _wanted(call, before)
    except ValueError as error:
        return failure("bad-query", str(error))
    found = snapshot.connections.latest(limit + 1, wanted)
    shown = found[:limit]
    more = paging.following(call, snapshot.events.id(shown[-1].heard)) if len(found) > limit else None
    records = [connection_value(each, snapshot.epoch) for each in shown]
    return Response(200, json_text({"connections": records, "next": more, "lost": lost_copies(snapshot)}))


def _before(call: Call) -> int | None | Response:
    """What the cursor names; None without one."""
    position = paging.position(call)
    if isinstance(position, Response) or not position:
        return position or None
    number = call.snapshot.events.number_of_boot(position)
    if number is None:
        return failure("gone", "the log has begun anew with the controller; ask for the first page")
    return number


def _wanted(call: Call, before: int | None) -> Callable[[Record], bool]:
    """Which records a query chooses; ValueError for what it may not say."""
    query = call.query
    vip, server = query.get("vip"), query.get("server")
    client, port = client_of(query["client"]) if "client" in query else (None, None)
    try:
        since = moments.parse(query["since"]) - call.snapshot.epoch if "since" in query else None
    except ValueError as error:
        raise ValueError(f"since: {error}") from None

    def wanted(record: Record) -> bool:
        return (
            (before is None or record.heard < before)
            and vip in (None, record.client.vip)
            and server in (None, record.server)
            and client in (None, record.client.address)
            and port in (None, record.client.port)
            and (since is None or record.last >= since)
        )

    return wanted


def client_of(text: str) -> tuple[Address, int | None]:
    """A client's address, and its port if the text has one; ValueError."""
    found = _WITH_PORT.fullmatch(text)
    try:
        address = ip_address((found[1] or found[2]) if found else text)
    except ValueError:
        raise ValueError("client is an address, address:port, or [address]:port") from None
    if found and int(found[3]) > 65535:
        raise ValueError("client: a port is a number from 1 to 65535")
    return address, int(found[3]) if found else None


def connection_value(connection: Connection, epoch: float) -> dict[str, Any]:
    """One connection."""
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
