"""A metric with its values, as text.

The client library takes nine microseconds for a value, and a scrape has 25 for each server: for a thousand servers it
would take a fifth of a second. So lines are formatted here, by one template for a metric; names, types and escapes are
the library's. What it keeps itself (histograms, the process) it also writes itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client import Metric as Family
from prometheus_client import generate_latest
from prometheus_client.registry import Collector

from portlb_app.metrics.table import METRICS

Row = tuple[tuple[str, ...], float]
"""The values of the labels, in the table's order, and the value."""
_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def family(name: str, rows: Iterable[Row]) -> str:
    """The metric ``portlb_NAME`` with these values."""
    metric = METRICS[f"portlb_{name}"]
    head = f"# HELP {metric.name} {metric.meaning}\n# TYPE {metric.name} {metric.kind}\n"
    labels = ",".join(f'{label}="%s"' for label in metric.labels)
    line = f"{metric.name}{{{labels}}} %s\n" if labels else f"{metric.name} %s\n"
    return head + "".join([line % (*[each.translate(_ESCAPED) for each in values], +value) for values, value in rows])


def single(name: str, value: float) -> str:
    """The same for a metric without labels."""
    return family(name, [((), value)])


def histogram(known: Histogram) -> str:
    """What a histogram of the library has, without the time at which it was made."""
    (found,) = known.collect()
    found.samples = [each for each in found.samples if not each.name.endswith("_created")]
    return of_library(found)


def of_library(found: Family) -> str:
    """A metric of the library."""
    registry = CollectorRegistry()
    registry.register(_One(found))
    return generate_latest(registry).decode()


def one_of(states: Iterable[str], names: Mapping[tuple[str, ...], str]) -> Iterable[Row]:
    """A row for each state: 1 for the one that something is in."""
    every = tuple(states)
    for labels, state in names.items():
        for each in every:
            yield (*labels, each), each == state


class _One(Collector):
    """One metric, as the library's renderer wants it."""

    def __init__(self, found: Family) -> None:
        self._found = found

    def collect(self) -> Iterable[Family]:
        return (self._found,)
