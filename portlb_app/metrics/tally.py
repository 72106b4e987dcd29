"""What happens in the controller, counted as it happens: changes, compiling, requests, lateness, checks.

All values of labels are of sets that the code or the configuration bounds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from prometheus_client import Histogram

from portlb_app.config import Config
from portlb_app.health.probe import Failure, Verdict
from portlb_app.metrics.table import METRICS
from portlb_app.reconcile.outcomes import (
    Busy,
    Carried,
    Ended,
    Lacking,
    Live,
    LostSwitches,
    Mistaken,
    NoSwitch,
    NotComputed,
    Outcome,
    Outdated,
    RefusedBySwitches,
    TimedOut,
    TurnMissed,
    WishOutcome,
)

OUTCOMES: dict[type[Outcome | WishOutcome], str] = {
    Live: "live",
    RefusedBySwitches: "refused",
    LostSwitches: "lost",
    TimedOut: "timed_out",
    TurnMissed: "turn_missed",
    Mistaken: "invalid",
    NotComputed: "not_computed",
    NoSwitch: "no_switch",
    Outdated: "outdated",
    Busy: "busy",
    Ended: "ended",
    Carried: "live",
    Lacking: "lacking",
}
"""What became of a change, in one word."""
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
_LATE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_CHECKS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


def _histogram(name: str, buckets: Sequence[float]) -> Histogram:
    metric = METRICS[f"portlb_{name}"]
    return Histogram(metric.name, metric.meaning, metric.labels, buckets=buckets, registry=None)


class Tally:
    """All of it. Durations are in seconds."""

    def __init__(self, unix: float) -> None:
        """`unix`: the time of the start, at which the file was read."""
        self.changes: Counter[tuple[str, str]] = Counter()
        self.reloaded_at = unix
        """When the file last went live."""
        self.is_reload_good = True
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self.results: Counter[tuple[str, str, Verdict]] = Counter()
        """By server, kind of check and verdict."""
        self.failures: Counter[tuple[str, str, Failure]] = Counter()
        self.changing = _histogram("change_duration_seconds", _SECONDS)
        self.compiling = _histogram("compile_duration_seconds", _SECONDS)
        self.requesting = _histogram("rest_request_duration_seconds", _SECONDS)
        self.lateness = _histogram("event_loop_lateness_seconds", _LATE)
        self.checking = _histogram("check_duration_seconds", _CHECKS)

    def change(self, source: str, outcome: Outcome | WishOutcome, seconds: float) -> None:
        """A change has come to an end."""
        self.changes[source, OUTCOMES[type(outcome)]] += 1
        self.changing.labels(source).observe(seconds)

    def reload(self, is_live: bool, unix: float) -> None:
        """The file was read again."""
        self.is_reload_good = is_live
        if is_live:
            self.reloaded_at = unix

    def request(self, method: str, route: str, code: int, seconds: float) -> None:
        """A request is answered. `route`: a template, or empty."""
        self.requests[method, route, str(code)] += 1
        self.requesting.labels(route).observe(seconds)

    def check(
        self, vip: str, server: str, kind: str, verdict: Verdict, failure: Failure | None, seconds: float
    ) -> None:
        """A health check has a result."""
        self.results[server, kind, verdict] += 1
        if failure is not None:
            self.failures[server, kind, failure] += 1
        self.checking.labels(vip, kind).observe(seconds)

    def keep(self, config: Config) -> None:
        """Forget what is about servers and VIPs that a configuration has not."""
        names, vips = config.server_by_name, {vip.name for vip in config.vips}
        self.results = Counter({key: each for key, each in self.results.items() if key[0] in names})
        self.failures = Counter({key: each for key, each in self.failures.items() if key[0] in names})
        samples = [sample.labels for metric in self.checking.collect() for sample in metric.samples]
        for vip, kind in {(labels["vip"], labels["check"]) for labels in samples}:
            if vip not in vips:
                self.checking.remove(vip, kind)
