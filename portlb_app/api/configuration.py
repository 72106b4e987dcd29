"""``GET`` and ``PUT /v1/config``, and what is said about a proposal once its outcome is known."""

from __future__ import annotations

import json
from dataclasses import replace

from portlb_app.api.history import Change
from portlb_app.api.messages import MAX_BODY, Proposal, Request, Response, json_pieces
from portlb_app.api.problem_details import failure
from portlb_app.api.routing import Call, Parameter
from portlb_app.api.snapshot import Snapshot
from portlb_app.api.status import status
from portlb_app.api.waiting import TIMEOUT, waiting
from portlb_app.config import Problem
from portlb_app.config.etag import Precondition, etag
from portlb_app.config.problems import printable
from portlb_app.config.schema import file_schema
from portlb_app.reconcile.outcomes import (
    Ended,
    Live,
    LostSwitches,
    Mistaken,
    NoSwitch,
    NotComputed,
    Outcome,
    Outdated,
    RefusedBySwitches,
    TimedOut,
    TurnMissed,
)
from portlb_app.reconcile.waiting import WAITING

ATOMIC = Parameter(
    "atomic", "network: withdraw it also if a switch is lost or does not get there in time", words=("network",)
)
DRY_RUN = Parameter("dry_run", "1: change nothing, and say what would change", words=("1",))
STEPS = Parameter("steps", "1: with a dry run, each step of each switch", words=("1",))
_SCHEMA = json.dumps(file_schema(), indent=1) + "\n"
WAIT = Parameter(
    *("wait", "applied: until all connected switches have it. accepted: also if none is connected"),
    words=("applied", "accepted"),
)
WAIT_OR_NOT = replace(WAIT, text=f"{WAIT.text}. none: the answer comes at once", words=(*WAIT.words, "none"))
HOW = (WAIT, TIMEOUT, ATOMIC, DRY_RUN, STEPS)
"""The query of everything that changes the configuration."""


def read(call: Call) -> Response:
    """The live configuration, or that the client has it already (304).

    With ``?server=NAME`` the one that this server's agent may act on: switches forward each service port that it names.
    """
    snapshot, name = call.snapshot, call.query.get("server")
    text = snapshot.text_for(name) if name else snapshot.text
    if text is None:
        detail = f"it is not known yet which service ports of {printable(name or '')} the switches forward; ask again"
        return failure("not-known-yet", detail)
    tag = {"ETag": etag(text)}
    if _precondition(call.request).is_unchanged(text):
        return Response(304, "", "application/yaml", tag)
    return Response(200, text, "application/yaml", tag)


def schema(_call: Call) -> Response:
    """The shape of a configuration."""
    return Response(200, _SCHEMA, "application/schema+json")


def propose(call: Call) -> Response | Proposal:
    """The proposal that a PUT makes, or why it makes none."""
    request = call.request
    if len(request.body) > MAX_BODY:
        return failure("too-large", f"a configuration has at most {MAX_BODY} bytes")
    try:
        text = request.body.decode()
    except UnicodeDecodeError as error:
        return _mistaken((Problem("", f"byte {error.start} is not UTF-8"),))
    return proposal(call, text)


def proposal(call: Call, text: str, may_answer_before: bool = True) -> Proposal:
    """What is proposed with a text, as the query, the preconditions and the preferences say.

    `may_answer_before`: the answer may come before it is known what became of it.
    """
    query, request = call.query, call.request
    said = Change(0, "config", "rest", 0.0, by=request.by, came_from=request.came_from)
    made = Proposal(text, _precondition(request), query.get("wait") == "accepted", "atomic" in query, said=said)
    made = replace(made, dry_run="dry_run" in query, steps="steps" in query)
    if made.dry_run:
        return made
    wait = waiting(call, may_answer_before)
    return replace(made, turn=wait.turn, patience=wait.patience, answer=wait.answer, applied=wait.applied)


def _precondition(request: Request) -> Precondition:
    return Precondition(request.if_match, request.if_none_match)


def outcome_response(outcome: Outcome, snapshot: Snapshot) -> Response:
    """The answer to a proposal once its outcome is known."""
    stays = "the last good configuration stays live"
    match outcome:
        case Live(landed=landed):
            body = {**status(snapshot), "landed": landed}
            return Response(200 if outcome.is_everywhere else 202, json_pieces(body), headers=_tag(snapshot))
        case Outdated():
            return outdated(snapshot)
        case Mistaken(mistakes):
            return _mistaken(mistakes.problems)
        case RefusedBySwitches(reasons):
            switches = {name: list(errors) for name, errors in reasons.items()}
            return failure("refused-by-switch", f"a switch refused the configuration; {stays}", switches=switches)
        case LostSwitches(lost):
            text = f"a switch was lost while the configuration was tried; {stays}"
            return failure("switch-lost", text, switches=list(lost))
        case TimedOut(waiting, seconds):
            return failure("timed-out", f"no answer within {seconds:.0f} s; {stays}", switches=list(waiting))
        case NotComputed(reason):
            return failure("not-computed", f"the configuration cannot be compiled: {reason}; {stays}")
        case Ended():
            text = "the controller ends, and the file is as it was; until it is started again, switches may hold a part"
            return failure("ending", f"{text} of this configuration")
        case NoSwitch():
            text = "no switch is connected, so nothing shows that the configuration works"
            return failure(
                "no-switch", f"{text}; with ?wait=accepted it becomes live and is saved all the same; {stays}"
            )
        case TurnMissed(seconds):
            text = f"other configurations are being tried, and this one's turn did not come within {seconds:.0f} s"
            return failure("timed-out", f"{text}; nothing was changed")
    return failure("busy", f"{WAITING} configurations wait already; nothing was changed", headers={"Retry-After": "5"})


def outcome_text(outcome: Outcome, snapshot: Snapshot) -> str:
    """What `outcome_response` says about a configuration that did not become live, as one line of a log."""
    body = json.loads("".join(outcome_response(outcome, snapshot).body))
    return f"{body['error']}; {json.dumps(body['switches'])}" if "switches" in body else str(body["error"])


def _tag(snapshot: Snapshot) -> dict[str, str]:
    return {"ETag": etag(snapshot.text)}


def outdated(snapshot: Snapshot, difference: str | None = None) -> Response:
    """Another configuration is live than the request says. `difference`: from that one to the live one, if known."""
    text = "the live configuration is another one than If-Match or If-None-Match says; nothing was changed"
    tag = etag(snapshot.text)
    return failure("precondition-failed", text, headers=_tag(snapshot), etag=tag, current_etag=tag, diff=difference)


def _mistaken(found: tuple[Problem, ...]) -> Response:
    return failure("invalid-configuration", "the configuration has mistakes", errors=found)
