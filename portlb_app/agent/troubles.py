"""Logs what goes wrong with an agent, at a bounded rate."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from portlb_app.agent import notify

REPEAT_EVERY = 60.0
"""Seconds between two lines about failures of one kind."""


class Troubles:
    """Logs when a trouble begins, changes and ends, and counts failures, with a line a minute for each kind."""

    def __init__(self, say: Callable[[int, str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock = say, clock
        self._states: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._told: dict[str, tuple[float, int]] = {}

    def note(self, topic: str, trouble: str) -> None:
        """Note the state of a continuing trouble: what is wrong, "" if nothing is."""
        if trouble == self._states.get(topic, ""):
            return
        self._states[topic] = trouble
        self._say(logging.WARNING if trouble else logging.INFO, trouble or f"{topic}: well again")
        status = "; ".join(filter(None, self._states.values())) or "attached"
        notify.tell(f"STATUS={' '.join(status.split())}")

    def failed(self, topic: str, error: Exception, times: int = 1) -> None:
        """Count failures of something that will be tried again; the first is logged at once."""
        self._counts[topic] = self._counts.get(topic, 0) + times
        at, counted = self._told.get(topic, (float("-inf"), 0))
        if self._clock() - at < REPEAT_EVERY:
            return
        more = self._counts[topic] - counted
        self._told[topic] = self._clock(), self._counts[topic]
        number = "" if more == 1 else f"{more} failures, the last: "
        self._say(logging.WARNING, f"{topic}: {number}{error}; it will be tried again")

    def count(self, topic: str) -> int:
        """Return how many failures of a kind there have been."""
        return self._counts.get(topic, 0)
