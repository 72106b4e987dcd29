"""Proposed configurations that wait for their turn, in the order in which they came."""

from __future__ import annotations

import math
from collections import deque

from portlb_app.reconcile.events import ConfigProposed

WAITING = 32
"""Proposals that wait for their turn; more are refused."""


class Waiting:
    """A bounded line. Each one waits until its own deadline."""

    def __init__(self) -> None:
        self._line: deque[tuple[float, ConfigProposed]] = deque()
        """Until when each waits."""

    def __bool__(self) -> bool:
        return bool(self._line)

    def join(self, event: ConfigProposed, now: float) -> bool:
        """Wait; False if that is not wanted, or too many wait already. There is always a place for the file: it is one.
        """
        is_file = event.text is None
        if not is_file and (event.turn <= 0 or len(self._line) >= WAITING):
            return False
        self._line.append((math.inf if is_file else now + event.turn, event))
        return True

    def next(self) -> ConfigProposed:
        """The one that has waited longest; it waits no more."""
        return self._line.popleft()[1]

    def expire(self, now: float) -> list[ConfigProposed]:
        """Those whose turn has not come in time; they wait no more."""
        late = [event for until, event in self._line if now >= until]
        if late:
            self._line = deque(each for each in self._line if now < each[0])
        return late
