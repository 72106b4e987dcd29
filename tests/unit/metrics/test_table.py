"""The table of metrics, what is made of it (docs/metrics.md, the dashboard), and the rules."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from portlb_app.metrics.dashboard import ROWS, expressions
from portlb_app.metrics.table import LIBRARY, METRICS, Metric

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs/metrics.md"
ALERTS, TESTED = ROOT / "packaging/alerts.yaml", Path(__file__).with_name("alerts.yaml")
_NAME = re.compile(r"\bportlb_[a-z_]+")


def test_what_is_made_of_it_is_up_to_date() -> None:
    """`make metrics` would change nothing."""
    program = (
        "import sys; sys.path.insert(0, 'scripts'); import metrics\n"
        "print([name for name, text in metrics.texts().items() if (metrics.ROOT / name).read_text() != text])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n", "run make metrics"


def test_the_document_has_every_metric_and_no_other() -> None:
    row = re.compile(r"^\| `(\w+)` \| (counter|gauge|histogram) \| ([\w, ]*) ?\| .+ \|$", re.MULTILINE)
    rows = row.findall(DOCUMENT.read_text())
    assert {name: (kind, tuple(filter(None, labels.replace(" ", "").split(",")))) for name, kind, labels in rows} == {
        **{name: (metric.kind, metric.labels) for name, metric in METRICS.items()},
        **{name: (kind, ()) for name, (kind, _) in LIBRARY.items()},
    }


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_names_are_as_prometheus_wants_them(metric: Metric) -> None:
    """One prefix, _total on counters alone, no name of a label in the name, a sentence without its stop."""
    assert metric.name.startswith("portlb_") and metric.name.endswith("_total") is (metric.kind == "counter")
    assert not metric.meaning.endswith(".") and len(set(metric.labels)) == len(metric.labels)
    assert not re.search(r"_(milliseconds|ms|percent|kilobytes|minutes)(_|$)", metric.name)


def names_in(text: str) -> set[str]:
    """The metrics that an expression names; of a histogram without what its series add."""
    return {name if name in METRICS else re.sub("_(bucket|count|sum)$", "", name) for name in _NAME.findall(text)}


def test_rules_and_panels_name_metrics_that_there_are() -> None:
    rules = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    for expression in (*(rule["expr"] for rule in rules), *expressions()):
        assert names_in(expression) and names_in(expression) <= METRICS.keys(), expression
    for _, panels in ROWS:
        for panel in panels:
            assert any(panel.metric in names_in(query) for query, _ in panel.queries), panel.title


def test_panels_have_places_of_their_own() -> None:
    """None lies on another one, and every expression of the file is one that Prometheus is asked in tests/ovs."""
    found = json.loads((ROOT / "packaging/grafana.json").read_text())
    places: set[tuple[int, int]] = set()
    for panel in found["panels"]:
        at = panel["gridPos"]
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not own & places, panel["title"]
        places |= own
    asked = [target["expr"].replace("$vip", ".*") for panel in found["panels"] for target in panel.get("targets", ())]
    assert asked == list(expressions())
    assert len({panel["id"] for panel in found["panels"]}) == len(found["panels"])


def test_every_rule_is_tested_and_holds() -> None:
    """By promtool, with values that are made up."""
    rules = {rule["alert"] for rule in yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]}
    tested = {
        each["alertname"]
        for test in yaml.safe_load(TESTED.read_text())["tests"]
        for each in test["alert_rule_test"]
        if each.get("exp_alerts")
    }
    assert tested == rules
    done = subprocess.run(
        ["promtool", "test", "rules", str(TESTED)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
