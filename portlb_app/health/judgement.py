"""From the results of checks to "up" and "down": strictly in a row, in both directions.

A result that says nothing neither counts nor breaks a row. A server that went down shortly before must pass more often
before it is up: twice as often with each time that it went down within `FLAPPING` of the time before, up to `MOST`.
After so long without a further time, one doubling a minute is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass

from portlb_app.config import Check
from portlb_app.health.probe import Result, Verdict

FLAPPING = 300.0
"""Seconds within which going down again is flapping."""
MOST = 32
"""Successes in a row that are needed at most."""
_FORGETTING = 60.0
"""Seconds in which one doubling is forgotten."""


@dataclass(frozen=True)
class Change:
    """A server is up or down now, by its checks; `count`: after how many in a row, in words."""

    is_up: bool
    count: str = ""


class Judge:
    """Judges one server by one kind of check. `is_up`: None until it was first judged."""

    def __init__(self, check: Check, is_up: bool | None = None) -> None:
        self.check = check
        self.is_up = is_up
        self.streak = 0
        """Results of the last kind in a row: above 0 successes, below failures."""
        self._downs = 0
        self._last_down = 0.0

    def take(self, result: Result) -> None:
        """Count a result; `change` says what follows."""
        if result.verdict is Verdict.PASSED:
            self.streak = max(self.streak, 0) + 1
        elif result.verdict is Verdict.FAILED:
            self.streak = min(self.streak, 0) - 1
        elif self.is_up is False:  # what has failed before does not fail any more
            self.streak = max(self.streak, 0) + 1

    def change(self, now: float) -> Change | None:
        """What the results so far mean; None for nothing new. `become` makes it so.

        A server that was never judged is up with its first success.
        """
        if self.streak > 0 and self.is_up is not True:
            needed = 1 if self.is_up is None else self.needed(now)
            if self.streak >= needed:
                return Change(True, f", {needed} of {needed}")
        if self.streak < 0 and self.is_up is not False:
            if -self.streak >= self.check.fall:
                return Change(False, f", {self.check.fall} of {self.check.fall}")
        return None

    def become(self, is_up: bool, now: float) -> None:
        """It is up or down now."""
        if self.is_up and not is_up:
            self._downs = self._decayed(now) + 1 if now - self._last_down < FLAPPING else 1
            self._last_down = now
        self.is_up = is_up

    def needed(self, now: float) -> int:
        """How many successes in a row bring it up."""
        return min(max(MOST, self.check.rise), self.check.rise << max(0, self._decayed(now) - 1))

    def flaps(self, now: float) -> str:
        """That it flaps, in a few words; empty if it does not."""
        downs = self._decayed(now)
        needed = self.needed(now)
        return f"down {downs} times shortly after each other, so it needs {needed} in a row" if downs > 1 else ""

    def _decayed(self, now: float) -> int:
        quiet = max(0.0, now - self._last_down - FLAPPING)
        return max(0, self._downs - int(quiet // _FORGETTING))
