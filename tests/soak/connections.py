"""New connections at a rate through both agents: ``python -m tests.soak.connections --rate 5000 --seconds 600``.

A client, a router and a server with nginx, both agents with their default settings, two redirect ports that take
turns, so that every turn brings keys that the agents' tables do not have. Several processes make the connections; where
they cannot make as many as asked for, it says how many they made.

It promises that no connection fails or hangs (no answer in 8 s), and that both agents live. It prints what the kernel
has for the agents' maps, and the counters that tell of trouble. ``--no-agents`` is for comparison: what hangs without
them is the machine's, not theirs. (With more connections open than a server's queue of those to be accepted takes, or
`--open` lifted on a machine that makes fewer than the rate, thousands do.) `--streams` are open throughout, say a line
every 0.2 s, and must not break.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from tests.net.network import ROOT, agent_stats
from tests.net.world import OWN, VIPS, X, Y, Z, world
from tests.soak.rate import OPEN, PATIENCE
from tests.soak.report import Report, cpu_seconds, memory_bytes

TURN = 10.0
STREAMS, STREAM_SERVICE = 21, 3
"""Where the streams' program listens, and its service port."""
SYSCTLS = ("net.ipv4.tcp_tw_reuse=1", "net.ipv4.ip_local_port_range=1024 65535")
QUEUES = ("net.core.somaxconn=65535", "net.ipv4.tcp_max_syn_backlog=65535")
TROUBLE = ("fallen_back", "remembered", "map_full", "wrong_port", "stayed", "rebuilt", "tried_both", "collision")


def maps_bytes(pid: int) -> int:
    """Memory the kernel has for the eBPF maps that a process holds, by what it says of its descriptors."""
    sizes: dict[str, int] = {}
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        said = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        if "map_id" in said:
            sizes[said["map_id"]] = int(said["memlock"])
    return sum(sizes.values())


def summed(lines: Iterable[str]) -> dict[str, float]:
    """What several clients did in the same turn."""
    turns = [json.loads(line) for line in lines]
    total = {name: sum(turn[name] for turn in turns) for name in ("begun", "answered", "failed", "hung")}
    errors = {name for turn in turns for name in turn["errors"]}
    return total | {
        "port": turns[0]["port"],
        "longest": max(turn["longest"] for turn in turns),
        "errors": {name: sum(turn["errors"].get(name, 0) for turn in turns) for name in sorted(errors)},
    }


def main(words: list[str] | None = None) -> int:
    """Make them; the exit code says whether every promise held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=5000.0, help="connections a second")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--turn", type=float, default=TURN, metavar="SECONDS", help="how long one port has its turn")
    parser.add_argument("--clients", type=int, default=2, help="processes that make them")
    parser.add_argument("--open", type=int, default=OPEN, help="the most that a process has open at a time")
    parser.add_argument("--streams", type=int, default=30, help="connections that stay")
    parser.add_argument("--family", type=int, choices=(4, 6), default=4)
    parser.add_argument("--no-agents", action="store_true", help="the same without agents, for comparison")
    options = parser.parse_args(words)
    report = Report()
    with world(family=options.family) as made:
        made.client.run("sysctl", "-qw", *SYSCTLS)
        made.server.run("sysctl", "-qw", *QUEUES)
        agents = [] if options.no_agents else [
            ("client", made.client, made.client_agent()),
            ("server", made.server, made.server_agent(
                [f"{Y}={X}", f"{Z}={OWN}", f"{STREAM_SERVICE}={STREAMS}"],
                [f"{X}={Y}", f"{OWN}={Z}", f"{STREAMS}={STREAM_SERVICE}"],
            )),
        ]  # fmt: skip
        program_of_streams = (sys.executable, "-m", "tests.soak.streams")
        made.server.popen_ready(*program_of_streams, "serve", str(STREAMS), cwd=ROOT)
        words_of_streams = ("keep", VIPS[options.family], str(STREAMS), str(options.streams))
        streams = made.client.popen_ready(*program_of_streams, *words_of_streams, cwd=ROOT)
        rate = str(options.rate / options.clients)
        program = (sys.executable, "-m", "tests.soak.rate", VIPS[options.family], rate, str(options.seconds))
        turns = round(options.seconds / options.turn)
        words_of_one = (*program, str(options.turn), str(options.open), str(X), str(OWN))
        clients = [made.client.popen_ready(*words_of_one, cwd=ROOT) for _ in range(options.clients)]
        whole = {"begun": 0.0, "answered": 0.0, "failed": 0.0, "hung": 0.0}
        began = time.monotonic()
        for _ in range(turns):
            turn = summed([client.line(options.turn + 2 * PATIENCE + 30) for client in clients])
            whole = {name: whole[name] + turn[name] for name in whole}
            report.say(
                f"port {turn['port']}: {turn['begun'] / options.turn:.0f} a second, {turn['failed']:.0f} failed "
                f"{turn['errors'] or ''}, {turn['hung']:.0f} hung, longest {turn['longest']:.2f} s"
            )
        seconds = time.monotonic() - began
        assert streams.stdin is not None
        streams.stdin.close()
        kept = json.loads(streams.line(2 * PATIENCE))
        report.say(f"{whole['begun']:.0f} connections, {whole['begun'] / seconds:.0f} a second of {options.rate:.0f}")
        for agent, host, process in agents:
            report.promise(process.poll() is None, f"the {agent} agent lives")
            stats = agent_stats(host)
            told = ", ".join(f"{name} {stats[name]}" for name in TROUBLE if stats.get(name))
            report.say(
                f"{agent}: maps {maps_bytes(process.pid) / 1e6:.1f} MB, process {memory_bytes(process.pid) >> 20} MiB, "
                f"{cpu_seconds(process.pid):.1f} s of the processor; {told or 'no trouble counted'}"
            )
        report.promise(whole["begun"] and not whole["failed"], f"{whole['failed']:.0f} failed")
        report.promise(not whole["hung"], f"{whole['hung']:.0f} had no answer within {PATIENCE:.0f} s")
        told = f"{kept['broken']} of {kept['streams']} streams broke, {kept['lines']} lines came back"
        report.promise(not kept["broken"], told)
        report.promise(whole["answered"] == whole["begun"], f"{whole['answered']:.0f} were answered whole")
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
