"""``GET /v1/changes``, ``GET /v1/changes/ID`` and ``POST /v1/changes/ID/rollback``."""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass, replace
from typing import Any

from portlb_app.api import configuration
from portlb_app.api.history import Change
from portlb_app.api.messages import Proposal, Response, json_pieces, json_text
from portlb_app.api.problem_details import failure
from portlb_app.api.routing import Call, Parameter, written

USUAL = 100
MAX_LINES = 2000
"""Lines that are compared, without those that are alike at both ends: comparing takes the square of it."""
BEFORE = Parameter("cursor", "Those before this change", numbers=(1, 999_999_999))
WHAT = Parameter("what", "Only changes of the configuration, or of overrides", words=("config", "override"))
LIMIT = Parameter("limit", f"At most so many ({USUAL})", numbers=(1, 1000))


@dataclass(frozen=True)
class ReadChange:
    """A change is to be told with its texts, which are on the disk."""

    change: Change


@dataclass(frozen=True)
class Rollback:
    """The configuration of a change is to be proposed, as `call` says."""

    change: Change
    call: Call


def listed(call: Call) -> Response:
    """The changes, the last one first."""
    query = call.query
    limit, before = int(query.get("limit", USUAL)), int(query.get("cursor", 0))
    found = [
        each
        for each in call.snapshot.history
        if (not before or each.id < before) and query.get("what", each.what) == each.what
    ]
    more = written({**query, "cursor": str(found[limit - 1].id)}) if len(found) > limit else ""
    body = {"changes": map(value, found[:limit]), "next": f"/v1/changes?{more}" if more else None}
    return Response(200, json_pieces(body))


def one(call: Call) -> Response | ReadChange:
    """One change."""
    change = _named(call)
    return change if isinstance(change, Response) else ReadChange(change)


def rollback(call: Call) -> Response | Rollback:
    """The configuration of a change is to be live again."""
    change = _named(call)
    if isinstance(change, Response):
        return change
    if change.what != "config":
        return failure("not-found", f"change {change.id} changed no configuration, but: {change.subject}")
    return Rollback(change, call)


def propose(asked: Rollback, text: str) -> Response | Proposal:
    """What `configuration.propose` makes of the text, written down as what it is."""
    made = configuration.propose(replace(asked.call, request=replace(asked.call.request, body=text.encode())))
    if isinstance(made, Response):
        return made
    said = replace(made.said, source="rollback", subject=f"back to change {asked.change.id}")
    return replace(made, said=said)


def whole(change: Change, text: str | None, before: str | None, problem: str) -> Response:
    """A change with its text, and what that changed."""
    made = difference(before, text) if text is not None and before is not None else None
    return Response(200, json_text({**value(change), "text": text, "diff": made, "problem": problem}))


def difference(before: str, after: str, names: tuple[str, str] = ("before", "after")) -> str | None:
    """A unified diff; None where comparing would take too long."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    alike = next((at for at, (one, other) in enumerate(zip(old, new)) if one != other), min(len(old), len(new)))
    start = max(0, alike - 3)
    behind, most = 0, min(len(old), len(new)) - alike
    while behind < most and old[-1 - behind] == new[-1 - behind]:
        behind += 1
    end = max(0, behind - 3)
    here, there = old[start : len(old) - end], new[start : len(new) - end]
    if max(len(here), len(there)) > MAX_LINES:
        return None
    hunks = list(difflib.unified_diff(here, there, *names))
    last = "\n\\ no newline at the end\n"
    return "".join(line if line.endswith("\n") else line + last for line in _moved(hunks, start))


def _moved(hunks: list[str], lines: int) -> list[str]:
    """Hunks of a part of both texts, which begins behind so many lines."""

    def place(word: str) -> str:
        first, comma, count = word[1:].partition(",")
        return f"{word[0]}{int(first) + lines}{comma}{count}"

    moved = []
    for line in hunks:
        if line.startswith("@@ "):
            _, old, new, _ = line.split(" ", 3)
            line = f"@@ {place(old)} {place(new)} @@\n"
        moved.append(line)
    return moved


def value(change: Change) -> dict[str, Any]:
    """A change for JSON."""
    made = asdict(change)
    del made["overrides"]
    made["from"] = made.pop("came_from")
    made["switches"] = {
        name: {"state": each.state, "errors": list(each.errors)} for name, each in sorted(change.switches.items())
    }
    return made


def _named(call: Call) -> Change | Response:
    text = call.names["change"]
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    change = call.snapshot.history.get(number)
    return change or failure("not-found", "there is no such change; GET /v1/changes has those that are kept")
