"""The REST interface without HTTP: a request value in, a response value out, or a configuration to propose.

=======================  =============================================================================================
``GET /v1/status``       version, generation of the live configuration, every switch and link, what was refused
``GET /v1/connections``  the log of connections, newest first; ``?vip=NAME`` and ``?limit=NUMBER`` choose
``GET /v1/config``       the text of the live configuration, as it was given
``PUT /v1/config``       replace it (YAML or JSON): 200 when all connected switches have it, 422 with every mistake,
                         409 when a switch refuses or another one is on trial, 504 when a switch does not get there
                         in time or is lost, 503 when it cannot be compiled; after all of these the last good one is
                         live. With no switch connected: 409, or, with ``?wait=accepted``, 202, unverified
=======================  =============================================================================================

An entity tag names a configuration (`etag`): GET /v1/config sends it, the status has it as ``etag``, and a PUT with
``If-Match`` changes nothing (412) when another configuration is live by the time its turn has come. Without
``If-Match`` a PUT replaces whatever is live.

Every error is JSON: ``{"error": text}``, and ``{"error": text, "errors": [{"path", "message"}]}`` for a configuration.
The interface has no login and so listens on loopback alone. The Host header is checked, because a web page may point a
name of its own at 127.0.0.1 (DNS rebinding); a change from a page of another origin is refused; and every answer says
that it is kept nowhere and is nothing but what its type says. What type a body claims to be is not looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from portlb_app import __version__
from portlb_app.config import Problem
from portlb_app.config.etag import Precondition, etag
from portlb_app.pipeline import COPIED, HANDED_UP, PUNTED, Reason, metered_reason
from portlb_app.punt.connlog import Connection, ConnectionLog, Copy
from portlb_app.punt.handlers import Counts, Fate
from portlb_app.reconcile.events import (
    Ended,
    LinkStatus,
    Live,
    LostSwitches,
    Mistaken,
    NoSwitch,
    NotComputed,
    Outcome,
    Outdated,
    RefusedBySwitches,
    Status,
    SwitchStatus,
    TimedOut,
)

MAX_BODY = 4 << 20
"""Bytes of a configuration; the shell need not read more than one byte beyond."""
PUT_SECONDS = 15.0
"""How long the switches have for a new configuration."""

_LIMIT = re.compile("[1-9][0-9]{0,3}")
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_METHODS = {"/v1/status": ("GET",), "/v1/connections": ("GET",), "/v1/config": ("GET", "PUT")}
CONNECTIONS = 100
MAX_CONNECTIONS = 1000
"""Connections of one answer: without a limit, and with the largest."""


@dataclass(frozen=True)
class Request:
    """One request. `host` is the Host header, `body` has at most MAX_BODY + 1 bytes, `query` is behind the "?".

    `origin`, `if_match` and `if_none_match` are the header fields, None where they are not given.
    """

    method: str
    path: str
    host: str
    body: bytes = b""
    query: str = ""
    origin: str | None = None
    if_match: str | None = None
    if_none_match: str | None = None


@dataclass(frozen=True)
class Proposal:
    """A configuration's text that is to become live, if the live one then is the one it was made from.

    `unverified`: also if no switch is connected that could show that it works.
    """

    text: str
    precondition: Precondition
    unverified: bool = False


@dataclass(frozen=True)
class Response:
    """One response. A long body is made piece by piece: who reads it may do something else in between."""

    status: int
    body: str | Iterator[str]
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RefusedConnections:
    """OpenFlow connections that were closed because the peer broke a rule: how many, and (address, why) of the last."""

    count: int = 0
    last: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class View:
    """What there is to tell: the reconciler's status, the live text, what was refused and what was handed up.

    `epoch` is the Unix time (seconds) at which the clock of the connections' times was 0. `unsent`: packets that a
    switch was to send and was not told.
    """

    status: Status
    text: str
    refused: RefusedConnections
    punted: Counts = field(default_factory=dict)
    connections: ConnectionLog = field(default_factory=ConnectionLog)
    epoch: float = 0.0
    unsent: int = 0


def respond(request: Request, view: View) -> Response | Proposal:
    """The answer to a request, or what it proposes (whose answer `answer` makes, later)."""
    if not is_this_machine(request.host):
        return failure(403, f"the Host header {request.host!r} does not name this machine")
    methods = _METHODS.get(request.path)
    if methods is None:
        return failure(404, f"there is no {request.path}; there are {', '.join(_METHODS)}")
    if request.method not in methods:
        allowed = ", ".join(methods)
        text = _json({"error": f"{request.path} knows {allowed}, not {request.method}"})
        return Response(405, text, headers={"Allow": allowed})
    if request.path == "/v1/status":
        return Response(200, _pieces(_status(view)))
    if request.path == "/v1/connections":
        return _connections(request.query, view)
    precondition = Precondition(request.if_match, request.if_none_match)
    if request.method == "GET":
        if precondition.is_unchanged(view.text):
            return Response(304, "", "application/yaml", _tagged(view))
        return Response(200, view.text, "application/yaml", _tagged(view))
    if request.origin is not None and request.origin.lower() != f"http://{request.host.lower()}":
        return failure(403, f"a page of {request.origin!r} may not change the configuration")
    return _proposal(request, precondition)


def headers(response: Response) -> dict[str, str]:
    """All header fields of a response but those about its length."""
    return {"Content-Type": response.content_type, **_HEADERS, **response.headers}


def answer(outcome: Outcome, view: View) -> Response:
    """The answer to a proposed configuration once it is known what became of it."""
    stays = "the last good configuration stays live"
    match outcome:
        case Live(verified):
            return Response(200 if verified else 202, _pieces(_status(view)), headers=_tagged(view))
        case Outdated():
            return _outdated(view)
        case Mistaken(mistakes):
            return _mistaken(mistakes.problems)
        case RefusedBySwitches(reasons):
            switches = {name: list(errors) for name, errors in reasons.items()}
            return Response(409, _json({"error": f"a switch refused the configuration; {stays}", "switches": switches}))
        case LostSwitches(lost):
            text = f"a switch was lost while the configuration was tried; {stays}"
            return Response(504, _json({"error": text, "switches": list(lost)}))
        case TimedOut(waiting, seconds):
            text = f"no answer within {seconds:.0f} s; {stays}"
            return Response(504, _json({"error": text, "switches": list(waiting)}))
        case NotComputed(reason):
            return failure(503, f"the configuration cannot be compiled: {reason}; {stays}")
        case Ended():
            text = "the controller ends, and the file is as it was; until it is started again, switches may hold a part"
            return failure(503, f"{text} of this configuration")
        case NoSwitch():
            text = "no switch is connected, so nothing shows that the configuration works"
            return failure(409, f"{text}; with ?wait=accepted it becomes live and is saved all the same; {stays}")
    return failure(409, "another configuration is being applied; try again")


def sentence(outcome: Outcome, view: View) -> str:
    """What `answer` says about a configuration that did not become live, as one line of a log."""
    said = json.loads("".join(answer(outcome, view).body))
    return f"{said['error']}; {json.dumps(said['switches'])}" if "switches" in said else str(said["error"])


def failure(status: int, text: str) -> Response:
    """An error with nothing more to say than a sentence."""
    return Response(status, _json({"error": text}))


def _tagged(view: View) -> dict[str, str]:
    return {"ETag": etag(view.text)}


def _outdated(view: View) -> Response:
    text = "the live configuration is another one than If-Match or If-None-Match says; nothing was changed"
    return Response(412, _json({"error": text, "etag": etag(view.text)}), headers=_tagged(view))


def is_this_machine(host: str) -> bool:
    """Whether a Host header names loopback: a page's name may lead here, an address of loopback is nobody's name."""
    name, colon, port = host.rpartition(":")
    name = (name if colon and port.isascii() and port.isdigit() else host).lower()
    if name == "localhost":
        return True
    is_bracketed = name.startswith("[") and name.endswith("]")
    try:
        address = ip_address(name[1:-1] if is_bracketed else name)
    except ValueError:
        return False
    return address.is_loopback and (address.version == 6) is is_bracketed


def _proposal(request: Request, precondition: Precondition) -> Response | Proposal:
    if request.query not in ("", "wait=applied", "wait=accepted"):
        return failure(400, "a PUT knows wait=applied and wait=accepted")
    if len(request.body) > MAX_BODY:
        return failure(413, f"a configuration has at most {MAX_BODY} bytes")
    try:
        return Proposal(request.body.decode(), precondition, request.query == "wait=accepted")
    except UnicodeDecodeError as error:
        return _mistaken((Problem("", f"byte {error.start} is not UTF-8"),))


def _mistaken(found: tuple[Problem, ...]) -> Response:
    problems = [{"path": problem.path, "message": problem.message} for problem in found]
    return Response(422, _json({"error": "the configuration has mistakes", "errors": problems}))


def _connections(query: str, view: View) -> Response:
    """Names of VIPs and numbers need no percent-encoding, so none is undone."""
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
    found = view.connections.latest(limit, vip)
    listed = [_connection(each, view.epoch) for each in found]
    return Response(200, _json({"connections": listed, "lost": _lost(view)}))


def _lost(view: View) -> dict[str, int]:
    """What the log of connections lacks: copies that a meter or the controller kept back, records that had to go."""
    counts = view.connections.counts
    metered = sum(_metered(switch)[reason.name.lower()] for switch in view.status.switches for reason in COPIED)
    return {"metered": metered, "queue": counts.get(Copy.QUEUE, 0), "forgotten": counts.get(Copy.FORGOTTEN, 0)}


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


def _status(view: View) -> dict[str, Any]:
    return {
        "version": __version__,
        "generation": view.status.generation,
        "etag": etag(view.text),
        "configuration": "verified" if view.status.verified else "unverified",
        "problem": view.status.problem or None,
        "switches": map(_switch, view.status.switches),
        "links": map(_link, view.status.links),
        "unknown_switches": [f"{dpid:#x}" for dpid in view.status.unknown],
        "refused_connections": {
            "count": view.refused.count,
            "last": [{"address": address, "reason": reason} for address, reason in view.refused.last],
        },
        "punted": _punted(view.punted),
        "unsent": view.unsent,
        "connections": {
            "open": view.connections.open,
            "ended": view.connections.ended,
            "counts": {copy.value: view.connections.counts.get(copy, 0) for copy in Copy},
            "lost": _lost(view),
        },
    }


def _punted(counts: Counts) -> dict[str, dict[str, int]]:
    """Packets that switches handed up, by reason and fate; every pair is there, 0 or not."""
    return {reason.name.lower(): {fate.value: counts.get((reason, fate), 0) for fate in Fate} for reason in PUNTED}


def _link(each: LinkStatus) -> dict[str, Any]:
    return {"ends": [str(end) for end in each.link], "up": each.up, "hold_seconds": round(each.hold, 1)}


def _switch(switch: SwitchStatus) -> dict[str, Any]:
    return {
        "name": switch.name,
        "dpid": f"{switch.dpid:#x}",
        "state": switch.state,
        "flows": switch.flows,
        "groups": switch.groups,
        "meters": switch.meters,
        "metered": _metered(switch),
        "drift": switch.drift,
        "errors": list(switch.errors),
        "ports": [
            {"number": each.number, "name": each.name or None, "use": each.use, "problem": each.problem}
            for each in switch.ports
        ],
        "read_age_seconds": None if switch.read_age is None else round(switch.read_age, 3),
    }


def _metered(switch: SwitchStatus) -> dict[str, int]:
    """Packets that a switch kept from being handed up, by reason, of all VIPs together: its meters, or their size."""
    counts: dict[str, int] = {reason.name.lower(): 0 for reason in (*HANDED_UP, Reason.TOO_LARGE)}
    for number, dropped in switch.metered.items():
        if reason := metered_reason(number):
            counts[reason.name.lower()] += dropped
    return counts


def _json(value: Mapping[str, Any]) -> str:
    """A JSON object: a line for each member, and for each element of a list of objects.

    Python's `indent` would take five times as long, which others feel in the status of 100 switches.
    """
    return "".join(_pieces(value))


def _pieces(value: Mapping[str, Any]) -> Iterator[str]:
    """The same in pieces, of which none takes long; members that are iterators are lists of objects, made meanwhile."""
    between = "{\n"
    for key, each in value.items():
        yield f"{between}  {json.dumps(key)}: "
        yield from _member(each)
        between = ",\n"
    yield "\n}\n"


def _member(value: Any) -> Iterator[str]:
    is_of_objects = isinstance(value, list) and any(isinstance(each, dict) for each in value)
    if not is_of_objects and not isinstance(value, Iterator):
        yield json.dumps(value)
        return
    between = "[\n"
    for each in value:
        yield f"{between}    {json.dumps(each)}"
        between = ",\n"
    yield "[]" if between == "[\n" else "\n  ]"
