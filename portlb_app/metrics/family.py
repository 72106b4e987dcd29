"""Rows of values as a metric of the client library, with the name, labels and meaning that the table has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import Histogram
from prometheus_client import Metric as Family
from prometheus_client.samples import Sample

from portlb_app.metrics.table import METRICS

Row = tuple[tuple[str, ...], float]
"""The values of the labels, in the table's order, and the value."""


def family(name: str, rows: Iterable[Row]) -> Family:
    """The metric ``portlb_NAME`` with these values."""
    metric = METRICS[f"portlb_{name}"]
    found = Family(metric.name.removesuffix("_total"), metric.meaning, metric.kind)
    labels = metric.labels
    found.samples = [Sample(metric.name, dict(zip(labels, values, strict=True)), value) for values, value in rows]
    return found


def single(name: str, value: float) -> Family:
    """The same for a metric without labels."""
    return family(name, [((), value)])


def histogram(known: Histogram) -> Family:
    """What a histogram of the library has, without the time at which it was made."""
    (found,) = known.collect()
    found.samples = [each for each in found.samples if not each.name.endswith("_created")]
    return found


def one_of(states: Iterable[str], names: Mapping[tuple[str, ...], str]) -> Iterable[Row]:
    """A row for each state: 1 for the one that something is in."""
    every = tuple(states)
    for labels, state in names.items():
        for each in every:
            yield (*labels, each), float(each == state)
