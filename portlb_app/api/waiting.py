"""How long a client waits: ``wait`` and ``timeout`` of the query, and the header field ``Prefer`` (RFC 7240).

The query is an order and comes first, ``Prefer`` is a wish: what cannot be honoured is as if it was not said, and
``Preference-Applied`` names what is honoured.

- ``respond-async``: the answer comes at once (202), and names the change under which it is found what became of it.
- ``respond-async, wait=N``: the same, but after N seconds, if it is not known before.
- ``wait=N``: as ``timeout=N``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from portlb_app.api.messages import PATIENCE_SECONDS, TURN_SECONDS, Response, json_text
from portlb_app.api.routing import Call, Parameter

MOST_SECONDS = 300
TIMEOUT = Parameter(
    *("timeout", "Seconds that it may wait for its turn, and then that switches have for it"), numbers=(1, MOST_SECONDS)
)
WISH_TIMEOUT = replace(TIMEOUT, text="Seconds that switches have for it until it is answered that some lack it")
WISH_WAIT = Parameter(
    *("wait", "applied: until all connected switches have it. none: the answer comes at once"),
    words=("applied", "none"),
)
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_VALUE = rf'(?:{_TOKEN}|"(?:[^"\\]|\\.)*")'
_PREFERENCE = re.compile(
    rf"[ \t]*(?P<name>{_TOKEN})(?:[ \t]*=[ \t]*(?P<value>{_VALUE}))?"
    rf"(?:[ \t]*;[ \t]*(?:{_TOKEN}(?:[ \t]*=[ \t]*{_VALUE})?)?)*[ \t]*(?:,|$)"
)
_SECONDS = re.compile("[0-9]{1,9}")


@dataclass(frozen=True)
class Preferences:
    """What ``Prefer`` says of waiting. `wait`: seconds; None if it says nothing of them."""

    is_async: bool = False
    wait: int | None = None


@dataclass(frozen=True)
class Waiting:
    """`turn`, `patience`: seconds that a change may wait for its turn, and that switches have for it.

    `answer`: seconds after which the answer comes in any case; None: when it is known what became of the change.
    `applied`: the preferences that are honoured, as ``Preference-Applied`` has them.
    """

    turn: float = TURN_SECONDS
    patience: float = PATIENCE_SECONDS
    answer: float | None = None
    applied: str = ""


def waiting(call: Call, may_answer_before: bool = True) -> Waiting:
    """What a request says. `may_answer_before`: the answer may come before it is known what became of the change."""
    query, preferred = call.query, preferences(call.request.prefer)
    made = Waiting(answer=0.0 if query.get("wait") == "none" else None)
    seconds = query.get("timeout")
    if may_answer_before and preferred.is_async and "wait" not in query:
        wait = min(preferred.wait or 0, MOST_SECONDS)
        named = f", wait={wait}" if preferred.wait == wait else ""
        made = replace(made, answer=float(wait), applied=f"respond-async{named}")
    elif seconds is None and query.get("wait") != "none" and 1 <= (preferred.wait or 0) <= MOST_SECONDS:
        seconds = str(preferred.wait)
        made = replace(made, applied=f"wait={seconds}")
    return made if seconds is None else replace(made, turn=float(seconds), patience=float(seconds))


def preferences(field: str | None) -> Preferences:
    """What the header field says: of several of a name the first; what is no preference ends it."""
    found: dict[str, str] = {}
    field, at = field or "", 0
    while at < len(field) and (item := _PREFERENCE.match(field, at)):
        found.setdefault(item["name"].lower(), item["value"] or "")
        at = item.end()
    wait = found.get("wait", "").strip('"')
    return Preferences("respond-async" in found, int(wait) if _SECONDS.fullmatch(wait) else None)


def accepted(change: int) -> Response:
    """The answer to a change that goes on: where it is found what became of it."""
    href = f"/v1/changes/{change}"
    return Response(202, json_text({"change": change, "href": href}), headers={"Location": href})


def told(response: Response, applied: str) -> Response:
    """The answer, with the preferences that were honoured."""
    return replace(response, headers={**response.headers, "Preference-Applied": applied}) if applied else response
