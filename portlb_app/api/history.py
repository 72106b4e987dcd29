"""Changes of the configuration and of overrides: who asked for what, when, and what became of it. Pure.

A change is written down when it begins, before any switch hears of it, and again when it is known what became of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

Source = Literal["start", "rest", "reload", "rollback"]
"""Where a change came from: the file as it was found at the start, a request, the file read again, an earlier change.
"""
What = Literal["config", "override"]

BEGUN = "begun"
LIVE = ("live", "unverified")
"""Outcomes of a configuration that became live."""
KEPT: Mapping[str, int] = {"live": 100, "other": 100, "override": 500}
"""How many changes are kept: configurations that became live, those that did not, and overrides."""
MAX_WORDS = 500
"""Characters of a sentence about a change."""
MAX_SWITCHES = 64
"""Switches whose outcome is written down; those that have it are left out first."""


@dataclass(frozen=True)
class SwitchOutcome:
    """What became of a change on one switch: its state afterwards, and its errors."""

    state: str
    errors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """One change.

    - `subject`: what it is about, in words. `by`, `came_from`: who asked for it, and from where.
    - `at`: Unix seconds when it began. `seconds`: how long it took, None until it has ended.
    - `config`: the hash of the configuration's text: the one that was proposed; for an override the one it is over.
      `before`: of the one that was live. `overrides`: the hash of the overrides' text, for an override.
    - `outcome`: a word; `reason` a sentence; `switches` by name.
    """

    id: int
    what: What
    source: Source
    at: float
    subject: str = ""
    by: str = ""
    came_from: str = ""
    config: str = ""
    before: str = ""
    overrides: str = ""
    outcome: str = BEGUN
    reason: str = ""
    seconds: float | None = None
    switches: Mapping[str, SwitchOutcome] = field(default_factory=dict)

    @property
    def is_live(self) -> bool:
        """It is a configuration that became live."""
        return self.what == "config" and self.outcome in LIVE

    @property
    def has_begun(self) -> bool:
        """What becomes of it is not known yet."""
        return self.outcome == BEGUN


class History:
    """The changes that are kept, in their order."""

    def __init__(self, known: Iterable[Change] = ()) -> None:
        self._changes = {each.id: each for each in known}
        self._last = max(self._changes, default=0)

    def __iter__(self) -> Iterator[Change]:
        """The last one first."""
        return iter(sorted(self._changes.values(), key=lambda each: -each.id))

    def __len__(self) -> int:
        return len(self._changes)

    def get(self, number: int) -> Change | None:
        """A change by its id."""
        return self._changes.get(number)

    @property
    def live(self) -> Change | None:
        """The last change that made a configuration live."""
        return next((each for each in self if each.is_live), None)

    def begin(self, change: Change) -> Change:
        """A change begins: it gets its id, and those that are too many are forgotten."""
        self._last += 1
        begun = replace(change, id=self._last)
        self._changes[begun.id] = begun
        self._forget()
        return begun

    def end(self, change: Change) -> None:
        """What became of it, unless it was forgotten."""
        if change.id in self._changes:
            self._changes[change.id] = change

    def drop(self, number: int) -> None:
        """A change could not begin."""
        self._changes.pop(number, None)

    def _forget(self) -> None:
        room = dict(KEPT)
        for each in list(self):
            kind = "override" if each.what == "override" else "live" if each.is_live else "other"
            if room[kind]:
                room[kind] -= 1
            elif not each.has_begun:
                del self._changes[each.id]


def short(outcomes: Mapping[str, SwitchOutcome]) -> dict[str, SwitchOutcome]:
    """What is written down of the outcomes on switches: those that lack it before others, and no long errors."""
    ordered = sorted(outcomes.items(), key=lambda item: (item[1].state == "synced", item[0]))[:MAX_SWITCHES]
    return {name: replace(each, errors=tuple(text[:200] for text in each.errors[:3])) for name, each in ordered}


def found_at_the_start(changes: Iterable[Change], config: str, overrides: str) -> list[Change]:
    """The changes whose end nobody has written down, ended by what the files have: a controller was killed over them.

    `config`, `overrides`: the hashes of the texts on the disk. Overrides are written down and saved one after the
    other: all but the last are saved.
    """
    known = sorted(changes, key=lambda each: each.id)
    begun = [each for each in known if each.has_begun]
    last = next((each.config for each in reversed(known) if each.is_live), "")
    live = max((each.id for each in begun if each.what == "config" and each.config == config), default=0)
    newest = max((each.id for each in known if each.what == "override"), default=0)
    ended = []
    for each in begun:
        is_saved = each.what == "override" and (each.id < newest or each.overrides == overrides)
        if each.id == live or is_saved:
            outcome, reason = "live" if each.what == "config" else "saved", "it is on the disk"
        else:
            outcome, reason = "ended", "it was not on the disk yet"
        before = last if each.what == "config" else each.before
        ended.append(replace(each, outcome=outcome, before=before, reason=f"the controller was killed; {reason}"))
    return ended
