"""``PUT /v1/servers/NAME/state``, ``PUT`` and ``DELETE /v1/servers/NAME/weight``: what is asked for.

Such a request names one value of one server, so it needs no precondition, and several at once are carried out one after
the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field

from portlb_app.api.messages import Request, Response
from portlb_app.api.problem_details import failure
from portlb_app.api.routing import Call
from portlb_app.config import ConfigError, Wanted
from portlb_app.config.entries import Entry, Number, Truth, read
from portlb_app.config.overrides import Key, Override, Value
from portlb_app.config.overrides_text import MAX_BY, By, Moment, Reason
from portlb_app.config.problems import Problem, Problems
from portlb_app.config.strict_json import parse
from portlb_app.config.values import MAX_WEIGHT

MAX_WISH = 16 << 10
"""Bytes of a body; the longest sound one has less than 1,000."""
_UNSAID = "REST"
"""Who it was, if nobody says."""


@dataclass(frozen=True)
class Wish:
    """A value for a key of a server; None: the file's. `said`: why, by whom, since and until when.

    `force`: also if that leaves a pool without a server, or ends connections. `dry_run`: only tell what would change,
    and `steps`: each step of it. `came_from`: from where it was sent.
    """

    server: str
    key: Key
    value: Value | None
    said: Override
    force: bool = False
    dry_run: bool = False
    steps: bool = False
    came_from: str = ""


class _Entry(Entry):
    """What both have."""

    reason: Reason = ""
    by: By = _UNSAID
    until: Moment = None
    force: Truth = False


class _StateEntry(_Entry):
    required = ("state",)
    state: Wanted | None = None
    move: Truth = False
    deadline: Moment = None


class _WeightEntry(_Entry):
    required = ("weight",)
    weight: Annotated[Number, Field(ge=0, le=MAX_WEIGHT)] | None = None


def state(call: Call) -> Wish | Response:
    """A state is asked for."""
    return _read(call, "state", _StateEntry)


def weight(call: Call) -> Wish | Response:
    """A weight is asked for."""
    return _read(call, "weight", _WeightEntry)


def no_weight(call: Call) -> Wish:
    """The file's weight is asked for."""
    by = _who(call.request, call.query.get("by", _UNSAID))
    said = Override(0, 0, by=by, since=call.snapshot.unix)
    asked = Wish(call.names["server"], "weight", None, said, force=True, came_from=call.request.came_from)
    return replace(asked, dry_run="dry_run" in call.query, steps="steps" in call.query)


def _who(request: Request, said: str) -> str:
    """The one that asks: what is known, and what it says of itself."""
    known = request.by
    if not known or known == said:
        return said
    return known if said == _UNSAID else f"{known} ({said})"[:MAX_BY]


def _read(call: Call, key: Key, shape: type[_StateEntry | _WeightEntry]) -> Wish | Response:
    """What a request asks for, or why it asks for nothing."""
    request, now = call.request, call.snapshot.unix
    if len(request.body) > MAX_WISH:
        text = f"a request for one server has at most {MAX_WISH} bytes; nothing was changed"
        return failure("too-large", text)
    problems = Problems()
    try:
        data = parse(request.body.decode())
        entry: Any = read(shape, "", data, problems)
        if not problems.kept:
            _check_times(entry, now, problems)
        problems.raise_any()
    except UnicodeDecodeError as error:
        return mistaken((Problem("", f"byte {error.start} is not UTF-8"),))
    except ConfigError as error:
        return mistaken(error.errors)
    value = entry.state if key == "state" else entry.weight
    said = Override(value, value, entry.reason, _who(request, entry.by), now, entry.until)
    if key == "state":
        said = replace(said, deadline=entry.deadline, move=entry.move)
    asked = Wish(call.names["server"], key, value, said, entry.force, came_from=request.came_from)
    return replace(asked, dry_run="dry_run" in call.query, steps="steps" in call.query)


def _check_times(entry: _StateEntry | _WeightEntry, now: float, problems: Problems) -> None:
    times = {"until": entry.until}
    if isinstance(entry, _StateEntry):
        times["deadline"] = entry.deadline
        if entry.deadline is not None and entry.state is Wanted.READY:
            problems.add("deadline", "is for a server that drains, or is taken out")
        if entry.move and entry.state is Wanted.READY:
            problems.add("move", "is for a server that drains, or is taken out")
    for name, each in times.items():
        if each is not None and each <= now:
            problems.add(name, "is in the past")


def mistaken(problems: tuple[Problem, ...]) -> Response:
    """The answer to a request with mistakes."""
    return failure("invalid-request", "the request has mistakes; nothing was changed", errors=problems)
