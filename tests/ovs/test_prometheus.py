"""A real Prometheus with portlb's rules scrapes a real controller, and is asked what the dashboard asks."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portlb_app.metrics.dashboard import expressions
from tests.ovs.controller import ControllerProcess, free_port, wait_for
from tests.support.documents import ROOT

SHOWN = re.findall(r"^```yaml\n(rule_files.*?)^```$", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE | re.DOTALL)
OFTEN = "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"


class Prometheus:
    """It, on loopback."""

    def __init__(self, directory: Path, target: int) -> None:
        shutil.copy(ROOT / "packaging/alerts.yaml", directory)
        [config] = SHOWN
        assert "127.0.0.1:8080" in config
        (directory / "prometheus.yml").write_text(OFTEN + config.replace("127.0.0.1:8080", f"127.0.0.1:{target}"))
        self.port = free_port()
        command = ["prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data"]
        command += [f"--web.listen-address=127.0.0.1:{self.port}"]
        self.log = directory / "prometheus.log"
        with open(self.log, "wb") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def ask(self, path: str, **query: str) -> Any:
        """What its API says; None if it does not answer yet."""
        assert self.process.poll() is None, self.log.read_text()
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
                found = json.load(answer)
        except OSError:
            return None
        assert found["status"] == "success", found
        return found["data"]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One that has scraped a controller."""
    directory = tmp_path_factory.mktemp("prometheus")
    shutil.copy(ROOT / "flows/fig2/lb.yaml", directory)
    controller = ControllerProcess(directory / "lb.yaml")
    found = Prometheus(directory, controller.rest_port)
    try:
        wait_for("a scrape", lambda: (found.ask("query", query="portlb_build_info") or {}).get("result"), 60)
        yield found
    finally:
        found.close()
        controller.close()


def test_the_target_is_up(prometheus: Prometheus) -> None:
    """Nothing of the scrape was refused."""
    (target,) = prometheus.ask("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")


def test_the_rules_are_loaded_and_fire(prometheus: Prometheus) -> None:
    """All of them are evaluated without an error; the switch is not connected, and that is said."""

    def evaluated() -> Any:
        (group,) = prometheus.ask("rules")["groups"]
        return group["rules"] if all(rule["health"] == "ok" for rule in group["rules"]) else None

    rules = {rule["name"]: rule for rule in wait_for("all rules are evaluated", evaluated)}
    assert len(rules) == (ROOT / "packaging/alerts.yaml").read_text().count("- alert:")
    wait_for(
        "it is pending",
        lambda: {rule["name"] for rule in evaluated() or () if rule["state"] != "inactive"}
        == {"PortlbSwitchNotSynced", "PortlbConfigUnverified"},
    )


@pytest.mark.parametrize("expression", expressions())
def test_every_expression_of_the_dashboard_is_answered(prometheus: Prometheus, expression: str) -> None:
    assert prometheus.ask("query", query=expression)["resultType"] == "vector"


def test_the_dashboard_shows_all_that_there_is(prometheus: Prometheus) -> None:
    """An expression about metrics that a controller without switches and traffic has values of gives some."""
    has_values = {name for name in prometheus.ask("label/__name__/values") if name.startswith("portlb_")}
    shown = [
        each
        for each in expressions()
        if set(re.findall(r"\bportlb_[a-z_]+", each)) <= has_values and not each.endswith("> 0")
    ]
    assert len(shown) > 12
    for each in shown:
        wait_for(each, lambda asked=each: prometheus.ask("query", query=asked)["result"], 30)
