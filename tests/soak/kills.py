"""kill -9 of the controller in the middle of changes, again and again: ``python -m tests.soak.kills``.

One client proposes configurations, another one drains servers and makes them ready again, each as fast as it is
answered; the controller is killed at a random moment, and started again with what is on the disk. It promises that what
was acknowledged before is there afterwards: the configuration and each server's state are the last ones that were
acknowledged, or the one that was on its way; every change that was written down has an end, which stays what it is; and
the switch comes to hold what the controller says.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from http.client import HTTPException
from pathlib import Path

from portlb_app.api.history import BEGUN, LIVE
from portlb_app.store.changes import ChangesDirectory, hash_of
from tests.ovs.controller import ControllerProcess
from tests.soak.fleet import Fleet
from tests.soak.report import Report

SERVERS = ("a", "b", "c", "d")
DONE = (200, 202)
STANDS = 504
"""The answer to a wish that some switch lacks: it is saved."""


def text(number: int) -> str:
    """A configuration for each number: other tables, and another text."""
    servers = {
        name: {"vip": "web", "connector": f"s1:{port}", "service_ports": [8000 + port]}
        for port, name in enumerate(SERVERS, start=2)
    }
    pool = {"servers": list(SERVERS), "legacy": ("balance", "drop")[number % 2]}
    vip = {"address": "10.0.0.100", "mac": "02:00:00:00:00:64", "redirect_ports": {"80": pool}}
    settings = {"switches": {"s1": {"dpid": 1, "network": 1}}, "vips": {"web": vip}, "servers": servers}
    return f"# {number}\n{json.dumps(settings, indent=1)}\n"


class Client(threading.Thread):
    """Asks for one value after the other. `is_there`: the last that was acknowledged; `may_be`: the one on its way."""

    def __init__(self, controller: ControllerProcess, is_there: object) -> None:
        super().__init__(daemon=True)
        self.controller = controller
        self.is_there: object = is_there
        self.may_be: object = None
        self.answers: Counter[int] = Counter()
        self.ends = threading.Event()

    def run(self) -> None:
        """Go on until the controller does not answer."""
        while not self.ends.is_set():
            self.may_be = self.next()
            try:
                status = self.ask(self.may_be)
            except (OSError, HTTPException):
                return
            self.answers[status] += 1
            if status in DONE or status == STANDS and isinstance(self, Drainer):
                self.is_there = self.may_be
            self.may_be = None

    def next(self) -> object:
        """What to ask for."""
        raise NotImplementedError

    def ask(self, what: object) -> int:
        """Ask for it; the status of the answer."""
        raise NotImplementedError

    def explains(self, found: object) -> bool:
        """Whether what was found is what was acknowledged, or was on its way."""
        return found == self.is_there or (self.may_be is not None and found == self.may_be)


class Proposer(Client):
    """Proposes configurations; values are their numbers."""

    def next(self) -> object:
        """Another number each time."""
        assert isinstance(self.is_there, int)
        return self.is_there + 1

    def ask(self, what: object) -> int:
        """PUT it."""
        assert isinstance(what, int)
        return self.controller.request("PUT", "/v1/config", text(what))[0]


class Drainer(Client):
    """Drains servers and makes them ready again, never all; values are those that drain."""

    def next(self) -> object:
        """One more, or one less."""
        assert isinstance(self.is_there, frozenset)
        return self.is_there ^ {random.choice(SERVERS[:3])}

    def ask(self, what: object) -> int:
        """PUT the state of the server that makes the difference."""
        assert isinstance(what, frozenset) and isinstance(self.is_there, frozenset)
        (name,) = what ^ self.is_there
        body = json.dumps({"state": "drain" if name in what else "ready", "by": "soak"})
        return self.controller.request("PUT", f"/v1/servers/{name}/state", body)[0]


def found(controller: ControllerProcess) -> tuple[int, frozenset[str]]:
    """What a controller says after its start: the number of its configuration, and the servers that drain."""
    _, live = controller.request("GET", "/v1/config")
    servers = json.loads(controller.request("GET", "/v1/servers")[1])["servers"]
    drained = frozenset(each["name"] for each in servers if each["wanted"]["state"] == "drain")
    number = int(live.partition("\n")[0].removeprefix("# "))
    assert live == text(number), "a part of a configuration"
    return number, drained


class Ends:
    """What controllers say became of changes, one controller after the other."""

    def __init__(self) -> None:
        self.outcomes: dict[int, str] = {}

    def look(self, controller: ControllerProcess, number: int) -> str:
        """What is wrong with the history, as a user sees it; empty if nothing is. `number`: of the configuration."""
        changes = json.loads(controller.request("GET", "/v1/changes?limit=1000")[1])["changes"]
        outcomes = {each["id"]: each["outcome"] for each in changes}
        before, self.outcomes = self.outcomes, outcomes
        if begun := [each for each, outcome in outcomes.items() if outcome == BEGUN]:
            return f"no end: {begun}"
        if other := {each: (was, outcomes[each]) for each, was in before.items() if outcomes.get(each, was) != was}:
            return f"another end than before: {other}"
        live = next(each["config"] for each in changes if each["what"] == "config" and each["outcome"] in LIVE)
        return "" if live == hash_of(text(number)) else f"{live} was live last, not {number}"


def main(words: list[str] | None = None) -> int:
    """Kill it, and look at what is there; the exit code says whether every promise held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest", type=float, default=1.0, help="seconds of changes before a kill, at most")
    options = parser.parse_args(words)
    report, dice = Report(), random.Random(options.seed)
    random.seed(options.seed)
    with tempfile.TemporaryDirectory(prefix="portlb-soak-") as directory:
        fleet = Fleet(Path(directory), text(0))
        try:
            fleet.connect()
            kills(fleet, Path(directory), report, dice, options)
        finally:
            fleet.close()
    return report.exit_code()


