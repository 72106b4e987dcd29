"""The controller's tally, and the text that Prometheus scrapes, with what the client library says of the process."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import PlatformCollector, ProcessCollector
from ryu.lib import hub

from portlb_app.api.snapshot import Snapshot
from portlb_app.health.line_state import LineState
from portlb_app.health.probe import Result
from portlb_app.metrics.exposition import exposition
from portlb_app.metrics.tally import Tally

_METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """Counts what happens in the controller, which was started just now."""

    def __init__(self) -> None:
        self.tally = Tally(time.time())
        self._library = PlatformCollector(registry=None), ProcessCollector(registry=None)

    def exposition(self, snapshot: Snapshot) -> Iterator[str]:
        """The text that is scraped, in pieces."""
        return exposition(snapshot, self.tally, self._library)

    def sleep(self, seconds: float) -> None:
        """Let others have their turn for so long, and note how much longer it took."""
        due = time.monotonic() + seconds
        hub.sleep(seconds)
        self.tally.lateness.observe(max(0.0, time.monotonic() - due))

    def checked(self, state: LineState, result: Result) -> None:
        """A health check has a result."""
        line = state.line
        self.tally.check(line.vip, line.server, line.check.kind.value, result.verdict, result.failure, state.took)

    def requested(self, method: str, route: str, code: int, seconds: float) -> None:
        """A request is answered."""
        self.tally.request(method if method in _METHODS else "other", route, code, seconds)
