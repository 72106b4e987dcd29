"""Overrides as the text of ``lb.yaml.overrides``: JSON, an override a line."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from portlb_app.config import moments
from portlb_app.config.entries import Entry, Number, Truth, read
from portlb_app.config.overrides import MAX_OVERRIDES, Key, Override, Overrides, Value, word
from portlb_app.config.policies import Wanted
from portlb_app.config.problems import Problems
from portlb_app.config.strict_json import parse
from portlb_app.config.values import MAX_WEIGHT

VERSION = 1
MAX_REASON = 200
MAX_BY = 100
"""Characters of what is said about an override."""


def moment(value: Any) -> Any:
    """A time as the file and REST write it, in Unix seconds; ValueError."""
    if value is not None and not isinstance(value, str):
        raise ValueError("a time like 2026-12-01T06:00:00Z is expected")
    return None if value is None else moments.parse(value)


def value(given: Any) -> Any:
    """A state or a weight; ValueError."""
    if isinstance(given, str) and given in Wanted.__members__.values():
        return Wanted(given)
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= MAX_WEIGHT:
        return given
    raise ValueError(f"ready, drain, maint or a weight from 0 to {MAX_WEIGHT} is expected")


def words(given: Any) -> Any:
    """What somebody says; ValueError unless it can be shown on one line."""
    if not isinstance(given, str) or not given.isprintable():
        raise ValueError("printable characters on one line are expected")
    return given


Moment = Annotated[int | None, BeforeValidator(moment)]
Reason = Annotated[str, Field(max_length=MAX_REASON), BeforeValidator(words)]
By = Annotated[str, Field(max_length=MAX_BY), BeforeValidator(words)]
_Value = Annotated[Wanted | int, BeforeValidator(value)]


class _File(Entry):
    """The whole file."""

    required = ("version", "overrides")
    version: Number | None = None
    overrides: list[Any] | None = Field(default=None, max_length=MAX_OVERRIDES)


class _Entry(Entry):
    """``overrides[N]``."""

    required = ("server", "key", "value", "replaced", "since")
    server: str | None = None
    key: Literal["state", "weight"] | None = None
    value: _Value | None = None
    replaced: _Value | None = None
    reason: Reason = ""
    by: By = ""
    since: Moment = None
    until: Moment = None
    deadline: Moment = None
    move: Truth = False


def dump(overrides: Overrides) -> str:
    """The text of a file with these overrides."""
    lines = [
        json.dumps(
            {
                "server": server,
                "key": key,
                "value": _plain(each.value),
                "replaced": _plain(each.replaced),
                "reason": each.reason,
                "by": each.by,
                "since": moments.text(each.since),
                "until": None if each.until is None else moments.text(each.until),
                "deadline": None if each.deadline is None else moments.text(each.deadline),
                "move": each.move,
            }
        )
        for (server, key), each in overrides
    ]
    return f'{{"version": {VERSION}, "overrides": [\n' + ",\n".join(lines) + "\n]}\n"


def load(text: str) -> Overrides:
    """The overrides of a file's text; ConfigError with what is wrong with it. A part of a text is none."""
    problems = Problems()
    data = parse(text)
    file = read(_File, "", data, problems)
    if file.version not in (None, VERSION):
        problems.add("version", f"is {file.version}; this portlb reads version {VERSION}")
    problems.raise_any()
    entries: dict[tuple[str, Key], Override] = {}
    for number, each in enumerate(file.overrides or ()):
        path = f"overrides[{number}]"
        entry = read(_Entry, path, each, problems)
        if entry.key is None or entry.server is None:
            continue
        if (entry.server, entry.key) in entries:
            problems.add(path, f"{entry.key} of {entry.server} is given twice")
        for name in ("value", "replaced"):
            given = getattr(entry, name)
            if given is not None and isinstance(given, Wanted) is not (entry.key == "state"):
                problems.add(f"{path}.{name}", f"{word(given)} is no {entry.key}")
        if entry.value is not None and entry.replaced is not None and entry.since is not None:
            times = float(entry.since), entry.until, entry.deadline
            said = entry.reason, entry.by, *times, entry.move
            entries[entry.server, entry.key] = Override(entry.value, entry.replaced, *said)
    problems.raise_any()
    return Overrides(entries)


def _plain(given: Value) -> str | int:
    return given.value if isinstance(given, Wanted) else given
