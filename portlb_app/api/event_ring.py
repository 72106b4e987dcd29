"""The last events, each under an id that a reader can go on from. Pure: the time of day is an argument.

An id is ``BOOT-NUMBER``: BOOT is another one each time the controller starts, numbers count from 1. A reader that names
an id which is gone, or of another boot, is told so and never left to believe that nothing happened.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Collection
from itertools import islice
from typing import Any, NamedTuple

from portlb_app.reconcile.happened import Happened

KEPT = 4096
_ID = re.compile(r"([0-9a-f]{1,32})-(0|[1-9][0-9]{0,15})")


class Event(NamedTuple):
    """Something that happened at a time of day (Unix seconds)."""

    id: str
    at: float
    what: Happened

    def value(self) -> dict[str, Any]:
        """The event for JSON."""
        return {
            "id": self.id,
            "at": round(self.at, 3),
            "kind": self.what.kind,
            "object": self.what.of,
            "from": self.what.before,
            "to": self.what.after,
            "reason": self.what.reason,
            "evidence": dict(self.what.evidence),
            "change": int(self.what.change) if self.what.change else None,
        }


class EventRing:
    """The last `KEPT` events of this boot (hexadecimal digits). `counts`: all that there were, by kind."""

    def __init__(self, boot: str = "0") -> None:
        self._boot = boot
        self._events: deque[Event] = deque(maxlen=KEPT)
        self.last = 0
        """The number of the last event; 0 if there was none."""
        self.counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._events)

    def add(self, at: float, what: Happened) -> None:
        """Something has happened."""
        self.last += 1
        self._events.append(Event(self.id(self.last), at, what))
        self.counts[what.kind] += 1

    def id(self, number: int) -> str:
        """The id of an event of this boot by its number; 0 is before the first."""
        return f"{self._boot}-{number}"

    def number_of_boot(self, text: str) -> int | None:
        """The number that an id names, whatever it counts; None unless it is of this boot."""
        found = _ID.fullmatch(text)
        return int(found[2]) if found and found[1] == self._boot else None

    def number(self, text: str) -> int | None:
        """The number that an id names; None unless all that came after it is still here."""
        number = self.number_of_boot(text)
        return number if number is not None and self.last - len(self._events) <= number <= self.last else None

    def after(
        self, number: int, kinds: Collection[str] = (), limit: int = KEPT, since: float = 0.0
    ) -> tuple[list[Event], int]:
        """Events behind a number, oldest first, of some kinds (empty: all), at or after a time; at most so many.

        The number up to which all were looked at comes with them.
        """
        found: list[Event] = []
        at = max(number, self.last - len(self._events))
        for event in islice(self._events, at - (self.last - len(self._events)), None):
            if len(found) >= limit:
                break
            at += 1
            if event.at >= since and (not kinds or event.what.kind in kinds):
                found.append(event)
        return found, at
