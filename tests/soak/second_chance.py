"""Plain connections while their pool changes: ``python -m tests.soak.second_chance [--only NAME…] [--downloads 200]``.

A client without an agent opens downloads and idle connections to a redirect port with ``legacy: balance``, and a third
of the pool is replaced; then the pool changes ten times more, at random. For each way of rewriting, one switch, a tree
and two entrances, both versions of IP.

It promises that no connection breaks, that the switches hold no flow for a connection, and no conntrack entry. Then
segments of no connection at all come as fast as a client can send them (`--flood` of them): each is handed back once
for each former server of its slot at most, and connections go on opening. Beside it, what breaks without the servers'
agents. It prints what was handed back.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from portlb_app.pipeline import FORMERS
from tests.net.balancer import Balancer, Connections, Downloads, balancer, changed
from tests.net.network import ROOT, agent_stats
from tests.soak.report import Report
from tests.support import trees

PORT = 22
SERVERS = "abcdefghi"
FIRST = ("a", "b", "c", "d", "e", "f")
"""The pool at the beginning."""
REPLACED = ("a", "b", "c", "d", "g", "h")
"""A third of it later."""
COUNTED = ("handed_back", "no_former", "kept_elsewhere", "kept_cookie")


def one_switch(rewrite: str) -> str:
    """The configuration of nine servers on one switch."""
    vip = {
        "address": ["10.0.0.100", "fd00::100"],
        "mac": "02:00:00:00:00:64",
        "rewrite": rewrite,
        "redirect_ports": {PORT: {"servers": list(FIRST), "legacy": "balance"}},
    }
    servers: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(SERVERS):
        servers[name] = {"vip": "web", "connector": f"s1:{number + 2}"}
        servers[name]["service_ports"] = [{"port": number + 1, "application": PORT}]
        if rewrite != "nothing":
            servers[name]["mac"] = f"02:00:00:00:01:{number + 10:02x}"
        if rewrite == "address":
            servers[name]["address"] = [f"10.0.0.{number + 10}", f"fd00::1:{number + 10:x}"]
    return yaml.safe_dump({"switches": {"s1": {"dpid": 1, "network": 1}}, "vips": {"web": vip}, "servers": servers})


def two_entrances(text: str) -> str:
    """The same servers on two leaves below two spines, both with a network side."""
    data = yaml.safe_load(text)
    data["switches"] = {
        "s1": {"dpid": 1, "network": 1}, "s2": {"dpid": 2, "network": 1}, "s3": {"dpid": 3}, "s4": {"dpid": 4},
    }  # fmt: skip
    data["links"] = [["s1:21", "s3:21"], ["s1:22", "s4:21"], ["s2:21", "s3:22"], ["s2:22", "s4:22"]]
    for number, server in enumerate(data["servers"].values()):
        server["connector"] = f"s{3 + number % 2}:{server['connector'].split(':')[1]}"
    return yaml.safe_dump(data)


TEXTS = {
    "one switch": one_switch("nothing"),
    "tree": trees.shaped(one_switch("nothing"), "deep"),
    "two entrances": two_entrances(one_switch("nothing")),
    "rewrite mac": one_switch("mac"),
    "rewrite address": trees.shaped(one_switch("address"), "tree"),
}


@dataclass(frozen=True)
class Outcome:
    """What became of the connections: how many broke, and what was counted."""

    downloads: int
    resets: int
    idle: int
    handed_back: int
    flows: int
    conntrack: int


def outcome(made: Balancer, pools: Sequence[Sequence[str]], downloads: int, idle: int) -> Outcome:
    """Open connections, change the pool from one to the next, and look."""
    made.put(changed(made.text, {PORT: list(pools[0])}))
    before = sum(agent_stats(made.servers[name])["handed_back"] for name in made.agents)
    loading, waiting = Downloads(made, PORT, downloads), Connections(made, made.client)
    for _ in range(idle):
        waiting.open(PORT)
    held: dict[str, int] = {}
    for pool in pools[1:]:
        made.put(changed(made.text, {PORT: list(pool)}))
        held = made.held()
    answered = waiting.ask()
    broken = loading.broken()
    after = sum(agent_stats(made.servers[name])["handed_back"] for name in made.agents)
    assert made.held()["flows"] <= held["flows"]
    waiting.close()
    return Outcome(
        broken, loading.resets, answered.count(False), after - before, held["flows"], made.held()["conntrack"]
    )


FLOOD = """
import socket, struct, sys, time
from tests.net.frames import tcp_segment
from ipaddress import ip_address
source, vip, port, number = ip_address(sys.argv[1]), ip_address(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
made = [tcp_segment(source, vip, 1024 + each, port, 0x10, each, each, data=b"odd") for each in range(2000)]
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
    raw.connect((str(vip), 0))
    began = time.monotonic()
    for each in range(number):
        raw.send(made[each % len(made)])
print(number / (time.monotonic() - began))
"""


def flooded(made: Balancer, number: int) -> tuple[float, int, int]:
    """Segments of no connection: how many a second were sent, how many handed back, and how many a meter dropped."""

    def handed_back() -> int:
        return sum(agent_stats(made.servers[name])["handed_back"] for name in made.agents)

    def dropped() -> int:
        return sum(switch["metered"]["handed_back"] for switch in made.status()["switches"])

    before = handed_back()
    words = (sys.executable, "-c", FLOOD, "10.3.0.2", str(made.speak(4).address), str(PORT), str(number))
    rate = float(made.plain.run(*words, cwd=ROOT).stdout)
    return rate, handed_back() - before, dropped()


def random_pools(changes: int, seed: str) -> list[tuple[str, ...]]:
    """A pool, and what it becomes."""
    source = random.Random(seed)
    return [FIRST, *(tuple(sorted(source.sample(SERVERS, source.randint(4, 8)))) for _ in range(changes))]


def main(words: list[str] | None = None) -> int:
    """Change pools; the exit code says whether every promise held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=TEXTS, default=list(TEXTS), metavar="NAME", help=", ".join(TEXTS))
    parser.add_argument("--downloads", type=int, default=200)
    parser.add_argument("--idle", type=int, default=20)
    parser.add_argument("--changes", type=int, default=10, help="random ones, after the replacement of a third")
    parser.add_argument("--families", type=int, nargs="*", choices=(4, 6), default=[4, 6])
    parser.add_argument("--flood", type=int, default=200_000, help="segments of no connection")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--agents-only", action="store_true", help="leave out what happens without agents")
    options = parser.parse_args(words)
    report = Report()
    for name in options.only:
        with balancer(TEXTS[name]) as made:
            for family in options.families:
                made.speak(family)
                changes: dict[str, list[tuple[str, ...]]] = {"a third of the pool replaced": [FIRST, REPLACED]}
                if options.changes:
                    changes[f"{options.changes} random changes"] = random_pools(options.changes, options.seed)
                for what, pools in changes.items():
                    got = outcome(made, pools, options.downloads, options.idle)
                    where = f"{name}, IPv{family}, {what}"
                    report.promise(
                        got.downloads == got.idle == 0,
                        f"{where}: {got.downloads} of {options.downloads} downloads ({got.resets} by resets) and "
                        f"{got.idle} of {options.idle} idle connections broke; {got.handed_back} segments were handed "
                        "back",
                    )
                    report.promise(got.handed_back, f"{where}: something was handed back")
                    report.promise(got.conntrack == 0, f"{where}: {got.flows} flows, {got.conntrack} conntrack entries")
            if options.flood:
                rate, back, dropped = flooded(made, options.flood)
                report.say(
                    f"{name}: {options.flood} segments of no connection, {rate:.0f} a second: {back} handed back, "
                    f"{dropped} dropped by meters"
                )
                report.promise(0 < back <= FORMERS * options.flood, f"{name}: each at most once for a former server")
                opened = Connections(made, made.plain)
                report.promise(opened.open(PORT) in SERVERS, f"{name}: a connection opens afterwards")
                opened.close()
    if not options.agents_only:
        with balancer(TEXTS["one switch"], agents=frozenset()) as made:
            got = outcome(made, [FIRST, REPLACED], options.downloads, options.idle)
            report.say(
                f"without agents: {got.downloads} of {options.downloads} downloads and {got.idle} of {options.idle} "
                "idle connections broke when a third of the pool was replaced"
            )
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
