"""``PUT /v1/servers/NAME/state``, ``PUT`` and ``DELETE /v1/servers/NAME/weight``: what is asked for.

Such a request names one value of one server, so it needs no precondition, and several at once are carried out one after
the other. `batches` has what is asked for several servers as one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field

from portlb_app.api.messages import Request, Response
from portlb_app.api.problem_details import failure
from portlb_app.api.routing import Call
from portlb_app.api.waiting import Waiting, waiting
from portlb_app.config import ConfigError, Wanted
from portlb_app.config.entries import Entry, Number, Truth, read
from portlb_app.config.overrides import Key, Override, Value
from portlb_app.config.overrides_text import MAX_BY, By, Moment, Reason
from portlb_app.config.problems import Problem, Problems
from portlb_app.config.strict_json import parse
from portlb_app.config.text import below
from portlb_app.config.values import MAX_WEIGHT

MAX_WISH = 16 << 10
"""Bytes of a body; the longest sound one has less than 1,000."""
_UNSAID = "REST"
"""Who it was, if nobody says."""
Weight = Annotated[Number, Field(ge=0, le=MAX_WEIGHT)]


@dataclass(frozen=True)
class Wish:
    """A value for a key of a server; None: the file's. `said`: why, by whom, since and until when.

    `force`: also if that leaves a pool without a server, or ends connections. `dry_run`: only tell what would change,
    and `steps`: each step of it. `came_from`: from where it was sent. `waiting`: how long for an answer.
    """

    server: str
    key: Key
    value: Value | None
    said: Override
    force: bool = False
    dry_run: bool = False
    steps: bool = False
    came_from: str = ""
    waiting: Waiting = Waiting()

    @property
    def wishes(self) -> tuple[Wish, ...]:
        """The wish alone, as a batch of one has it."""
        return (self,)


class SaidEntry(Entry):
    """What is said about a wish."""

    reason: Reason = ""
    by: By = _UNSAID
    until: Moment = None
    force: Truth = False


class _StateEntry(SaidEntry):
    required = ("state",)
    state: Wanted | None = None
    move: Truth = False
    deadline: Moment = None


class _WeightEntry(SaidEntry):
    required = ("weight",)
    weight: Weight | None = None


def state(call: Call) -> Wish | Response:
    """A state is asked for."""
    return _read(call, "state", _StateEntry)


def weight(call: Call) -> Wish | Response:
    """A weight is asked for."""
    return _read(call, "weight", _WeightEntry)


def no_weight(call: Call) -> Wish:
    """The file's weight is asked for."""
    by = who(call.request, call.query.get("by", _UNSAID))
    said = Override(0, 0, by=by, since=call.snapshot.unix)
    asked = Wish(call.names["server"], "weight", None, said, force=True, came_from=call.request.came_from)
    return _as_said(asked, call)


def who(request: Request, said: str) -> str:
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
    said = Override(value, value, entry.reason, who(request, entry.by), now, entry.until)
    if key == "state":
        said = replace(said, deadline=entry.deadline, move=entry.move)
    return _as_said(Wish(call.names["server"], key, value, said, entry.force, came_from=request.came_from), call)


def _as_said(asked: Wish, call: Call) -> Wish:
    """With what the query says."""
    return replace(asked, dry_run="dry_run" in call.query, steps="steps" in call.query, waiting=waiting(call))


def _check_times(entry: _StateEntry | _WeightEntry, now: float, problems: Problems) -> None:
    if isinstance(entry, _StateEntry):
        check_drain("", entry.state, entry.deadline, entry.move, now, problems)
    check_until(entry.until, now, problems)


def check_until(until: float | None, now: float, problems: Problems) -> None:
    """A wish ends in the future."""
    if until is not None and until <= now:
        problems.add("until", "is in the past")


def check_drain(
    path: str, wanted: Wanted | None, deadline: float | None, move: bool, now: float, problems: Problems
) -> None:
    """What is said below a path about the end of a drain is about a drain, and about the future."""
    is_drain = wanted in (Wanted.DRAIN, Wanted.MAINT)
    for key, is_said in (("deadline", deadline is not None), ("move", move)):
        if is_said and not is_drain:
            problems.add(below(path, key), "is for a server that drains, or is taken out")
    if deadline is not None and deadline <= now:
        problems.add(below(path, "deadline"), "is in the past")


def mistaken(problems: tuple[Problem, ...]) -> Response:
    """The answer to a request with mistakes."""
    return failure("invalid-request", "the request has mistakes; nothing was changed", errors=problems)
