"""MPTCP downloads whose pool is replaced: ``python -m tests.soak.mptcp [--only NAME…] [--downloads 200]``.

Stock programs under `mptcpize`, no agent on the client, none but `portlb agent mptcp` on servers
(row B2). Downloads open at a redirect port; once each has joined at its server's port, the whole pool is replaced, and
every first subflow is killed. For each way of rewriting, one switch and a tree, both versions of IP.

It promises that no download breaks, that new connections get the new servers, and that a plain client of the same port
is served as before. Beside it, the same with plain TCP: all downloads that moved break.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from portlb_app.agent.mptcp import counts
from portlb_app.agent.report import total
from tests.net.balancer import Balancer, Downloads, balancer, changed
from tests.net.inside import on
from tests.net.network import ROOT, Namespace, until, wait_ready
from tests.soak.report import Report
from tests.support import trees

X = 22
"""The redirect port."""
Y = {"a": 9001, "b": 9002, "c": 9003, "d": 9004}
"""The port of each server at which MPTCP connections go on."""
BEFORE, AFTER = ["a", "b"], ["c", "d"]
MPTCP = ("mptcpize", "run")
SIZE = 400_000
"""Bytes of a download: a server program that has given all to its kernel closes, and then no subflow can join."""
SECONDS = 30.0
"""For all of a round's connections to join."""


def configuration(rewrite: str, names: str = "abcd") -> str:
    """Servers on one switch. Without a second chance nothing but MPTCP keeps a connection whose slot moves."""
    vip = {
        "address": ["10.0.0.100", "fd00::100"],
        "mac": "02:00:00:00:00:64",
        "rewrite": rewrite,
        "redirect_ports": {X: {"servers": BEFORE, "legacy": "balance", "second_chance": False}},
    }
    servers: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(names, 1):
        port = Y[name]
        servers[name] = {"vip": "web", "connector": f"s1:{number + 1}", "mptcp": port}
        servers[name]["service_ports"] = [{"port": number, "application": X}, port]
        if rewrite != "nothing":
            servers[name]["mac"] = f"02:00:00:00:01:{number + 9:02x}"
        if rewrite == "address":
            servers[name]["address"] = [f"10.0.0.{number + 9}", f"fd00::1:{number + 9:x}"]
    return yaml.safe_dump({"switches": {"s1": {"dpid": 1, "network": 1}}, "vips": {"web": vip}, "servers": servers})


TEXTS = {
    "one switch": configuration("nothing"),
    "tree": trees.shaped(configuration("nothing"), "deep"),
    "rewrite mac": configuration("mac"),
    "rewrite address": trees.shaped(configuration("address"), "tree"),
}


def follows(host: Namespace) -> None:
    """What a stock client has to be told: to accept announced addresses."""
    host.run("ip", "mptcp", "limits", "set", "add_addr_accepted", "2", "subflows", "4")


@contextlib.contextmanager
def running(text: str, **options: Any) -> Iterator[Balancer]:
    """A load balancer whose servers announce, with eBPF agents only if `options` say so, and a client that follows."""
    options.setdefault("agents", frozenset())
    with balancer(text, under=MPTCP, **options) as made:
        agents = [
            made.servers[server.name].popen_piped(
                *(sys.executable, "-m", "portlb_app.agent", "mptcp"),
                *("--config", str(made.file), "--server", server.name),
                cwd=ROOT,
            )
            for server in made.config.servers
            if server.name not in made.agents
        ]
        for agent in agents:
            wait_ready(agent)
        follows(made.client)
        yield made


def subflows(made: Balancer, *ports: int) -> int:
    """How many subflows to these ports of the VIP the client has."""
    found = made.client.run("ss", "-Htn", "state", "established", "dst", f"[{made.address}]").stdout.split()
    return sum(word.rpartition(":")[2] in map(str, ports) for word in found[3::4])


def kill_first(made: Balancer) -> tuple[int, int]:
    """Kill each subflow at the redirect port; how many there were, and how many are left."""
    number = subflows(made, X)
    made.client.run("ss", "-K", "-tn", "dst", f"[{made.address}]", "dport", "=", f":{X}")
    return number, subflows(made, X)


def counted(made: Balancer) -> dict[str, int]:
    """What the servers' kernels have counted of MPTCP, together."""
    totals: dict[str, int] = {}
    for host in made.servers.values():
        with on(host):
            totals = total((totals, counts.counts()))
    return totals


@dataclass(frozen=True)
class Outcome:
    """What became of a round's downloads."""

    broken: int
    killed: int
    """First subflows that were killed; a server of the new pool has reset the others."""
    left: int
    """First subflows that are left."""
    new: frozenset[str]
    """The servers of new connections of a plain client."""


def outcome(made: Balancer, downloads: int, mptcp: bool = True) -> Outcome:
    """Open downloads, replace the whole pool, kill first subflows, and look."""
    made.put(changed(made.text, {X: BEFORE}))
    loading = Downloads(made, X, downloads, under=MPTCP if mptcp else (), size=SIZE)
    killed = left = 0
    if mptcp:
        until(lambda: subflows(made, *Y.values()) >= downloads, f"{downloads} downloads have joined", SECONDS)
    made.put(changed(made.text, {X: AFTER}))
    if mptcp:
        killed, left = kill_first(made)
    until(lambda: new(made) <= set(AFTER), "new connections reach the new servers alone")
    return Outcome(loading.broken(), killed, left, frozenset(new(made)))


def new(made: Balancer) -> set[str]:
    """The servers that a plain client gets."""
    words = ("--silent", "--max-time", "10", "--header", "Connection: close", made.url(X, "name?[1-10]"))
    return set(made.plain.run("curl", *words).stdout.split())


def main(words: list[str] | None = None) -> int:
    """Replace pools; the exit code says whether every promise held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=TEXTS, default=list(TEXTS), metavar="NAME", help=", ".join(TEXTS))
    parser.add_argument("--downloads", type=int, default=200)
    parser.add_argument("--families", type=int, nargs="*", choices=(4, 6), default=[4, 6])
    options = parser.parse_args(words)
    report = Report()
    for name in options.only:
        with running(TEXTS[name]) as made:
            for family in options.families:
                made.speak(family)
                where, before = f"{name}, IPv{family}", counted(made)
                got = outcome(made, options.downloads)
                joined = counted(made)["mptcp_joined_announced"] - before["mptcp_joined_announced"]
                report.promise(
                    got.broken == got.left == 0,
                    f"{where}: {got.broken} of {options.downloads} MPTCP downloads broke when their whole pool was "
                    f"replaced, {got.killed} first subflows were killed and the others reset; {joined} had joined",
                )
                report.promise(joined >= options.downloads, f"{where}: each had joined at its server's port")
                report.promise(got.new and got.new <= set(AFTER), f"{where}: a plain client gets {sorted(got.new)}")
                plain = outcome(made, options.downloads, mptcp=False)
                report.promise(
                    plain.broken == options.downloads,
                    f"{where}: without MPTCP {plain.broken} of {options.downloads} broke, all of which had moved",
                )
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
