"""`selection: least` with real programs: ten servers, two of them a third as fast.

    sudo .venv/bin/python -m tests.bench.least [--seconds 180] [--rate 160] [--plot docs/least.svg]

Ten servers in namespaces behind one switch (Open vSwitch's userspace datapath), each with an agent and a program that
keeps every connection open for a while, drawn by chance: `LIVES` seconds on average, three times as long at the two
slow ones. A client opens `rate` connections a second, as they come by chance. Printed, every ten seconds: how many
connections the fullest server has, divided by the mean; with the slots by weight alone first, then with `least`, which
moves one slot a second at most. At the end: connections that failed (none may), slots that moved, and whether the ratio
has stayed below 1.25 from the 90th second on.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.plot import Line, svg, text_chart
from tests.net.balancer import BRIDGE, Balancer
from tests.net.network import ROOT, Network

SERVERS, SLOW, LIVES = 10, 2, 5.0
PORT, GOAL, BY = 80, 1.25, 90
_PROGRAM = (sys.executable, "-m", "tests.bench.holding")
WINDOW = 10
"""Seconds of which means are taken: how many connections there are at one moment is chance, too."""


def configuration(least: bool) -> str:
    """One switch, one pool; the servers' programs listen on its port."""
    names = [f"s{number}" for number in range(SERVERS)]
    selection = ", selection: least" if least else ""
    lines = [
        "switches: {s1: {dpid: 1, network: 1}}",
        "vips:",
        '  web: {address: 10.0.0.100, mac: "02:00:00:00:00:64", redirect_ports: '
        f"{{{PORT}: {{servers: [{', '.join(names)}]{selection}}}}}}}",
        "servers:",
    ]
    for number, name in enumerate(names):
        lines.append(
            f'  {name}: {{vip: web, connector: "s1:{number + 2}", '
            f"service_ports: [{{port: {8001 + number}, application: {PORT}}}]}}"
        )
    return "\n".join(lines) + "\n"


class Pool:
    """The load balancer with the servers' and the client's programs."""

    def __init__(self, made: Balancer, rate: float) -> None:
        self._made, self._counts = made, made.network.directory / "counts"
        self._counts.mkdir()
        self.names = sorted(made.servers)
        for number, name in enumerate(self.names):
            lives = LIVES * (3 if number >= SERVERS - SLOW else 1)
            words = ("serve", str(PORT), str(lives), str(self._counts / name))
            made.servers[name].popen_ready(*_PROGRAM, *words, cwd=ROOT)
        made.client_agent()
        words = ("open", str(made.address), str(PORT), str(rate), str(self._counts / "failed"))
        self._client = made.client.popen_ready(*_PROGRAM, *words, cwd=ROOT)

    def open(self) -> list[int]:
        """Open connections of each server, as its program says."""
        return [_number(self._counts / name) for name in self.names]

    def failed(self) -> int:
        """Connections that did not end with the server's answer."""
        return _number(self._counts / "failed")

    def slots(self) -> list[int]:
        """Slots of each server, as the switch has them."""
        (group,) = self._made.switch.dump_groups(BRIDGE)
        ports = re.findall(r"bucket=.*?output:(\d+)", group)
        return [ports.count(str(number + 2)) for number in range(SERVERS)]


def _number(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError, ValueError):
        return int(path.read_text())
    return 0


def measure(least: bool, seconds: int, rate: float) -> Iterator[tuple[list[int], list[int], int]]:
    """Yield every second the servers' open connections and slots, and how many have failed so far."""
    with Network() as network, contextlib.ExitStack() as stack:
        pool = Pool(Balancer(network, stack, configuration(least), nginx=False), rate)
        began = time.monotonic()
        for second in range(1, seconds + 1):
            time.sleep(max(0.0, began + second - time.monotonic()))
            yield pool.open(), pool.slots(), pool.failed()


def main() -> int:
    """Measure both, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--rate", type=float, default=160.0)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    lines, good = [], True
    for least in (False, True):
        label = "least" if least else "by weight"
        ratios: list[float] = []
        moved, before, failed = 0, list[int](), 0
        for second, (counts, slots, lost) in enumerate(measure(least, options.seconds, options.rate), 1):
            failed = lost
            ratios.append(max(counts) * len(counts) / sum(counts) if sum(counts) else 1.0)
            moved += sum(abs(now - then) for now, then in zip(slots, before, strict=False)) // 2
            before = slots
            if second % WINDOW == 0:
                mean = statistics.mean(ratios[-WINDOW:])
                print(f"{label}: {second:4} s  fullest / mean {mean:.2f}  open {counts}  slots {slots}", flush=True)
        smooth = [statistics.mean(ratios[max(0, at - WINDOW + 1) : at + 1]) for at in range(len(ratios))]
        lines.append(Line(label, smooth))
        print(f"{label}: {moved} slots moved, {failed} connections failed")
        if least:
            worst = max(smooth[BY:], default=0.0)
            good = worst < GOAL and not failed and moved <= options.seconds
            mean = statistics.mean(ratios[BY:] or ratios)
            verdict = "as it should be" if good else "not as it should be"
            print(f"least: from {BY} s on {mean:.2f} in the mean, {worst:.2f} at most: {verdict}")
    title = f"Fullest server / mean: {SERVERS} servers, {SLOW} of them a third as fast, {options.rate:g} connections/s"
    print(text_chart(lines))
    if options.plot:
        options.plot.write_text(svg(title, lines, GOAL))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
