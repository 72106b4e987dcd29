"""Every operation of REST is asked by its OpenAPI document: ``python -m tests.soak.schema --requests 10000``.

Schemathesis makes the requests: sound ones, and ones that the document forbids; sound samples of names and of parts of
a configuration are among them, so that changes do become live. A real controller answers, two real switches connected.
It promises that each answer has a status, a type and a shape that the document has, and that none is an error of the
controller's own; and that afterwards the switches hold what is live.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.soak.fleet import Fleet
from tests.soak.report import Report

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
BUSY = frozenset({"/docs/problems#busy", "/docs/problems#not-known-yet"})
"""What may be wrong with the controller for a moment."""
ENOUGH = 5000
"""Requests among which each change is made."""
STREAM = "text/event-stream"
"""What has no end, and so is not asked for."""
SETTLE = 30.0
PATIENCE = 90.0
"""Seconds for an answer: more than a change may wait for its turn and for switches."""
TEXT = """
switches: {s1: {dpid: 1, network: 1}, s2: {dpid: 2, network: 1}}
links: [[s1:9, s2:9]]
vips:
  web:
    address: [10.0.1.1, "2001:db8::1"]
    mac: "02:00:00:00:00:64"
    redirect_ports: {80: {servers: [a, b]}, 443: {servers: [b], legacy: balance}}
servers:
  a: {vip: web, connector: "s1:2", service_ports: [8001, 8002]}
  b: {vip: web, connector: "s2:2", service_ports: [8003, 8004]}
"""
NAMES: dict[str, tuple[str | int, ...]] = {
    "server": ("a", "b", "c"), "vip": ("web",), "port": (80, 443, 8080), "switch": ("s1", "s2", "0x1"),
    "change": (1, 2, 99),
}  # fmt: skip
BODIES: dict[str, tuple[Any, ...]] = {
    "replaceConfig": (yaml.safe_load(TEXT),),
    "patchConfig": ({"servers": {"a": {"weight": 2}}}, {"servers": {"a": {"weight": None}}}, {}),
    "putServer": ({"connector": "s2:3", "service_ports": [8005]}, {"connector": "s1:2", "service_ports": [8001, 8002]}),
    "putPort": ({"servers": ["a", "b"]}, {"servers": ["b"], "legacy": "balance"}),
    "setState": ({"state": "drain"}, {"state": "ready", "reason": "done"}, {"state": "maint", "force": True}),
    "setWeight": ({"weight": 3}, {"weight": 0, "force": True}),
    "explainPacket": ({"packet": "tcp 192.0.2.7:4000 > web:80 syn"},),
}
"""What is sound: by the name in a path, and by operation."""


class Asking:
    """Asks the operations of one controller in turns, and counts what was answered."""

    def __init__(self, port: int, report: Report, number: int) -> None:
        self._url, self._report, self._seed = f"http://127.0.0.1:{port}", report, number
        self._session, self._dice = requests.Session(), Random(number)
        self.schema = schemathesis.openapi.from_url(f"{self._url}/v1/openapi.json")
        self.statuses: Counter[int] = Counter()
        self.live: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()

    def ask(self, total: int) -> None:
        """So many requests, shared by all operations."""
        operations = [each.ok() for each in self.schema.get_all_operations()]
        operations = [each for each in operations if STREAM not in str(each.definition.raw["responses"])]
        share = -(-total // (2 * len(operations)))
        modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        for mode in cycle(modes):
            for operation in operations:
                self._ask(operation, mode, min(share, total - self.statuses.total()))
                if self.statuses.total() >= total:
                    return

    def _ask(self, operation: Any, mode: GenerationMode, count: int) -> None:
        @seed(self._seed)
        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode))
        def each(case: Any) -> None:
            self._one(case)

        try:
            each()
        except Unsatisfiable:  # nothing that the document forbids can be said to it
            return

    def _one(self, case: Any) -> None:
        name = case.operation.definition.raw["operationId"]
        for key in case.path_parameters or {}:
            if self._dice.random() < 0.6:
                case.path_parameters[key] = self._dice.choice(NAMES[key])
        if name in BODIES and self._dice.random() < 0.4:
            case.body = self._dice.choice(BODIES[name])
        try:
            response = case.call(base_url=self._url, session=self._session, timeout=PATIENCE)
        except requests.RequestException as error:
            self._report.say(f"{name}: {error}: {case.as_curl_command()[:1500]}")
            self.wrong[f"{name}: {error}"] += 1
            self.statuses[0] += 1
            return
        self.statuses[response.status_code] += 1
        if response.status_code < 300:
            self.live[name] += 1
        for text in self._problems(case, response):
            if not self.wrong[f"{name}: {text}"]:
                self._report.say(f"{name}: {text}: {case.as_curl_command()[:1500]}")
            self.wrong[f"{name}: {text}"] += 1

    def _problems(self, case: Any, response: Any) -> Iterator[str]:
        if response.status_code >= 500:
            kind = response.json().get("type") if "json" in response.headers.get("Content-Type", "") else ""
            if kind not in BUSY:
                yield f"{response.status_code} {response.text[:300]}"
        try:
            case.validate_response(response, checks=CHECKS)
        except FailureGroup as group:
            for each in group.exceptions:
                yield " ".join(f"{type(each).__name__} {each}".split())[:400]


def main(words: list[str] | None = None) -> int:
    """Ask, and look at what is left; the exit code says whether every promise held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(words)
    report = Report()
    with tempfile.TemporaryDirectory(prefix="portlb-soak-") as directory:
        fleet = Fleet(Path(directory), TEXT)
        try:
            fleet.connect()
            fleet.settle(SETTLE)
            asking = Asking(fleet.controller.rest_port, report, options.seed)
            OpenAPIV31SpecValidator(asking.schema.raw_schema).validate()
            began = time.monotonic()
            asking.ask(options.requests)
            report.say(f"{asking.statuses.total()} requests in {time.monotonic() - began:.0f} s")
            report.say(", ".join(f"{count} x {status}" for status, count in sorted(asking.statuses.items())))
            report.say("done: " + ", ".join(f"{name} {count}" for name, count in sorted(asking.live.items())))
            report.promise(not asking.wrong, f"{asking.wrong.total()} answers are not what the document says")
            if options.requests >= ENOUGH:
                never = {*BODIES} - {*asking.live}
                report.promise(not never, f"each change was made at least once, but {sorted(never)}")
            afterwards(fleet, report)
        finally:
            fleet.close()
    return report.exit_code()


def afterwards(fleet: Fleet, report: Report) -> None:
    """The controller is well, and its switches hold what is live."""
    report.promise(fleet.controller.process.poll() is None, "the controller lives")
    report.promise("Traceback" not in fleet.controller.log.read_text(), "no error of its own is in its log")
    put: Callable[..., tuple[int, str]] = fleet.controller.request
    report.promise(put("PUT", "/v1/config", TEXT)[0] == 200, "a configuration is taken")
    fleet.settle(SETTLE)
    report.promise(fleet.controller.close() == 0, "the controller ends when it is told to")


if __name__ == "__main__":
    sys.exit(main())
