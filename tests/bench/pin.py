"""What it costs to remember plain clients' connections: new ones a second, and the switch's processor time for each.

``python -m tests.bench.pin [SECONDS]``, as root: wrk opens a connection for each request to nginx through one bridge of
Open vSwitch's userspace datapath, under ``legacy: balance`` and ``legacy: pin`` by turns. Prints both, and the ratio.
"""

from __future__ import annotations

import os
import re
import sys
from statistics import median

from tests.net.balancer import Balancer, balancer, changed
from tests.net.network import ROOT

PORT = 22
TURNS = 3
_FIG2 = (ROOT / "flows/fig2/lb.yaml").read_text()
_TICKS = os.sysconf("SC_CLK_TCK")


def _text(policy: str) -> str:
    return changed(_FIG2, {PORT: ["a", "b"]}, p22=policy)


def _used(made: Balancer) -> float:
    """Processor seconds of ovs-vswitchd."""
    pid = int((made.switch.directory / "ovs-vswitchd.pid").read_text())
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        words = file.read().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / _TICKS


def _measure(made: Balancer, seconds: int) -> tuple[float, float]:
    """Connections a second, and microseconds of the switch's processor for each."""
    before = _used(made)
    url = f"http://{made.address}:{PORT}/name"
    wrk = ("wrk", "-t", "1", "-c", "20", "-d", f"{seconds}s", "-H", "Connection: close", url)
    done = made.plain.run(*wrk, timeout=seconds + 60).stdout
    found = re.search(r"(\d+) requests in ([\d.]+)s", done)
    assert found, done
    number, took = int(found[1]), float(found[2])
    return number / took, (_used(made) - before) / number * 1e6


def main() -> None:
    """Measure by turns, and print."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    results: dict[str, list[tuple[float, float]]] = {"balance": [], "pin": []}
    with balancer(_text("balance"), agents=frozenset()) as made:
        ports = ("net.ipv4.ip_local_port_range=1024 65535", "net.ipv4.tcp_tw_reuse=1")
        made.plain.run("sysctl", "-qw", *ports)
        for _ in range(TURNS):
            for policy, figures in results.items():
                made.put(_text(policy))
                figures.append(_measure(made, seconds))
                print(f"{policy}: {figures[-1][0]:.0f} connections/s, {figures[-1][1]:.0f} us each", flush=True)
        flows = made.switch.appctl("dpctl/dump-flows").count("recirc_id")
        remembered = made.switch.appctl("dpctl/ct-stats-show").partition("Total: ")[2].split()[0]
        print(f"datapath flows: {flows}, connections in conntrack: {remembered}")
    middle = {policy: [median(column) for column in zip(*figures, strict=True)] for policy, figures in results.items()}
    speed, cost = (middle["pin"][column] / middle["balance"][column] for column in (0, 1))
    print(f"pin / balance: connections a second {speed:.2f}, processor time each {cost:.2f}")


if __name__ == "__main__":
    main()
