"""Changes by REST of every kind, one after the other, and what is wanted after them: the part of `changes` that asks.

Server a is ready in every pool of web all the time, and b and c keep their service ports: so no change may break a
connection that was redirected to one of them. All else comes and goes.
"""

from __future__ import annotations

import copy
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import yaml

CONFIG = """
switches: {s1: {dpid: 1, network: 1}}
vips:
  web:
    address: 10.0.0.100
    mac: "02:00:00:00:00:64"
    redirect_ports: {80: {servers: [a, b, c]}, 81: {servers: [a, b], legacy: balance}}
  mail:
    address: 10.0.0.101
    mac: "02:00:00:00:00:65"
    redirect_ports: {25: {servers: [m]}}
servers:
  a: {vip: web, connector: "s1:2", service_ports: [{port: 8001, application: 80}]}
  b: {vip: web, connector: "s1:3", service_ports: [{port: 8002, application: 80}]}
  c: {vip: web, connector: "s1:4", service_ports: [{port: 8003, application: 80}]}
  d: {vip: web, connector: "s1:5", service_ports: [{port: 8004, application: 80}]}
  m: {vip: mail, connector: "s1:6", service_ports: [{port: 8005, application: 25}]}
"""
FIRST = yaml.safe_load(CONFIG)
KEPT = ("a", "b", "c")
"""Servers whose connections must go on."""
POLICIES: tuple[dict[str, Any], ...] = (
    {}, {"legacy": "balance"}, {"legacy": "pin"}, {"selection": "source"}, {"fail_open": "never"}, {"moves": "200/s"},
)  # fmt: skip
"""Policies of a redirect port; of those that move slots by themselves none, or there would be no end to compare."""
END_SECONDS = 30.0


@dataclass(frozen=True)
class Answer:
    """What a request was answered: its status, the change that was written down (0: none), where to look, the body."""

    status: int
    change: int
    location: str
    body: str


Ask = Callable[[str, str, str | None, str], Answer]
"""Asks: method, path, body, and the body's media type behind ``application/``."""


@dataclass
class Wanted:
    """What was asked for last: the configuration, and states and weights that are used instead of the file's."""

    data: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(FIRST))
    states: dict[str, str] = field(default_factory=dict)
    weights: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By server: the weight, and the file's that it replaces."""

    def state(self, name: str) -> str:
        """The state of a server."""
        return self.states.get(name, "ready")

    def in_file(self, name: str) -> int:
        """A server's weight by the file."""
        return int(self.data["servers"][name].get("weight", 1))

    def weight(self, name: str) -> int:
        """The weight that a server has."""
        return self.weights[name][0] if name in self.weights else self.in_file(name)

    def adopt(self, data: dict[str, Any]) -> None:
        """This is the configuration now. An override goes with its server, or with the value that it replaced."""
        self.data = data
        self.states = {name: state for name, state in self.states.items() if name in data["servers"]}
        self.weights = {
            name: (weight, replaced)
            for name, (weight, replaced) in self.weights.items()
            if name in data["servers"] and self.in_file(name) == replaced
        }

    def pools(self) -> Iterator[tuple[str, int, list[str]]]:
        """Every pool, with its servers that get new connections."""
        for vip, each in self.data["vips"].items():
            for port, pool in each["redirect_ports"].items():
                yield vip, port, [name for name in pool["servers"] if self.state(name) == "ready"]


