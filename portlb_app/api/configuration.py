"""``GET`` and ``PUT /v1/config``, and what is said about a proposal once its outcome is known."""

from __future__ import annotations

import json

from portlb_app.api.messages import MAX_BODY, Proposal, Request, Response, failure, json_pieces, json_text
from portlb_app.api.snapshot import Snapshot
from portlb_app.api.status import status
from portlb_app.config import Problem
from portlb_app.config.etag import Precondition, etag
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
)


def read(request: Request, snapshot: Snapshot) -> Response:
    """The live configuration, or that the client has it already (304).

    With ``?server=NAME`` the one that this server's agent may act on: switches forward each service port that it names.
    """
    key, _, name = request.query.partition("=")
    if request.query and (key != "server" or not name):
        return failure(400, "a GET knows server=NAME")
    text = snapshot.text_for(name) if name else snapshot.text
    if text is None:
        return failure(503, f"it is not known yet which service ports of {name} the switches forward; ask again")
    tag = {"ETag": etag(text)}
    if _precondition(request).is_unchanged(text):
        return Response(304, "", "application/yaml", tag)
    return Response(200, text, "application/yaml", tag)


def propose(request: Request) -> Response | Proposal:
    """The proposal that a PUT makes, or why it makes none."""
    if request.query not in ("", "wait=applied", "wait=accepted"):
        return failure(400, "a PUT knows wait=applied and wait=accepted")
    if len(request.body) > MAX_BODY:
        return failure(413, f"a configuration has at most {MAX_BODY} bytes")
    try:
        return Proposal(request.body.decode(), _precondition(request), request.query == "wait=accepted")
    except UnicodeDecodeError as error:
        return _mistaken((Problem("", f"byte {error.start} is not UTF-8"),))


def _precondition(request: Request) -> Precondition:
    return Precondition(request.if_match, request.if_none_match)


def outcome_response(outcome: Outcome, snapshot: Snapshot) -> Response:
    """The answer to a proposal once its outcome is known."""
    stays = "the last good configuration stays live"
    match outcome:
        case Live(verified):
            return Response(200 if verified else 202, json_pieces(status(snapshot)), headers=_tag(snapshot))
        case Outdated():
            return _outdated(snapshot)
        case Mistaken(mistakes):
            return _mistaken(mistakes.problems)
        case RefusedBySwitches(reasons):
            switches = {name: list(errors) for name, errors in reasons.items()}
            text = f"a switch refused the configuration; {stays}"
            return Response(409, json_text({"error": text, "switches": switches}))
        case LostSwitches(lost):
            text = f"a switch was lost while the configuration was tried; {stays}"
            return Response(504, json_text({"error": text, "switches": list(lost)}))
        case TimedOut(waiting, seconds):
            text = f"no answer within {seconds:.0f} s; {stays}"
            return Response(504, json_text({"error": text, "switches": list(waiting)}))
        case NotComputed(reason):
            return failure(503, f"the configuration cannot be compiled: {reason}; {stays}")
        case Ended():
            text = "the controller ends, and the file is as it was; until it is started again, switches may hold a part"
            return failure(503, f"{text} of this configuration")
        case NoSwitch():
            text = "no switch is connected, so nothing shows that the configuration works"
            return failure(409, f"{text}; with ?wait=accepted it becomes live and is saved all the same; {stays}")
    return failure(409, "another configuration is being applied; try again")


def outcome_text(outcome: Outcome, snapshot: Snapshot) -> str:
    """What `outcome_response` says about a configuration that did not become live, as one line of a log."""
    body = json.loads("".join(outcome_response(outcome, snapshot).body))
    return f"{body['error']}; {json.dumps(body['switches'])}" if "switches" in body else str(body["error"])


def _tag(snapshot: Snapshot) -> dict[str, str]:
    return {"ETag": etag(snapshot.text)}


def _outdated(snapshot: Snapshot) -> Response:
    text = "the live configuration is another one than If-Match or If-None-Match says; nothing was changed"
    return Response(412, json_text({"error": text, "etag": etag(snapshot.text)}), headers=_tag(snapshot))


def _mistaken(found: tuple[Problem, ...]) -> Response:
    problems = [{"path": problem.path, "message": problem.message} for problem in found]
    return Response(422, json_text({"error": "the configuration has mistakes", "errors": problems}))
