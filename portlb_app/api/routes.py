"""The REST interface without HTTP: a request value in, a response value out, or a configuration to propose.

=======================  =============================================================================================
``GET /v1/status``       version, generation of the live configuration, every switch and link, what was refused
``GET /v1/connections``  the log of connections, newest first; ``?vip=NAME`` and ``?limit=NUMBER`` choose
``GET /v1/checks``       every health check: its last result, and what follows
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

from portlb_app.api import configuration
from portlb_app.api.checks import checks
from portlb_app.api.connections import connections
from portlb_app.api.messages import Proposal, Request, Response, failure, json_pieces, json_text
from portlb_app.api.snapshot import Snapshot
from portlb_app.api.status import status

_METHODS = {"/v1/status": ("GET",), "/v1/connections": ("GET",), "/v1/checks": ("GET",), "/v1/config": ("GET", "PUT")}


def respond(request: Request, snapshot: Snapshot) -> Response | Proposal:
    """The answer to a request, or what it proposes (`configuration.outcome_response` answers it later)."""
    if not is_this_machine(request.host):
        return failure(403, f"the Host header {request.host!r} does not name this machine")
    methods = _METHODS.get(request.path)
    if methods is None:
        return failure(404, f"there is no {request.path}; there are {', '.join(_METHODS)}")
    if request.method not in methods:
        allowed = ", ".join(methods)
        text = json_text({"error": f"{request.path} knows {allowed}, not {request.method}"})
        return Response(405, text, headers={"Allow": allowed})
    if request.path == "/v1/status":
        return Response(200, json_pieces(status(snapshot)))
    if request.path == "/v1/connections":
        return connections(request.query, snapshot)
    if request.path == "/v1/checks":
        return checks(snapshot)
    return configuration.read(request, snapshot) if request.method == "GET" else configuration.propose(request)


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