class Changes:
    """Makes changes and knows what is wanted after them. `wrong`: answers that were others than they should be."""

    def __init__(self, ask: Ask, number: int) -> None:
        self._ask_of, self._dice = ask, Random(number)
        self.wanted = Wanted()
        self.kinds: Counter[str] = Counter()
        self.refused: Counter[int] = Counter()
        self.wrong: list[str] = []
        self.seconds: list[float] = []
        self.told: list[int] = []
        """The changes that answers named."""
        self._round: list[Callable[[], None]] = []

    def make(self) -> None:
        """One. Every kind is made before one is made again."""
        if not self._round:
            self._round = [
                *(self._state, self._weight, self._no_weight, self._patch, self._put, self._port, self._policy),
                *(self._server, self._vip, self._rollback, self._unawaited, self._refused),
            ]
            self._dice.shuffle(self._round)
        chosen = self._round.pop()
        self.kinds[chosen.__name__.strip("_")] += 1
        chosen()

    # ---- states and weights ----

    def _state(self) -> None:
        name = self._dice.choice([each for each in self.wanted.data["servers"] if each != "a"])
        states = ("ready", "drain", "maint") if name not in KEPT else ("ready", "drain")
        state = self._dice.choice([each for each in states if each != self.wanted.state(name)])
        self._ask("PUT", f"/v1/servers/{name}/state", {"state": state, "force": True})
        self.wanted.states[name] = state

    def _weight(self) -> None:
        name, weight = self._dice.choice(KEPT), self._dice.choice((1, 2, 3, 5))
        self._ask("PUT", f"/v1/servers/{name}/weight", {"weight": weight})
        self.wanted.weights[name] = weight, self.wanted.in_file(name)
        if weight == self.wanted.in_file(name):
            del self.wanted.weights[name]

    def _no_weight(self) -> None:
        name = self._dice.choice(sorted(self.wanted.weights) or KEPT)
        self._ask("DELETE", f"/v1/servers/{name}/weight")
        self.wanted.weights.pop(name, None)

    # ---- the configuration ----

    def _patch(self) -> None:
        name, weight = self._dice.choice(KEPT), self._dice.choice((1, 2, 4))
        self._propose("PATCH", "/v1/config", {"servers": {name: {"weight": weight}}}, "merge-patch+json")

    def _put(self) -> None:
        data = copy.deepcopy(self.wanted.data)
        servers = ["a", *self._dice.sample(KEPT[1:], self._dice.choice((1, 2)))]
        data["vips"]["web"]["redirect_ports"][80]["servers"] = servers
        self._ask("PUT", "/v1/config", data, "yaml")
        self.wanted.adopt(data)

    def _port(self) -> None:
        ports = self.wanted.data["vips"]["web"]["redirect_ports"]
        if 81 in ports and self._dice.random() < 0.5:
            self._ask("DELETE", "/v1/vips/web/ports/81")
            patch: dict[str, Any] | None = None
        else:
            names = [name for name, each in self.wanted.data["servers"].items() if each["vip"] == "web" and name != "a"]
            patch = {"servers": ["a", *self._dice.sample(names, 2)], **self._dice.choice(POLICIES)}
            self._ask("PUT", "/v1/vips/web/ports/81", patch)
        data = copy.deepcopy(self.wanted.data)
        data["vips"]["web"]["redirect_ports"].pop(81, None)
        if patch is not None:
            data["vips"]["web"]["redirect_ports"][81] = patch
        self.wanted.adopt(data)

    def _policy(self) -> None:
        """Of the pool that connections are opened to all the time; plain clients are none of its."""
        policy = self._dice.choice([each for each in POLICIES if "legacy" not in each])
        pool = {"servers": self.wanted.data["vips"]["web"]["redirect_ports"][80]["servers"], **policy}
        self._ask("PUT", "/v1/vips/web/ports/80", pool)
        data = copy.deepcopy(self.wanted.data)
        data["vips"]["web"]["redirect_ports"][80] = pool
        self.wanted.adopt(data)

    def _server(self) -> None:
        data = copy.deepcopy(self.wanted.data)
        if data["servers"].pop("d", None):
            self._ask("DELETE", "/v1/vips/web/servers/d")
            for pool in data["vips"]["web"]["redirect_ports"].values():
                pool["servers"] = [name for name in pool["servers"] if name != "d"]
        else:
            server = {key: value for key, value in FIRST["servers"]["d"].items() if key != "vip"}
            self._ask("PUT", "/v1/vips/web/servers/d", server)
            data["servers"]["d"] = copy.deepcopy(FIRST["servers"]["d"])
        self.wanted.adopt(data)

    def _vip(self) -> None:
        is_there = "mail" in self.wanted.data["vips"]
        vip, server = (None, None) if is_there else (FIRST["vips"]["mail"], FIRST["servers"]["m"])
        self._propose("PATCH", "/v1/config", {"vips": {"mail": vip}, "servers": {"m": server}}, "merge-patch+json")

    def _rollback(self) -> None:
        changes = json.loads(self._ask_of("GET", "/v1/changes?what=config&limit=20", None, "json").body)["changes"]
        chosen = self._dice.choice([each["id"] for each in changes if each["outcome"] == "live"])
        text = json.loads(self._ask_of("GET", f"/v1/changes/{chosen}", None, "json").body)["text"]
        self._ask("POST", f"/v1/changes/{chosen}/rollback", {})
        self.wanted.adopt(yaml.safe_load(text))

    def _unawaited(self) -> None:
        """One that is answered at once, and whose end is looked up where the answer says."""
        data = copy.deepcopy(self.wanted.data)
        data["servers"]["b"]["weight"] = self._dice.choice((1, 3))
        answer = self._ask("PUT", "/v1/config?wait=none", data, "yaml", expected=202)
        deadline, outcome = time.monotonic() + END_SECONDS, "begun"
        while outcome == "begun" and time.monotonic() < deadline:
            outcome = json.loads(self._ask_of("GET", answer.location, None, "json").body)["outcome"]
        if outcome != "live":
            self.wrong.append(f"{answer.location}: {outcome}")
        self.wanted.adopt(data)

    # ---- what is refused ----

    def _refused(self) -> None:
        """What must be refused, and change nothing."""
        data = copy.deepcopy(self.wanted.data)
        data["servers"]["a"]["connector"] = "s9:1"
        texts = self._dice.choice(
            (
                ("PUT", "/v1/config", data, "yaml", 422),
                ("PUT", "/v1/config", [], "yaml", 422),
                ("PUT", "/v1/config", self.wanted.data, "octet-stream", 415),
                ("PATCH", "/v1/config", {"servers": {"a": {"weight": -1}}}, "merge-patch+json", 422),
                ("PUT", "/v1/vips/web/servers/d", {"connector": "s9:5"}, "json", 422),
                ("PUT", "/v1/vips/none/ports/80", {"servers": ["a"]}, "json", 404),
                ("DELETE", "/v1/vips/web/ports/99", None, "json", 404),
                ("PUT", "/v1/servers/nobody/state", {"state": "drain"}, "json", 404),
                ("PUT", "/v1/servers/b/state", {"state": "asleep"}, "json", 422),
                ("PUT", "/v1/servers/b/weight", {"weight": "much"}, "json", 422),
                ("POST", "/v1/changes/999999999/rollback", {}, "json", 404),
            )
        )
        self._ask(*texts[:4], expected=texts[4])
        self.refused[texts[4]] += 1

    # ---- inside ----

    def _propose(self, method: str, path: str, patch: dict[str, Any], kind: str) -> None:
        self._ask(method, path, patch, kind)
        data = copy.deepcopy(self.wanted.data)
        for key, entries in patch.items():
            for name, each in entries.items():
                data[key][name] = {**data[key].get(name, {}), **copy.deepcopy(each)} if each is not None else None
                if each is None:
                    del data[key][name]
        self.wanted.adopt(data)

    def _ask(self, method: str, path: str, body: Any = None, kind: str = "json", expected: int = 200) -> Answer:
        text = None if body is None else yaml.safe_dump(body) if kind == "yaml" else json.dumps(body)
        began = time.monotonic()
        answer = self._ask_of(method, path, text, kind)
        self.seconds.append(time.monotonic() - began)
        if answer.status != expected:
            self.wrong.append(f"{method} {path} {text}: {answer.status} {' '.join(answer.body.split())[:300]}")
        if answer.change:
            self.told.append(answer.change)
        return answer


def missing(told: list[int], changes: list[Mapping[str, Any]]) -> str:
    """What the history lacks of the changes that answers named; empty if nothing. It keeps the newest of each kind."""
    known = {each["id"]: each["outcome"] for each in changes}
    if begun := [number for number, outcome in known.items() if outcome == "begun"]:
        return f"no end: {begun}"
    if len(known) != len(changes) or sorted(known, reverse=True) != [each["id"] for each in changes]:
        return "they are not in their order"
    lost = [number for number in told[-100:] if number not in known]
    return f"not there: {lost}" if lost else ""
