"""Requests, responses and proposals of the REST interface. Every response but a configuration's text is JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from portlb_app.api.history import Change
from portlb_app.api.identity import Role
from portlb_app.config.etag import Precondition

MAX_BODY = 4 << 20
"""Bytes of a configuration; the shell need not read more than one byte beyond."""
CHANGE = "Portlb-Change"
"""The header field of an answer that names the change that was written down."""
TURN_SECONDS = 60.0
PATIENCE_SECONDS = 15.0
"""How long a configuration waits for its turn, and how long switches have for it, unless the client says so."""
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_OF_PAGES = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
}
"""A page of HTML loads nothing from elsewhere, runs no script that stands in it, and is shown in no other page. Other
sites are told no address; without any, browsers would send forms with no origin."""


@dataclass(frozen=True)
class Request:
    """One request. `host` is the Host header, `body` has at most MAX_BODY + 1 bytes, `query` is behind the "?".

    `if_match` and `if_none_match` are the header fields, None where they are not given. `by`: who asks
    (`Identity.name`), empty if nothing says so; `came_from`: from where, as far as the connection tells.
    `last_event`, `accept` and `prefer`: the header fields Last-Event-ID, Accept and Prefer. `form`: the fields of a
    form. `role`: of the one who asks; `has_session`: by a browser's session.
    """

    method: str
    path: str
    host: str
    body: bytes = b""
    query: str = ""
    if_match: str | None = None
    if_none_match: str | None = None
    by: str = ""
    came_from: str = ""
    last_event: str | None = None
    form: Mapping[str, str] = field(default_factory=dict)
    accept: str = ""
    prefer: str | None = None
    role: Role = Role.ADMIN
    has_session: bool = False


@dataclass(frozen=True)
class Proposal:
    """A configuration's text that is to become live, if the live one then is the one it was made from.

    `unverified`: also if no switch is connected that could show that it works. `atomic`: all connected switches or
    none. `turn`, `patience`: seconds that it may wait for its turn, and that switches have for it. `dry_run`: only tell
    what would change, and `steps`: each step of it. `said`: what is written down about it.
    `answer`: seconds after which the answer comes in any case; None: when it is known what became of it. `applied`:
    the preferences of the client that this honours (`waiting`).
    """

    text: str
    precondition: Precondition
    unverified: bool = False
    atomic: bool = False
    turn: float = TURN_SECONDS
    patience: float = PATIENCE_SECONDS
    dry_run: bool = False
    steps: bool = False
    answer: float | None = None
    applied: str = ""
    said: Change = Change(0, "config", "rest", 0.0)


@dataclass(frozen=True)
class Response:
    """One response. A long body is made piece by piece, so that its reader can do something else in between."""

    status: int
    body: str | Iterator[str]
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def headers(response: Response) -> dict[str, str]:
    """All header fields of a response but those about its length."""
    of_pages = _OF_PAGES if response.content_type.startswith("text/html") else {}
    return {"Content-Type": response.content_type, **_HEADERS, **of_pages, **response.headers}


def json_text(value: Mapping[str, Any]) -> str:
    """A JSON object: a line for each member, and for each element of a list of objects.

    Python's `indent` would take five times as long, which others feel in the status of 100 switches.
    """
    return "".join(json_pieces(value))


def json_pieces(value: Mapping[str, Any]) -> Iterator[str]:
    """The same in pieces, of which none takes long; members that are iterators are lists of objects, made meanwhile.

    Members that are functions are asked when those before them have been made.
    """
    between = "{\n"
    for key, each in value.items():
        yield f"{between}  {json.dumps(key)}: "
        yield from _member(each() if callable(each) else each)
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
