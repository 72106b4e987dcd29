"""``GET /v1/events``: what happens, as it happens (``text/event-stream``)."""

from __future__ import annotations

from dataclasses import dataclass

from portlb_app.api.messages import Response
from portlb_app.api.problem_details import failure
from portlb_app.api.routing import Call
from portlb_app.config.problems import printable
from portlb_app.reconcile.happened import KINDS

CONTENT_TYPE = "text/event-stream"


@dataclass(frozen=True)
class Follow:
    """The events behind the one with the id `last` are asked for (None: those from now on), of `kinds` (empty: all)."""

    last: str | None
    kinds: tuple[str, ...]


def follow(call: Call) -> Follow | Response:
    """A browser that has lost the stream says by ``Last-Event-ID`` where it was, and that is more than the query."""
    kinds = tuple(filter(None, call.query.get("kinds", "").split(",")))
    unknown = next((each for each in kinds if each not in KINDS), None)
    if unknown is not None:
        return failure("bad-query", f"there is no kind {printable(unknown)!r}; there are {', '.join(KINDS)}")
    return Follow(call.request.last_event or call.query.get("since"), kinds)
