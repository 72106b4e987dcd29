"""How long something that went down must stay up before it is used again: longer if it goes down often.

The hold grows with the number of times it went down, which is halved with every `HALF_LIFE`: it doubles with each, up
to `MAX_HOLD`. So what goes down every few seconds stays unused until it is stable, and what was cut once in a day comes
back at once.
"""

from __future__ import annotations

from dataclasses import dataclass

HOLD = 1.0
"""The shortest hold, in seconds: longer than a carrier bounces while both ends negotiate a speed."""
MAX_HOLD = 60.0
"""The longest hold, in seconds."""
HALF_LIFE = 60.0
"""The seconds in which the number of downs is halved."""


@dataclass
class Downs:
    """The decaying number of downs of one thing: `count` at the time `at`. `is_down` is what is reported now."""

    count: float = 0.0
    at: float = 0.0
    is_down: bool = False

    def decayed(self, now: float) -> float:
        """The count, decayed to the time `now`."""
        return float(self.count * 0.5 ** ((now - self.at) / HALF_LIFE))

    def report(self, is_down: bool, now: float) -> None:
        """It is reported whether it is down."""
        if is_down and not self.is_down:
            self.count, self.at = self.decayed(now) + 1, now
        self.is_down = is_down

    def hold(self, now: float) -> float:
        """How long it must stay up before it is used again, in seconds."""
        return float(min(MAX_HOLD, HOLD * 2.0 ** max(0.0, self.decayed(now) - 1)))
