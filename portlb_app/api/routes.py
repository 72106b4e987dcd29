"""The REST interface without HTTP: a request value in, a response value out, or a configuration to propose.

=======================  =============================================================================================
``GET /v1/status``       version, generation of the live configuration, every switch and link, what was refused
``GET /v1/connections``  the log of connections, newest first; ``?vip=NAME`` and ``?limit=NUMBER`` choose
``GET /v1/servers``      what is wanted and seen of servers, and what the switches hold of them; ``?vip=NAME`` and
                         ``?state=WORD`` choose; ``GET /v1/servers/NAME`` is one
``GET /v1/pools``        the slots of pools
``PUT …/NAME/state``     ready, drain or maint: 200 when all connected switches have it, 404 for an unknown server, 409
                         for what needs force, 422 with every mistake, 504 when some switches lack it (the wish stands)
``PUT …/NAME/weight``    a weight; ``DELETE`` is back to the file's
``GET /v1/checks``       every health check: its last result, and what follows
``GET /v1/ask``          which slot and server a packet would get, by the hash of the switches; its query says which
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

from ipaddress import ip_address

from portlb_app.api import asking, configuration, pools, servers
from portlb_app.api.checks import checks
from portlb_app.api.connections import connections
from portlb_app.api.messages import Proposal, Request, Response, failure, json_pieces, json_text
from portlb_app.api.snapshot import Snapshot
from portlb_app.api.status import status
from portlb_app.api.wishes import Wish, read_wish
from portlb_app.punt.asking import Question

_METHODS = {
    "/v1/status": ("GET",),
    "/v1/connections": ("GET",),
    "/v1/checks": ("GET",),
    "/v1/ask": ("GET",),
    "/v1/config": ("GET", "PUT"),
    "/v1/servers": ("GET",),
    "/v1/servers/NAME": ("GET",),
    "/v1/servers/NAME/state": ("GET", "PUT"),
    "/v1/servers/NAME/weight": ("GET", "PUT", "DELETE"),
    "/v1/pools": ("GET",),
}
"""By path what it knows. NAME is a server's, which needs no percent-encoding, so none is undone."""


def respond(request: Request, snapshot: Snapshot) -> Response | Proposal | Wish | Question:
    """The answer to a request, or what it asks for.

    `configuration.outcome_response` answers a proposal later, `judgement` a wish, and `asking` a question.
    """
    if not is_this_machine(request.host):
        return failure(403, f"the Host header {request.host!r} does not name this machine")
    path, name = _template(request.path)
    methods = _METHODS.get(path)
    if methods is None:
        return failure(404, f"there is no {request.path}; there are {', '.join(_METHODS)}")
    if request.method not in methods:
        allowed = ", ".join(methods)
        text = json_text({"error": f"{request.path} knows {allowed}, not {request.method}"})
        return Response(405, text, headers={"Allow": allowed})
    if request.method != "GET" and request.origin is not None:
        if request.origin.lower() != f"http://{request.host.lower()}":
            return failure(403, f"a page of {request.origin!r} may change nothing")
    if request.method != "GET":
        return _change(request, path, name, snapshot)
    match path:
        case "/v1/status":
            return Response(200, json_pieces(status(snapshot)))
        case "/v1/connections":
            return connections(request.query, snapshot)
        case "/v1/checks":
            return checks(snapshot)
        case "/v1/ask":
            return asking.read(request.query, snapshot)
        case "/v1/config":
            return configuration.read(request, snapshot)
        case "/v1/servers":
            return servers.listed(request.query, snapshot)
        case "/v1/pools":
            return pools.listed(request.query, snapshot)
        case _:
            return servers.one(name, path, request.query, snapshot)


def _change(request: Request, path: str, name: str, snapshot: Snapshot) -> Response | Proposal | Wish:
    match path:
        case "/v1/servers/NAME/state":
            return read_wish(request, name, "state", snapshot.unix)
        case "/v1/servers/NAME/weight":
            return read_wish(request, name, "weight", snapshot.unix)
        case _:
            return configuration.propose(request)


def _template(path: str) -> tuple[str, str]:
    """A path with NAME in place of a server's name, and that name."""
    parts = path.split("/")
    if path.startswith("/v1/servers/") and len(parts) > 3 and parts[3]:
        return "/".join([*parts[:3], "NAME", *parts[4:]]), parts[3]
    return path, ""


def is_this_machine(host: str) -> bool:
    """Whether a Host header names loopback: a web page's name may lead here, but no name is an address of loopback."""
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
