"""What is wrong at this moment: the first thing on the first page. The status decides what is (`api.attention`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from portlb_app.api.attention import troubles
from portlb_app.api.snapshot import Snapshot
from portlb_app.api.trouble import Trouble

SHOWN = 50
"""Troubles that are shown; of more there is the number."""


@dataclass(frozen=True)
class Shown:
    """A trouble as the page has it. `since`: Unix seconds; None if that is not known."""

    trouble: Trouble
    since: float | None
    link: str

    @property
    def tone(self) -> str:
        """How it looks."""
        return "bad" if self.trouble.is_bad else "warn"

    @property
    def what(self) -> str:
        """What has it."""
        return f"{self.trouble.kind} {self.trouble.name}".rstrip()


def shown(snapshot: Snapshot) -> tuple[list[Shown], int]:
    """The worst, as many as a page has room for, and how many there are beside."""
    found = sorted(_all(snapshot), key=lambda each: not each.trouble.is_bad)
    return list(islice(found, SHOWN)), max(0, len(found) - SHOWN)


def _all(snapshot: Snapshot) -> Iterator[Shown]:
    """Since when is said by the status, or else by the last event about a pool or link: that made it so."""
    latest: dict[tuple[str, str], float] = {}
    for event in snapshot.events.after(0)[0]:
        latest[event.what.kind, event.what.of.replace(" - ", "-")] = event.at
    for each in troubles(snapshot.status):
        told = latest.get((each.kind, each.name)) if each.kind in ("pool", "link") else None
        yield Shown(each, told if each.seconds is None else snapshot.unix - each.seconds, _link(each))


def _link(trouble: Trouble) -> str:
    match trouble.kind:
        case "pool":
            return f"/pools/{trouble.name.replace(':', '/')}"
        case "server":
            return f"/servers/{trouble.name}"
        case "configuration":
            return "/network" if trouble.word == "unverified" else "/events?kind=config"
    return "/network"
