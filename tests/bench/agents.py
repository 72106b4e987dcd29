"""What the host agents cost: the same work with them and without them, by turns, in one run.

    sudo .venv/bin/python -m tests.bench.agents [--families 4 6] [--rounds 5] [--samples 5] [--seconds 1] [--profile]

client -- veth -- server, both in namespaces made here, offloads as they come. Every pair of samples is taken in the
same two namespaces with the same servers, agents attached or detached in between, and every second pair in reverse.
Work: new HTTP connections as fast as they go (wrk, nginx, one connection per request), and one TCP stream each way
(iperf3). With agents each connection opens on X and continues on Y.

One sample of a stream says little: on two shared cores the next one may differ by a fifth. So a round's value is the
median of several short samples, in turns with those of the other variant; and the processor time for one GB, which
varies less than the rate, is printed beside it. `--null` shows how far apart two variants come that are the same.

nginx and wrk are bound to one core each; iperf3 is not, because bound to one core each its two ends are slower and vary
more. A sample waits for an idle machine, a minute at most, and is taken again, four times at most, if other programs
had more than 5 % of the processors meanwhile; the heading tells how many samples were kept in spite of that.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from portlb_app.agent.kernel import prog
from tests.bench.machine import (
    FOREIGN_SHARE,
    IDLE_PATIENCE,
    ended_seconds,
    machine,
    on_core,
    processor_seconds,
    processors,
    wait_until_idle,
)
from tests.net.network import Network, agent_stats, client_agent, end, server_agent, until

HTTP, BULK = 20, 5201
SERVICES, REDIRECTS = (f"1={HTTP}", f"2={BULK}"), (f"{HTTP}=1", f"{BULK}=2")
PARALLEL = 32  # connections wrk has open at once
NGINX_CORE, WRK_CORE = 0, 1
TRIES = 5

# A client port is free again at once, for both variants, so no sample runs out of them.
CLIENT_SYSCTLS = ("net.ipv4.tcp_tw_reuse=1", "net.ipv4.ip_local_port_range=1024 65535")
# No sample inherits what the kernel learnt about the path from an earlier one.
BOTH_SYSCTLS = ("net.ipv4.tcp_no_metrics_save=1",)

_NGINX = """
daemon off; master_process off; user root;
pid {directory}/nginx.pid; error_log {directory}/nginx.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    server {{
        listen {port} backlog=4096; listen [::]:{port} backlog=4096;
        location / {{ return 200 "ok\\n"; }}
    }}
}}
"""
_BPF_STATS = Path("/proc/sys/kernel/bpf_stats_enabled")


@dataclass(frozen=True)
class Family:
    """Addresses of one version of IP."""

    version: int
    client: str
    vip: str
    prefix: int

    @property
    def url(self) -> str:
        """Where nginx answers."""
        return f"http://{self.vip if self.version == 4 else f'[{self.vip}]'}:{HTTP}/"


FAMILIES = {4: Family(4, "10.0.0.1", "10.0.0.100", 24), 6: Family(6, "fd00::1", "fd00::100", 64)}


@dataclass(frozen=True)
class Work:
    """What one run of a workload did: a rate, and an amount of connections or GB."""

    rate: float
    amount: float


@dataclass
class Figure:
    """One quantity, by round, in both variants."""

    family: int
    name: str
    unit: str
    without: list[float] = field(default_factory=list)
    with_agents: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """With agents to without, by pairs."""
        return [one / other for one, other in zip(self.with_agents, self.without, strict=True)]


@dataclass(frozen=True)
class Program:
    """What the kernel counted of one eBPF program during one workload."""

    family: int
    workload: str
    name: str
    runs: int
    nanoseconds: int
    amount: float

    @property
    def per_run(self) -> float:
        """Nanoseconds a run took."""
        return self.nanoseconds / self.runs

    @property
    def runs_each(self) -> float:
        """Runs per connection, or per GB."""
        return self.runs / self.amount


class Hosts:
    """client -- server with nginx and iperf3, no agents."""

    def __init__(self, network: Network) -> None:
        self.client, self.server = network.host("client"), network.host("server")
        network.link(self.client, self.server)
        for family in FAMILIES.values():
            for host, address in ((self.client, family.client), (self.server, family.vip)):
                host.run("ip", "address", "add", f"{address}/{family.prefix}", "dev", "eth0")
        for host, settings in ((self.client, CLIENT_SYSCTLS + BOTH_SYSCTLS), (self.server, BOTH_SYSCTLS)):
            for setting in settings:
                host.run("sysctl", "-qw", setting)
        configuration = network.directory / "nginx.conf"
        configuration.write_text(_NGINX.format(directory=network.directory, port=HTTP), encoding="utf-8")
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.nginx = self.server.popen(*on_core(NGINX_CORE), "nginx", "-c", str(configuration), **quiet)
        self.iperf3 = self.server.popen("iperf3", "-s", "-p", str(BULK), **quiet)
        until(lambda: self.server.listens(HTTP) and self.server.listens(BULK), "nginx and iperf3 listen")

    def processor_time(self) -> float:
        """Seconds that both servers, and every program that was started here and has ended, have had."""
        return ended_seconds() + processor_seconds((self.nginx.pid, self.iperf3.pid))

    @contextlib.contextmanager
    def agents(self, family: Family) -> Iterator[tuple[subprocess.Popen[Any], ...]]:
        """Agents on both ends, new ones with nothing to remember; they must have redirected something."""
        processes = (
            client_agent(self.client, [family.vip]),
            server_agent(self.server, [family.vip], SERVICES, REDIRECTS),
        )
        yield processes
        time.sleep(0.2)  # the last connections close
        assert agent_stats(self.client)["confirmed"] > 0, "no connection was redirected"
        for process in processes:
            assert end(process) == 0, "an agent did not end in order"


def new_connections(hosts: Hosts, family: Family, seconds: int) -> Work:
    """Connections per second, and their number."""
    words = ("wrk", "-t", "1", "-c", str(PARALLEL), "-d", f"{seconds}s", "-H", "Connection: close", family.url)
    printed = hosts.client.run(*on_core(WRK_CORE), *words).stdout
    rate = re.search(r"Requests/sec: +([\d.]+)", printed)
    count = re.search(r"(\d+) requests in", printed)
    if rate is None or count is None or "Socket errors" in printed or "Non-2xx" in printed:
        raise AssertionError(f"wrk counted failures:\n{printed}")
    return Work(float(rate[1]), int(count[1]))


def bulk(hosts: Hosts, family: Family, seconds: int, *direction: str) -> Work:
    """Gbit/s of one stream, and GB."""
    words = ("iperf3", f"-{family.version}", "-c", family.vip, "-p", str(BULK), "-t", str(seconds), "-J", *direction)
    received = json.loads(hosts.client.run(*words).stdout)["end"]["sum_received"]
    return Work(received["bits_per_second"] / 1e9, received["bytes"] / 1e9)


def down(hosts: Hosts, family: Family, seconds: int) -> Work:
    """Server to client."""
    return bulk(hosts, family, seconds, "-R")


def up(hosts: Hosts, family: Family, seconds: int) -> Work:
    """Client to server."""
    return bulk(hosts, family, seconds)


@dataclass(frozen=True)
class Workload:
    """Something to measure, the unit of its rate, and that of processor time for one connection or GB."""

    name: str
    run: Callable[[Hosts, Family, int], Work]
    rate: str
    cost: str
    costs_per_second: float


WORKLOADS = (
    Workload("new connections", new_connections, "1/s", "CPU us each", 1e6),
    Workload("bulk down", down, "Gbit/s", "CPU ms/GB", 1e3),
    Workload("bulk up", up, "Gbit/s", "CPU ms/GB", 1e3),
)


@dataclass(frozen=True)
class Sample:
    """A rate, and what it cost."""

    rate: float
    cost: float


class Bench:
    """Takes samples in pairs."""

    def __init__(self, hosts: Hosts, seconds: int, null: bool, patience: float) -> None:
        self._hosts, self._seconds, self._null, self._patience = hosts, seconds, null, patience
        self.disturbed = 0

    def sample(self, workload: Workload, family: Family, with_agents: bool) -> Sample:
        """Take one sample."""
        for _ in range(TRIES):
            sample, foreign = self._try(workload, family, with_agents)
            if foreign <= FOREIGN_SHARE:
                return sample
        self.disturbed += 1
        return sample

    def _try(self, workload: Workload, family: Family, with_agents: bool) -> tuple[Sample, float]:
        """Return a sample, and the share of all processors that other programs had meanwhile."""
        with self._hosts.agents(family) if with_agents and not self._null else contextlib.nullcontext():
            wait_until_idle(self._patience)
            ours, (busy, total) = self._hosts.processor_time(), processors()
            work = workload.run(self._hosts, family, self._seconds)
            busy_then, total_then = processors()
            ours = self._hosts.processor_time() - ours
        cost = ours / work.amount * workload.costs_per_second
        return Sample(work.rate, cost), (busy_then - busy - ours) / (total_then - total)

    def measure(self, families: Sequence[Family], rounds: int, samples: int) -> list[Figure]:
        """Take `samples` pairs of samples for each value, round by round."""
        figures: list[Figure] = []
        pairs: list[tuple[Workload, Family, Figure, Figure]] = []
        for family in families:
            for workload in WORKLOADS:
                rate, cost = (Figure(family.version, workload.name, unit) for unit in (workload.rate, workload.cost))
                figures += [rate, cost]
                pairs.append((workload, family, rate, cost))
        for number in range(rounds):
            for workload, family, rate, cost in pairs:
                taken: dict[bool, list[Sample]] = {False: [], True: []}
                for turn in range(number, number + samples):
                    for with_agents in (False, True) if turn % 2 == 0 else (True, False):
                        taken[with_agents].append(self.sample(workload, family, with_agents))
                for figure, values in (
                    (rate, {variant: [each.rate for each in several] for variant, several in taken.items()}),
                    (cost, {variant: [each.cost for each in several] for variant, several in taken.items()}),
                ):
                    figure.without.append(statistics.median(values[False]))
                    figure.with_agents.append(statistics.median(values[True]))
        return figures

    def warm_up(self, families: Sequence[Family]) -> None:
        """Fill the server's table of connections in TIME-WAIT, and learn early whether agents start."""
        for family in families:
            new_connections(self._hosts, family, self._seconds)
            if not self._null:
                with self._hosts.agents(family):
                    new_connections(self._hosts, family, 1)

    def profile(self, families: Sequence[Family]) -> list[Program]:
        """Run each workload once with agents and the kernel's statistics of eBPF programs."""
        found = []
        for family in families:
            for workload in WORKLOADS:
                with self._hosts.agents(family) as processes:
                    with _bpf_stats():
                        work = workload.run(self._hosts, family, self._seconds)
                    for process in processes:
                        for name, (runs, nanoseconds) in _programs(process).items():
                            if runs:
                                found.append(
                                    Program(family.version, workload.name, name, runs, nanoseconds, work.amount)
                                )
        return found


