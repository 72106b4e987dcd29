"""What is known of one line of checks: its schedule, its last result, and what was said of it."""

from __future__ import annotations

from dataclasses import dataclass

from portlb_app.backends.states import check_source
from portlb_app.config import CheckKind
from portlb_app.health.judgement import Judge
from portlb_app.health.probe import Probe, Result, Verdict
from portlb_app.health.targets import Line

FAST = 0.4
"""Seconds from a failure to the next check of a server that is up: three failures take less than 3 s with the default
interval."""
DOWN = 5.0
"""The least interval while a server is down and fails."""
JITTER = 0.1
"""The part of an interval by which a check may come earlier, by chance, so that checks do not gather."""

ANSWERS_DIRECTLY = "it answers by its connector, so its agent or the tables are at fault"


@dataclass
class LineState:
    """One line. `said`: what was last said of the server; None: nothing. `probe`: the check that is on its way."""

    line: Line
    judge: Judge
    due: float
    probe: Probe | None = None
    direct: Probe | None = None
    began: float = 0.0
    result: Result | None = None
    direct_result: Result | None = None
    at: float = 0.0
    took: float = 0.0
    """Seconds from the last check's first packet to its result."""
    said: bool | None = None
    reason: str = ""
    held: str = ""
    """Why nothing follows from its failures; empty if something does."""

    @property
    def about(self) -> list[tuple[str, str, tuple[str, int]]]:
        """What it speaks about: its server, the name under which it does, and the pool; for each of its pools."""
        line = self.line
        return [(line.server, check_source(port, line.version), (line.vip, port)) for port in line.ports]

    def next_due(self, now: float, chance: float) -> float:
        """When the next check begins; `chance` is from 0 to 1."""
        check, judge = self.line.check, self.judge
        if judge.is_up is False and judge.streak <= 0:
            wait = max(check.interval, DOWN)
        elif judge.streak < 0:
            wait = min(FAST, check.interval)
        else:
            wait = check.interval
        return max(now, self.began + wait * (1 - JITTER * chance))

    def sentence(self, result: Result, count: str) -> str:
        """A result and its row in one sentence."""
        line = self.line
        over = f" over IPv{line.version}" if line.version == 6 else ""
        text = f"{line.check.kind.value} by {line.way.name}{over}: {result.reason}{count}"
        told = self.direct_result
        if result.verdict is Verdict.FAILED and told is not None and told.verdict is Verdict.PASSED:
            text += f"; {ANSWERS_DIRECTLY}"
        return text

    @property
    def what(self) -> str:
        """What is checked, in a few words."""
        check = self.line.check
        path = f" {check.method} {check.path}" if check.kind is CheckKind.HTTP else ""
        return f"{check.kind.value}{path} by {self.line.way.name}"
