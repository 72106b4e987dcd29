"""Parts of the configuration: a merge patch of the whole, servers, and redirect ports with their policies.

Each is a change of some values in the text of the configuration that is live when its turn comes; the rest of the text
stays, comments included (`config.editing`). So such a request needs no precondition.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from portlb_app.api import configuration
from portlb_app.api.messages import Proposal, Response
from portlb_app.api.problem_details import failure
from portlb_app.api.routing import Call
from portlb_app.api.servers import no_vip, unknown
from portlb_app.api.wishes import mistaken
from portlb_app.config import ConfigError
from portlb_app.config.editing import Whole
from portlb_app.config.problems import Problem, printable
from portlb_app.config.strict_json import parse

MAX_PATCH = 256 << 10
"""Bytes of a body."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_PORT = re.compile("[1-9][0-9]{0,4}")


@dataclass(frozen=True)
class Edit:
    """These values of the configuration are to be others. `proposal`: the rest of what is asked for, without a text."""

    patch: Mapping[str, Any]
    proposal: Proposal


def patch_config(call: Call) -> Response | Edit:
    """A merge patch (RFC 7396) of the whole configuration."""
    body = _body(call)
    return body if isinstance(body, Response) else Edit(body, _proposal(call))


def put_server(call: Call) -> Response | Edit:
    """A server, new or in place of the one of this name."""
    vip, name = call.names["vip"], call.names["server"]
    if not _NAME.fullmatch(name):
        return failure("not-found", f"a server cannot be called {printable(name)!r}")
    known = call.snapshot.config.server_by_name.get(name)
    if known is not None and known.vip != vip:
        return failure("not-found", f"there is a server {name}, but of {known.vip}")
    missing = no_vip(vip, call.snapshot)
    body = missing or _body(call)
    if isinstance(body, Response):
        return body
    return Edit({"servers": {name: Whole({"vip": vip, **body})}}, _proposal(call))


def delete_server(call: Call) -> Response | Edit:
    """A server goes, and from all pools."""
    vip, name, config = call.names["vip"], call.names["server"], call.snapshot.config
    known = config.server_by_name.get(name)
    if known is None or known.vip != vip:
        return unknown(name)
    patch: dict[str, Any] = {"servers": {name: None}}
    pools = next(each for each in config.vips if each.name == vip).redirect_ports
    left = {str(pool.port): [each for each in pool.servers if each != name] for pool in pools if name in pool.servers}
    if left:
        patch["vips"] = {vip: {"redirect_ports": {port: {"servers": names} for port, names in left.items()}}}
    return Edit(patch, _proposal(call))


def put_port(call: Call) -> Response | Edit:
    """A redirect port with its policies, new or in place of the one of this number."""
    vip, port = call.names["vip"], call.names["port"]
    if not _PORT.fullmatch(port) or int(port) > 65535:
        return failure("not-found", f"{printable(port)} is no port")
    body = no_vip(vip, call.snapshot) or _body(call)
    if isinstance(body, Response):
        return body
    return Edit({"vips": {vip: {"redirect_ports": {port: Whole(body)}}}}, _proposal(call))


def delete_port(call: Call) -> Response | Edit:
    """A redirect port goes."""
    vip, port = call.names["vip"], call.names["port"]
    found = next((each for each in call.snapshot.config.vips if each.name == vip), None)
    if found is None or not any(str(each.port) == port for each in found.redirect_ports):
        return failure("not-found", f"there is no redirect port {printable(vip)}:{printable(port)}")
    return Edit({"vips": {vip: {"redirect_ports": {port: None}}}}, _proposal(call))


def _proposal(call: Call) -> Proposal:
    """Without a text. It may be made anew for another one, so the answer is that of the last."""
    return configuration.proposal(call, "", may_answer_before=False)


def _body(call: Call) -> dict[str, Any] | Response:
    """The JSON object of a body."""
    if len(call.request.body) > MAX_PATCH:
        return failure("too-large", f"a part of a configuration has at most {MAX_PATCH} bytes; nothing was changed")
    try:
        data: dict[str, Any] = parse(call.request.body.decode())
    except UnicodeDecodeError as error:
        return mistaken((Problem("", f"byte {error.start} is not UTF-8"),))
    except ConfigError as error:
        return mistaken(error.errors)
    return data