@contextlib.contextmanager
def _bpf_stats() -> Iterator[None]:
    before = _BPF_STATS.read_text(encoding="ascii")
    _BPF_STATS.write_text("1", encoding="ascii")
    try:
        yield
    finally:
        _BPF_STATS.write_text(before, encoding="ascii")


def _programs(process: subprocess.Popen[Any]) -> dict[str, tuple[int, int]]:
    """Return runs and nanoseconds of every eBPF program a process holds, by name."""
    found = {}
    for path in Path(f"/proc/{process.pid}/fdinfo").iterdir():
        rows = dict(line.split(":", 1) for line in path.read_text(encoding="ascii").splitlines() if ":" in line)
        if "prog_id" in rows:
            name, _ = prog.describe(int(rows["prog_id"]))
            found[name] = int(rows["run_cnt"]), int(rows["run_time_ns"])
    return found


def _spread(values: Sequence[float], places: int) -> str:
    return f"{statistics.median(values):.{places}f} ({min(values):.{places}f}..{max(values):.{places}f})"


def table(figures: Sequence[Figure]) -> str:
    """Lay out medians and spreads."""
    lines = [f"{'':26}{'':>12}{'without agents':>30}{'with agents':>30}{'with / without':>24}"]
    for figure in figures:
        places = max(0, 3 - len(str(int(statistics.median(figure.without)))))
        lines.append(
            f"{f'IPv{figure.family} {figure.name}':26}{figure.unit:>12}"
            f"{_spread(figure.without, places):>30}{_spread(figure.with_agents, places):>30}"
            f"{_spread(figure.ratios, 3):>24}"
        )
    return "\n".join(lines)


