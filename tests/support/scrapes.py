"""What a scrape says, read by the parser of Prometheus' client library."""

from __future__ import annotations

from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class Scrape:
    """Metrics by name (of a counter with ``_total``): kind, help text, names of labels, and values by labels."""

    kinds: dict[str, str] = field(default_factory=dict)
    meanings: dict[str, str] = field(default_factory=dict)
    labels: dict[str, set[frozenset[str]]] = field(default_factory=dict)
    values: dict[str, dict[frozenset[tuple[str, str]], float]] = field(default_factory=dict)

    def value(self, name: str, **labels: str) -> float | None:
        """The value with these labels; None if there is none."""
        return self.values.get(f"portlb_{name}", {}).get(frozenset(labels.items()))

    def total(self, name: str, **labels: str) -> float:
        """The sum of all values that have these labels, and perhaps more."""
        wanted = set(labels.items())
        return sum(value for key, value in self.values.get(f"portlb_{name}", {}).items() if wanted <= key)


def read_scrape(text: str) -> Scrape:
    """Read a text; ValueError if it is none."""
    found = Scrape()
    for metric in text_string_to_metric_families(text):
        name = metric.name + "_total" * (metric.type == "counter")
        found.kinds[name], found.meanings[name] = metric.type, metric.documentation
        for sample in metric.samples:
            key = frozenset(sample.labels.items())
            assert key not in found.values.get(sample.name, {}), f"{sample} is told twice"
            found.values.setdefault(sample.name, {})[key] = sample.value
            found.labels.setdefault(name, set()).add(frozenset(sample.labels) - {"le"})
    return found
