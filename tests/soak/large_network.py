"""Changes of a large network while REST is asked all the time: ``python -m tests.soak.large_network``.

A hundred bridges of one Open vSwitch, a thousand servers, ten thousand service ports, and one controller. For every
change it prints what PUT answered and after how long, the longest and the 99th percentile of the answers to GET
/v1/status, asked every 20 ms, and how many switches have left.

It promises that an answer is true, by what the switches hold; that REST always answers within 100 ms; and that no
switch leaves because the controller is silent: Open vSwitch asks after five seconds, and leaves after ten.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from portlb_app.config import Link
from tests.bench.compile import settings
from tests.soak.fleet import Fleet, tables
from tests.soak.report import Report, cpu_seconds, memory_bytes
from tests.support.helper import Helper

SETTLE = 120.0
"""Seconds until all switches must be synced after a change."""
ANSWER = 120.0
EVERY = 0.02
FLAP = 2.5
"""Seconds that a flapping link is down, and up."""


class Network:
    """The network under test, the configuration that is live, and what was cut."""

    def __init__(self, fleet: Fleet, report: Report, data: dict[str, Any], rest: float) -> None:
        self.fleet, self.report, self.rest = fleet, report, rest
        self.whole, self.text = data, json.dumps(data)
        self.link: Link = fleet.config.links[0]
        self.is_cut = False

    def without_server(self, pools: int, number: int = 0) -> str:
        """The configuration with a server less in each of so many pools."""
        data = copy.deepcopy(self.whole)
        for port in list(data["vips"]["web"]["redirect_ports"])[:pools]:
            del data["vips"]["web"]["redirect_ports"][port]["servers"][number]
        return json.dumps(data)

    @contextlib.contextmanager
    def watched(self, name: str) -> Iterator[None]:
        """A change in the block, until all switches are synced again; figures and promises are printed."""
        report, since, began = self.report, self.fleet.mark(), time.monotonic()
        used = cpu_seconds(self.fleet.controller.process.pid)
        report.say(f"--- {name}")
        words = ("-m", "tests.soak.latency", str(self.fleet.controller.rest_port), "/v1/status", str(EVERY))
        poll = Helper(sys.executable, *words)
        try:
            poll.wait_ready()
            yield
            self.fleet.settle(SETTLE)
            taken = sorted(json.loads(poll.tell(patience=ANSWER)))
        finally:
            poll.kill()
            poll.communicate()
        used = cpu_seconds(self.fleet.controller.process.pid) - used
        report.say(f"all synced {time.monotonic() - began:.1f} s after the beginning, {used:.1f} s of the processor")
        high = taken[len(taken) * 99 // 100]
        report.promise(
            taken[-1] < self.rest,
            f"REST: {len(taken)} answers, median {1000 * statistics.median(taken):.0f} ms, "
            f"99th percentile {1000 * high:.0f} ms, longest {1000 * taken[-1]:.0f} ms",
        )
        probe, gone = self.fleet.left(since)
        report.promise(not gone, f"{gone} switches were lost, {probe} of them because the controller did not answer")
        self.check()

    def put(self, text: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        """PUT, and something else at the same time."""
        failed: list[Exception] = []

        def run() -> None:
            try:
                meanwhile()
            except Exception as error:
                failed.append(error)

        other = threading.Thread(target=run)
        began = time.monotonic()
        other.start()
        status, body = self.fleet.controller.request("PUT", "/v1/config", text, seconds=ANSWER)
        self.report.say(f"PUT of {len(text):,} bytes: {status} after {time.monotonic() - began:.1f} s")
        if status == 200:
            states = [each["state"] for each in json.loads(body)["switches"]]
            away = len(states) - states.count("synced")
            self.report.promise(not away, f"{away} switches were not synced when PUT said that they were")
        else:
            self.report.say(" ".join(body.split())[:200])
        other.join()
        assert not failed, failed
        self.report.promise(status == 200, f"the configuration is taken ({status})")
        self.text = text if status == 200 else self.text

    def check(self) -> None:
        """Whether the switches hold the configuration that the answers told, and REST says that it is that."""
        down = frozenset({self.link} if self.is_cut else ())
        differing = self.fleet.differing(tables(self.text, down))
        self.report.promise(not differing, f"{len(differing)} switches hold other tables than the answer said")
        live = self.fleet.controller.request("GET", "/v1/config")[1]
        self.report.promise(live == self.text, "GET /v1/config has the configuration that the answers told")

    def reload(self) -> None:
        """SIGHUP three times within a second."""
        for _ in range(3):
            time.sleep(0.3)  # while a PUT is on trial
            self.fleet.controller.process.send_signal(signal.SIGHUP)

    def cut(self, wait: float = 0.5) -> None:
        """Cut the link, after a moment."""
        time.sleep(wait)  # in the middle of a PUT
        self.fleet.admin(self.link.one, "down")
        self.is_cut = True

    def mend(self) -> None:
        """Have the link work again, until the controller uses it."""
        self.fleet.admin(self.link.one, "up")
        self.is_cut = False
        deadline = time.monotonic() + SETTLE
        while not all(link["up"] for link in self.fleet.controller.status()["links"]):
            assert time.monotonic() < deadline, "the link does not come back"
            time.sleep(0.1)  # between two looks

    def flap(self, times: int) -> None:
        """Cut the link and have it work again."""
        for _ in range(times):
            for state in ("down", "up"):
                self.fleet.admin(self.link.one, state)
                time.sleep(FLAP)
        self.mend()


def main(words: list[str] | None = None) -> int:
    """Run all changes; the exit code says whether every promise held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--switches", type=int, default=100)
    parser.add_argument("--servers", type=int, default=1000)
    parser.add_argument("--ports", type=int, default=10000, help="service ports of all servers together")
    parser.add_argument("--flaps", type=int, default=8, help="how often a link goes down and up")
    parser.add_argument("--rest", type=float, default=0.1, metavar="SECONDS", help="the longest answer of REST allowed")
    options = parser.parse_args(words)
    report = Report()
    data = settings(options.switches, options.servers, options.ports)
    with tempfile.TemporaryDirectory(prefix="portlb-soak-") as directory, contextlib.ExitStack() as stack:
        fleet = Fleet(Path(directory), json.dumps(data))
        stack.callback(fleet.close)
        network = Network(fleet, report, data, options.rest)
        flows = sum(len(state.flows) for state in tables(network.text).values())
        report.say(f"{options.switches} switches, {options.servers} servers, {options.ports} ports, {flows} flows")
        with network.watched("all switches connect"):
            fleet.connect()
        with network.watched("a PUT that takes a server from one pool"):
            network.put(network.without_server(1))
        with network.watched("a PUT that takes a server from every pool"):
            network.put(network.without_server(len(data["vips"]["web"]["redirect_ports"])))
        with network.watched("a PUT, and SIGHUP three times meanwhile"):
            network.put(network.without_server(20, 1), network.reload)
        with network.watched("a PUT, and a link is cut meanwhile"):
            network.put(json.dumps(data), network.cut)
        with network.watched("the link comes back"):
            network.mend()
        with network.watched(f"the link goes and comes back {options.flaps} times, every {FLAP} s"):
            network.flap(options.flaps)
        pid = fleet.controller.process.pid
        report.say(f"the controller has {memory_bytes(pid) >> 20} MiB, and used {cpu_seconds(pid):.1f} s in all")
        report.promise(fleet.controller.close() == 0, "the controller ends when it is told to")
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
