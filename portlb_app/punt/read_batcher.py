"""When to read from a switch again, so that packets it hands up are handled together. Pure."""

from __future__ import annotations

PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.002, 0.02
"""The pause before the next read, for each packet that was handed up, and at most."""


class ReadBatcher:
    """Pauses between reads from one switch.

    A thousand packets a second cost a third, here and in the switch, of what they cost one by one
    (tests/bench/punt.py). A single one does not wait, and a few wait shortly.
    """

    def __init__(self) -> None:
        self._count = 0

    def add(self) -> None:
        """A packet that was handed up has been read."""
        self._count += 1

    def pause(self, more: bool, awaited: bool) -> float:
        """Seconds to wait before the next read, for all packets since the last call.

        0 if the last read left `more`, or the rate at which a switch can hand up would be limited; and if an answer of
        the switch is `awaited`, or reconciling would wait for each of them.
        """
        count, self._count = self._count, 0
        return 0.0 if more or awaited else min(PAUSE_SECONDS * count, LONGEST_PAUSE_SECONDS)
