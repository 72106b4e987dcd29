"""REST changes what is live again and again, under load: ``sudo .venv/bin/python -m tests.soak.changes``.

A configuration is put whole, patched, edited in parts and rolled back; states and weights are asked for; some of what
is asked must be refused. Meanwhile downloads go on by redirected connections, others stay open and are asked now and
then, and new ones are opened, asked again and closed all the time. It promises that every answer is the one that is
due, that no redirected connection is lost, that in the end what was asked for last is what is wanted, that the switch
was read to hold that, and by its own account holds it; and that the history has every change, with its end.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import threading
import time
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.net.balancer import BRIDGE, REST, Balancer, Connections, Downloads, balancer
from tests.net.network import until
from tests.soak.changing import CONFIG, KEPT, Answer, Changes, Wanted, missing
from tests.soak.report import Report

BATCH = 16
"""Connections that are opened one after the other, asked again, and closed."""
STAYING = 12
"""Connections that stay."""
SELDOM = 10
"""Batches between two questions on those: nginx ends a connection after 1,000."""
PATIENCE = 60.0
_HEAD = "\n%{http_code} 0%header{portlb-change} %header{location}"


class Traffic(threading.Thread):
    """Opens connections, asks each of them again, and closes them, until it is told to end; some it keeps."""

    def __init__(self, made: Balancer) -> None:
        super().__init__()
        self._kept, self._new = Connections(made, made.client), Connections(made, made.client)
        self._is_over = threading.Event()
        self.opened = Counter(self._kept.open(80) for _ in range(STAYING))
        self.asked = self.lost = 0
        self.error: Exception | None = None

    def run(self) -> None:
        """Batch after batch."""
        try:
            for batch in itertools.takewhile(lambda _: not self._is_over.is_set(), itertools.count()):
                self.opened.update(self._new.open(80) for _ in range(BATCH))
                self._ask(self._new)
                self._new.drop()
                if batch % SELDOM == 0:
                    self._ask(self._kept)
            self._ask(self._kept)
        except Exception as error:
            self.error = error

    def _ask(self, connections: Connections) -> None:
        answers = connections.ask()
        self.asked += len(answers)
        self.lost += answers.count(False)

    def end(self) -> None:
        """After the batch that is under way."""
        self._is_over.set()
        self.join()


class Desk:
    """Asks REST, in the controller's namespace."""

    def __init__(self, made: Balancer) -> None:
        self._made = made

    def __call__(self, method: str, path: str, body: str | None, kind: str) -> Answer:
        """One request."""
        words = ["--request", method, "--header", f"Content-Type: application/{kind}", "--write-out", _HEAD]
        words += [] if body is None else ["--data-binary", "@-"]
        url = f"http://127.0.0.1:{REST}{path}"
        done = self._made.lb.run("curl", "--silent", *words, url, input=body or "", check=False).stdout
        text, _, head = done.rpartition("\n")
        status, change, *location = head.split()
        return Answer(int(status), int(change), urlsplit("".join(location)).path, text)

    def got(self, path: str) -> Any:
        """What a GET answers; text where it is no JSON."""
        answer = self("GET", path, None, "json")
        assert answer.status == 200, answer
        return answer.body if path.endswith(("format=text", "config")) else json.loads(answer.body)


def differing(made: Balancer, desk: Desk) -> str:
    """How the switch differs from what is wanted, as it was read and by its own account; empty if it does not."""
    wanted, read = (desk.got(f"/v1/switches/{BRIDGE}/tables?which={which}&format=text") for which in ("wanted", "held"))
    lines = [line for line in wanted.splitlines() if not line.startswith("#")]
    flows = [line for line in lines if " actions=" in line]
    groups = {line.split(",")[0] for line in lines if line.startswith("group_id=")}
    held = {line.split(",")[0] for line in made.switch.dump_groups(BRIDGE)}
    assert flows and groups, lines[:5]
    other = "" if _lines(wanted) == _lines(read) else f"{_lines(wanted) ^ _lines(read)} "
    other += f"groups {sorted(held ^ groups)}" if held != groups else ""
    return made.switch.diff_flows(BRIDGE, "\n".join(flows)) + other