def kills(fleet: Fleet, directory: Path, report: Report, dice: random.Random, options: argparse.Namespace) -> None:
    """All of them; the first state that is not explained ends it."""
    path, port, ends = directory / "lb.yaml", fleet.controller.openflow_port, Ends()
    number, drained = 0, frozenset[str]()
    answers: dict[str, Counter[int]] = {"configurations": Counter(), "states": Counter()}
    new = Counter[str]()
    for kill in range(1, options.kills + 1):
        fleet.settle(60)
        clients = Proposer(fleet.controller, number), Drainer(fleet.controller, drained)
        for client in clients:
            client.start()
        time.sleep(dice.uniform(0, options.longest))
        fleet.controller.kill()
        for client in clients:
            client.join()
        proposer, drainer = clients
        answers["configurations"] += proposer.answers
        answers["states"] += drainer.answers
        fleet.controller = ControllerProcess(path, openflow_port=port)
        number, drained = found(fleet.controller)
        wrong = ends.look(fleet.controller, number)
        new["configurations"] += number != proposer.is_there
        new["states"] += drained != drainer.is_there
        is_right = proposer.explains(number) and drainer.explains(drained) and not wrong
        if not is_right or kill % 20 == 0:
            report.say(f"{kill} kills; acknowledged so far: {_said(answers)}")
        if not is_right:
            expected = f"{proposer.is_there} or {proposer.may_be}, {drainer.is_there} or {drainer.may_be}"
            print(fleet.controller.log.read_text()[-8000:])
            report.promise(False, f"kill {kill}: {number}, {drained} is what was acknowledged: {expected}; {wrong}")
            return
    report.promise(True, f"{options.kills} kills: each start had what was acknowledged ({_said(answers)})")
    report.say(f"what was on its way was there after {dict(new)} of them; ends: {Counter(ends.outcomes.values())}")
    fleet.settle(60)
    status, body = fleet.controller.request("PUT", "/v1/config", text(number + 1))
    report.promise(status == 200, f"a configuration is taken afterwards: {status} {body[:200] * (status != 200)}")
    for name in drained:
        fleet.controller.request("PUT", f"/v1/servers/{name}/state", '{"state": "ready"}')
    fleet.settle(60)
    _, wanted = fleet.controller.request("GET", "/v1/switches/s1/tables?which=wanted&format=text")
    flows = [line for line in wanted.splitlines() if " actions=" in line and not line.startswith("#")]
    differing = fleet.switch.diff_flows("s1", "\n".join(flows))
    report.promise(flows and not differing, f"the switch holds what is wanted, and nothing else: {differing}")
    fleet.controller.close()
    changes = ChangesDirectory(path).load()
    live = [each.config for each in changes if each.is_live]
    report.promise(live[-1] == hash_of(text(number + 1)), "the history's last live configuration is the live one")
    begun = [each.id for each in changes if each.has_begun]
    report.promise(not begun, f"each of {len(changes)} changes in the history has an end: {begun}")


def _said(answers: dict[str, Counter[int]]) -> str:
    return ", ".join(f"{sum(count[each] for each in DONE)} {what}" for what, count in answers.items())


if __name__ == "__main__":
    sys.exit(main())
