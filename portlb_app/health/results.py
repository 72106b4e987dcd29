"""What follows from the results of checks: what is said about servers, at once, later, or not at all. Pure.

Where most servers fail at once, nothing follows until it is known whether the answers' way works (`hold`): packets that
look like answers are sent by it (`loops`), from each connector that is concerned.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from portlb_app.health.hold import Hold
from portlb_app.health.judgement import Change
from portlb_app.health.line_state import LineState
from portlb_app.health.loops import Loops
from portlb_app.health.news import News
from portlb_app.health.probe import Result, Verdict
from portlb_app.punt.packet import Send

About = tuple[str, str, tuple[str, int]]
"""What a line speaks about: a server, the name under which it does, and a pool."""
Said = Mapping[About, tuple[bool, str]]
"""What was said last: up or down, and why."""


class Results:
    """What follows, for all lines. `taken`: the ports that checks have."""

    def __init__(self, loops: Loops, taken: Callable[[int], bool]) -> None:
        self._loops, self._taken = loops, taken
        self._hold = Hold()
        self._by_server: Mapping[str, list[LineState]] = {}
        self._ripe: dict[int, tuple[LineState, Change]] = {}
        """By line: what would follow, and is held."""
        self._news: list[News] = []
        self._logs: list[str] = []

    def adopt(
        self,
        said: Said,
        gone: Iterable[LineState],
        states: Collection[LineState],
        by_server: Mapping[str, list[LineState]],
    ) -> None:
        """These are the lines now, and those of each server. `said`: what was said before; `gone`: lines that ended."""
        for state in gone:
            self._ripe.pop(id(state), None)
        self._by_server = by_server
        longest = max((state.line.check.interval for state in states), default=0.0)
        self._hold.adopt(frozenset(by_server), longest)
        known = {about for state in states for about in state.about}
        self._news += [News(*whose, None, "") for whose in said if whose not in known]
        self._news += [News(*whose, *words) for whose, words in said_by(states) if whose not in said]

    def take(self, state: LineState, result: Result, now: float) -> None:
        """A check of this line has this result."""
        judge, server = state.judge, state.line.server
        judge.take(result)
        if result.verdict is Verdict.PASSED:
            state.direct_result, state.held = None, ""
            self._ripe.pop(id(state), None)
            if all(each.judge.streak >= 0 for each in self._by_server.get(server, ())):
                self._hold.passes(server, now)
        elif result.verdict is Verdict.FAILED:
            if judge.is_up is False:
                self._hold.lost(server)
            else:
                self._hold.fails(server, now)
        change = judge.change(now)
        if change is None:
            if result.verdict is Verdict.PASSED and judge.is_up and state.said is not True:
                self._say(state, Change(True), result)
        elif change.is_up or not self._is_held(state, now):
            self._become(state, change, result, now)
        else:
            self._ripe[id(state)] = state, change

    def settle(self, now: float) -> list[Send]:
        """What is held becomes true, or goes on waiting."""
        if not self._ripe:
            return []
        for state, change in list(self._ripe.values()):
            if not self._is_held(state, now) and state.result is not None:
                del self._ripe[id(state)]
                self._become(state, change, state.result, now)
        if self._ripe and self._loops.is_due(now):
            if self._loops.is_first(self._hold.since(now)):
                self._logs.append(f"{self._hold.count} fail their checks at once: nothing follows from that for now")
            concerned = {state.line.way.dpid: state.line for state, _ in self._ripe.values()}
            return [self._loops.send(line, now, self._taken) for line in concerned.values()]
        return []

    def news(self) -> list[News]:
        """What is to be said about servers that was not said before."""
        news, self._news = self._news, []
        return news

    def logs(self) -> list[str]:
        """What an administrator should know, since this was asked last."""
        logs, self._logs = self._logs, []
        return logs

    # ---- inside ----

    def _is_held(self, state: LineState, now: float) -> bool:
        since = self._hold.since(now)
        if since is None:
            return False
        if self._hold.holds(now):
            state.held = f"held: {self._hold.count} fail at once"
            return True
        if self._loops.works(state.line.way.dpid, since):
            return False
        state.held = f"held: {self._hold.count} fail at once, and answers do not reach the controller from this switch"
        return True

    def _become(self, state: LineState, change: Change, result: Result, now: float) -> None:
        state.judge.become(change.is_up, now)
        state.held = ""
        if not change.is_up:
            self._hold.believed(state.line.server)
        self._say(state, change, result, state.judge.flaps(now))

    def _say(self, state: LineState, change: Change, result: Result, flaps: str = "") -> None:
        state.said = change.is_up
        state.reason = state.sentence(result, change.count) + (f"; {flaps}" if flaps else "")
        self._news += [News(*about, change.is_up, state.reason) for about in state.about]


def said_by(states: Collection[LineState]) -> Iterator[tuple[About, tuple[bool, str]]]:
    """What was said last of every server in every pool."""
    for state in states:
        if state.said is not None:
            for about in state.about:
                yield about, (state.said, state.reason)
