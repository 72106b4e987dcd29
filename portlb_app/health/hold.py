"""Is it me? Where more than half of all checked servers fail at once, it may be the checks that fail.

Then no server goes down by them for `HOLD` seconds. Meanwhile a packet from each of these servers' connectors to the
controller, sent by the controller itself, takes the way of the answers (`checker`). On a switch where it arrives, the
checks are believed after that; on any other they say nothing.
"""

from __future__ import annotations

from collections import OrderedDict

HOLD = 10.0
"""Seconds for which nothing follows."""
AT_ONCE = 1.5
"""Intervals of checks within which servers begin to fail "at once". Those that went down before do not count."""


class Hold:
    """Who fails, and since when. A server is told by its name."""

    def __init__(self) -> None:
        self._checked, self._at_once = 0, 0.0
        self._failing: OrderedDict[str, float] = OrderedDict()
        """Since when, the oldest first."""
        self._believed: set[str] = set()
        """Those of them that have gone down."""
        self._long: set[str] = set()
        """Those that are down for longer."""
        self._began: float | None = None

    def adopt(self, servers: frozenset[str], interval: float) -> None:
        """These servers are checked, each within this interval (the longest)."""
        self._checked, self._at_once = len(servers), AT_ONCE * interval
        for known in list(self._failing):
            if known not in servers:
                del self._failing[known]
        self._long &= servers
        self._believed &= servers

    def fails(self, server: str, now: float) -> None:
        """A check of a server fails."""
        if server not in self._long:
            self._failing.setdefault(server, now)
        self._expire(now)

    def believed(self, server: str) -> None:
        """A server has gone down: that is true, and no news some time later."""
        self._believed.add(server)

    def lost(self, server: str) -> None:
        """A check of a server fails that was not up before: that is no news."""
        if server not in self._failing:
            self._long.add(server)

    def passes(self, server: str, now: float) -> None:
        """All checks of a server pass."""
        self._failing.pop(server, None)
        self._believed.discard(server)
        self._long.discard(server)
        self._expire(now)

    def since(self, now: float) -> float | None:
        """Since when more than half fail at once; None if they do not."""
        self._expire(now)
        of = self._checked - len(self._long)
        if len(self._failing) < 2 or 2 * len(self._failing) <= of:
            self._began = None
        elif self._began is None:
            self._began = now
        return self._began

    def holds(self, now: float) -> bool:
        """Whether nothing may follow from failures now."""
        since = self.since(now)
        return since is not None and now - since < HOLD

    @property
    def count(self) -> str:
        """How many fail at once."""
        return f"{len(self._failing)} of {self._checked - len(self._long)} servers"

    def _expire(self, now: float) -> None:
        while self._failing:
            server, since = next(iter(self._failing.items()))
            if now - since < self._at_once or server not in self._believed:
                break
            del self._failing[server]
            self._believed.discard(server)
            self._long.add(server)
