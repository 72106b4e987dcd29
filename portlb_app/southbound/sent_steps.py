"""Which step of a plan a message with an xid did, so that an error names the step it is about. Pure."""

from __future__ import annotations

from bisect import bisect_right


class SentSteps:
    """Ranges of xids and the steps that were sent with them."""

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int, int]] = []
        """(first xid, its step, how many), sorted."""

    def add(self, xid: int, step: int, number: int) -> None:
        """Record that `number` steps, from `step` on, are sent with xids from `xid` on."""
        self._ranges.append((xid, step, number))
        self._ranges.sort()

    def step_of(self, xid: int) -> int | None:
        """Return the number of the step that was sent with this xid; None if none was."""
        found = bisect_right(self._ranges, xid, key=lambda each: each[0]) - 1
        if found < 0:
            return None
        first, step, number = self._ranges[found]
        return step + xid - first if xid - first < number else None

    def clear(self) -> None:
        """Forget all: errors that come later are about none of them."""
        self._ranges.clear()
