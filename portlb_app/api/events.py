"""``GET /v1/events``: what has happened, as a list or as a stream."""

from __future__ import annotations

from dataclasses import dataclass

from portlb_app.api.event_ring import KEPT
from portlb_app.api.messages import Response, json_pieces
from portlb_app.api.problem_details import failure
from portlb_app.api.routing import Call, Parameter, written
from portlb_app.config import moments
from portlb_app.config.problems import printable
from portlb_app.reconcile.happened import KINDS

CONTENT_TYPE = "text/event-stream"
USUAL = 100
CURSOR = Parameter("cursor", "Those after this event")
KIND = Parameter("kinds", f"Only of these kinds, with commas between: {', '.join(KINDS)}")
SINCE = Parameter("since", "Only those at this time (RFC 3339) or later")
LIMIT = Parameter("limit", f"At most so many ({USUAL})", numbers=(1, 1000))


@dataclass(frozen=True)
class Follow:
    """A stream of events of some kinds (empty: all), from the one after `last`; None: from now on."""

    last: str | None
    kinds: tuple[str, ...]


def read(call: Call) -> Response | Follow:
    """The last events, or those after a cursor; a stream of them for those that accept one."""
    query, ring = call.query, call.snapshot.events
    kinds = tuple(query["kinds"].split(",")) if "kinds" in query else ()
    unknown = next((each for each in kinds if each not in KINDS), None)
    if unknown is not None:
        return failure("bad-query", f"there is no kind {printable(unknown)!r}; there are {', '.join(KINDS)}")
    try:
        since = float(moments.parse(query["since"])) if "since" in query else 0.0
    except ValueError as error:
        return failure("bad-query", f"since: {error}")
    if call.request.accept.startswith(CONTENT_TYPE):
        return Follow(call.request.last_event or query.get("cursor"), kinds)
    limit, cursor = int(query.get("limit", USUAL)), query.get("cursor")
    number = ring.number(cursor) if cursor is not None else None
    found, at = ring.after(number or 0, kinds, limit if number is not None else KEPT, since)
    found = found if number is not None else found[-limit:]
    more = written({**query, "cursor": ring.id(at)})
    body = {
        "events": (each.value() for each in found),
        "reset": cursor is not None and number is None,
        "last": ring.id(at),
        "next": f"/v1/events?{more}" if at < ring.last else None,
    }
    return Response(200, json_pieces(body))