def _lines(text: str) -> set[str]:
    return {line for line in text.splitlines() if line and not line.startswith("#")}


def unlike(desk: Desk, wanted: Wanted) -> list[str]:
    """What differs between what was asked for and what the switch was read to hold."""
    pools = {(each["vip"], each["port"]): each for each in desk.got("/v1/pools")["pools"]}
    due = {(vip, port): ready for vip, port, ready in wanted.pools()}
    found = [f"pools {sorted(pools)}, not {sorted(due)}"] if {*pools} != {*due} else []
    for key, ready in due.items():
        servers = pools[key]["servers"] if key in pools else []
        serving = sorted(each["name"] for each in servers if each["held"].get(BRIDGE))
        if ready and serving != sorted(ready):
            found.append(f"{key}: {serving} have slots, and {sorted(ready)} are ready")
    for name in wanted.data["servers"]:
        server = desk.got(f"/v1/servers/{name}")
        override = server["weight"]["override"] or {"value": server["weight"]["configured"]}
        told = server["wanted"]["state"], override["value"]
        if told != (wanted.state(name), wanted.weight(name)):
            found.append(f"{name}: {told}, not {wanted.state(name)}, {wanted.weight(name)}")
    return found


def main(words: list[str] | None = None) -> int:
    """Change, and look at what is left; the exit code says whether every promise held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=1000)
    parser.add_argument("--downloads", type=int, default=50, help="at a time; 100 changes later others begin")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(words)
    report = Report()
    with balancer(CONFIG, agents=frozenset(KEPT)) as made:
        made.speak(4, "web").client_agent()
        run(made, report, options)
    return report.exit_code()


def run(made: Balancer, report: Report, options: argparse.Namespace) -> None:
    """All changes, and the promises."""
    desk, traffic, broken = Desk(made), Traffic(made), 0
    changes = Changes(desk, options.seed)
    downloads = Downloads(made, 80, options.downloads)
    traffic.start()
    began = time.monotonic()
    try:
        for number in range(1, options.changes + 1):
            changes.make()
            if number % 100 == 0:
                broken += downloads.broken()
                report.say(f"{number} changes; {traffic.asked} connections asked, {traffic.lost} lost, {broken} broken")
                downloads = Downloads(made, 80, options.downloads)
        passed = time.monotonic() - began
    finally:
        traffic.end()
    broken += downloads.broken()
    taken, refused = sorted(changes.seconds), sum(changes.refused.values())
    report.say(f"{options.changes} changes in {passed:.0f} s, {refused} refused on purpose: {dict(changes.kinds)}")
    report.say(f"one took {1000 * taken[len(taken) // 2]:.0f} ms (median), {1000 * taken[-1]:.0f} ms (longest)")
    report.promise(not changes.wrong, f"each answer was the one that is due: {len(changes.wrong)} {changes.wrong[:3]}")
    report.promise(not broken, f"downloads arrive whole, {options.downloads} at a time: {broken} broken")
    report.promise(traffic.error is None and traffic.asked, f"connections were opened all the time {traffic.error}")
    report.promise(not traffic.lost, f"of {traffic.asked} questions on redirected connections {traffic.lost} were lost")
    report.promise(not {*traffic.opened} - {*KEPT}, f"every new connection was answered: {dict(traffic.opened)}")
    made.wait_synced()
    until(lambda: desk.got(f"/v1/switches/{BRIDGE}")["plan"]["steps"] == 0, "no step is left", PATIENCE)
    until(lambda: not unlike(desk, changes.wanted), "the switch was read to hold what was asked for", PATIENCE)
    report.promise(not (text := differing(made, desk)), f"the switch holds what is wanted {text[:500]}")
    live = yaml.safe_load(desk.got("/v1/config"))
    report.promise(live == changes.wanted.data, "the configuration is what was asked for")
    history = desk.got("/v1/changes?limit=1000")["changes"]
    told = missing(changes.told, history)
    report.promise(not told, f"the history has all of them, each with its end: {len(history)} {told}")


if __name__ == "__main__":
    sys.exit(main())
