"""How long one connection is worked for before others have their turn. Pure."""

from __future__ import annotations

TURN_SECONDS = 0.001
"""How long one connection is worked for before others have their turn."""
READ_SECONDS = 0.00002
"""What it costs to read from a connection, beside the work for what was read."""
REST_OF_UNKNOWN = 50
REST_MOST_SECONDS = 0.2
"""A peer that is no configured switch pauses so many times as long as it was worked for, but not longer than this."""


class Turn:
    """How long one connection has been worked for since others had their turn.

    A read from a peer that sends all the time does not wait, so work is added up over reads: each may be short.
    """

    def __init__(self) -> None:
        self._worked = 0.0

    def worked(self, seconds: float) -> bool:
        """So much more was done for it. Whether its turn is over."""
        self._worked += seconds
        return self._worked > TURN_SECONDS

    def pause(self, rest: float = 0.0) -> float:
        """How many seconds it waits: `rest` times as long as it was worked for. Its next turn begins then.

        0: until all others had their turn.
        """
        worked, self._worked = self._worked, 0.0
        return min(worked * rest, REST_MOST_SECONDS)
