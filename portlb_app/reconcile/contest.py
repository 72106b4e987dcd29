"""Whether something else keeps writing to a switch what portlb puts right, such as a second portlb.

An entry with portlb's mark that portlb did not write, and that is there again after it was removed, was written on
purpose. After `ROUNDS` such rounds portlb leaves the switch as it is: two controllers that take turns harm connections
more than either of them alone. It goes on when it is asked to read the switch, when the switch connects again, and for
each new goal once.
"""

from __future__ import annotations

from dataclasses import dataclass

ROUNDS = 3
"""How often the same entries may be written again before they are left."""
WORDS = "another controller writes portlb's entries to it again and again; they are left as they are"
"""What is told of such a switch."""


@dataclass
class Contest:
    """`rounds`: how often in a row entries were written again. `since`: when the switch was left to the other one."""

    rounds: int = 0
    since: float | None = None
    goal: int = 0

    def see(self, rewritten: int, is_quiet: bool) -> None:
        """Take a read of a switch that portlb did not change since the one before.

        `rewritten`: entries that others have written again; `is_quiet`: nothing was changed, and nothing lacks.
        """
        if rewritten:
            self.rounds += 1
        elif is_quiet:
            self.rounds, self.since = 0, None
        elif self.since is None:
            self.rounds = 0

    def stops(self, rewritten: int, goal: int, now: float) -> bool:
        """Whether the switch is to be left as it is, although it is not what this goal asks for."""
        if rewritten and self.rounds >= ROUNDS:
            self.since, self.goal = now if self.since is None else self.since, goal
        return self.since is not None and self.goal == goal