def profile_table(programs: Sequence[Program]) -> str:
    """Lay out what the kernel counted."""
    lines = [f"{'':26}{'program':>16}{'ns per run':>12}{'runs':>12}{'runs per connection or GB':>28}"]
    for program in programs:
        places = 2 if program.runs_each < 100 else 0
        lines.append(
            f"{f'IPv{program.family} {program.workload}':26}{program.name:>16}"
            f"{program.per_run:>12.0f}{program.runs:>12}{program.runs_each:>28.{places}f}"
        )
    return "\n".join(lines)


def _natural(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure what the host agents cost.")
    parser.add_argument("--families", nargs="+", type=int, choices=sorted(FAMILIES), default=sorted(FAMILIES))
    parser.add_argument("--rounds", type=_natural, default=5, help="values of each figure (default %(default)s)")
    parser.add_argument("--samples", type=_natural, default=5, help="pairs for one value (default %(default)s)")
    parser.add_argument("--seconds", type=_natural, default=1, help="length of a sample (default %(default)s)")
    parser.add_argument("--patience", type=float, default=IDLE_PATIENCE, help="seconds to wait for an idle machine")
    parser.add_argument("--null", action="store_true", help="no agents in either variant: how far noise alone goes")
    parser.add_argument("--profile", action="store_true", help="also runs and run time of each eBPF program")
    parser.add_argument("--json", action="store_true", help="print every sample as JSON")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("namespaces and agents need root")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the namespaces go too
    families = [FAMILIES[version] for version in dict.fromkeys(arguments.families)]
    try:
        with Network() as network:
            bench = Bench(Hosts(network), arguments.seconds, arguments.null, arguments.patience)
            bench.warm_up(families)
            figures = bench.measure(families, arguments.rounds, arguments.samples)
            programs = bench.profile(families) if arguments.profile else []
    except AssertionError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    about = {**machine(), "rounds": arguments.rounds, "samples": arguments.samples, "seconds": arguments.seconds}
    about["disturbed"] = bench.disturbed
    if arguments.json:
        results = [{**asdict(figure), "ratios": figure.ratios} for figure in figures]
        print(json.dumps({"about": about, "figures": results, "programs": list(map(asdict, programs))}, indent=2))
        return 0
    print(
        f"Linux {about['kernel']} {about['architecture']}, {about['cores']} cores ({about['processor']}), "
        f"{about['congestion control']}\n"
        f"{arguments.rounds} values, each the median of {arguments.samples} samples of {arguments.seconds} s, "
        f"{bench.disturbed} samples disturbed; median (min..max)\n"
    )
    print(table(figures))
    if programs:
        print("\neBPF programs; each run includes the clock reads of the kernel's statistics, about 80 ns\n")
        print(profile_table(programs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
