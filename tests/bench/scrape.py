"""What a scrape costs the controller's loop: ``python -m tests.bench.scrape [SERVERS [ROUNDS]]``, without root.

A network of so many servers (1,000) in pools of 50, on ten switches that were read, with agents that are heard, checks
that have results, traffic and states that have changed: every metric has values of every server. Printed are medians of
the processor's milliseconds: for the snapshot, for the text as a whole, and for the longest part of it without a turn
for others.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from statistics import median
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client import PlatformCollector, ProcessCollector

from portlb_app.api.snapshot import RefusedConnections, Snapshot
from portlb_app.compiler.traffic import Direction
from portlb_app.config import Config, load
from portlb_app.health.line_state import LineState
from portlb_app.health.probe import Failure, Result, Verdict
from portlb_app.metrics.exposition import exposition
from portlb_app.metrics.tally import Tally
from portlb_app.net.heartbeat import Heartbeat
from portlb_app.reconcile.configuration import Configuration
from portlb_app.reconcile.events import AgentsHeard, StateRead, SwitchConnected, Tick
from portlb_app.reconcile.reconciler import Reconciler
from portlb_app.reconcile.results import Amount, Compiled, Passed, Read, Steps, Target
from portlb_app.selection import slots
from portlb_app.topology.conditions import HeldSlots

SWITCHES, OF_POOL = 10, 50
ROUNDS = 9


def settings(servers: int) -> str:
    """The configuration: each switch has one VIP, with its servers in pools of `OF_POOL`."""
    vips: dict[str, Any] = {}
    found: dict[str, Any] = {}
    for number in range(servers):
        vip, place = f"v{number % SWITCHES}", number // SWITCHES
        name, port = f"server-{number}", 80 + place // OF_POOL
        found[name] = {"vip": vip, "connector": f"s{number % SWITCHES}:{2 + place}", "service_ports": [8000 + place]}
        ports = vips.setdefault(vip, {
            "address": f"10.0.0.{1 + number % SWITCHES}", "mac": "02:00:00:00:00:64", "redirect_ports": {},
        })["redirect_ports"]  # fmt: skip
        ports.setdefault(port, {"servers": [], "check": {"kind": "tcp"}})["servers"].append(name)
    switches = {f"s{number}": {"dpid": number + 1, "network": 1} for number in range(SWITCHES)}
    return json.dumps({"switches": switches, "vips": vips, "servers": found})


def reconciler(text: str, config: Config) -> Reconciler:
    """It, with all switches read and all agents heard."""
    targets = {switch.dpid: Target(1000) for switch in config.switches}
    found = Reconciler(Configuration(text, config), Compiled(1, targets))
    servers = {server.name: server for server in config.servers}
    for switch in config.switches:
        held = {
            (vip.name, pool.port): HeldSlots(slots(pool.servers), is_default=True)
            for vip in config.vips
            for pool in vip.redirect_ports
            if servers[pool.servers[0]].connector.switch == switch.name
        }
        found.handle(SwitchConnected(switch.dpid), 1.0)
        here = [server.name for server in config.servers if server.connector.switch == switch.name]
        passed = Passed(
            {(name, way): Amount(12345678, 1234567890123) for name in here for way in Direction},
            {key: Amount(123456789, 12345678901234) for key in held},
            {name: Amount(12345678, 1234567890123) for name in here},
        )
        read = Read(4000, 10, 20, 0, Steps(), 1, {}, held=held, passed=passed)
        found.handle(StateRead(switch.dpid, read), 1.5)
    said = {name: Heartbeat(1, 1, open=1234, cpu=123, io=45) for name in servers}
    found.handle(AgentsHeard(said), 2.0)
    for name in servers:
        found.totals.state_changes.update({(name, "check"): 3, (name, "port"): 1})
        found.totals.changed_at[name] = 1.0
    found.handle(Tick(1.7e9), 2.5)
    return found


def tallied(config: Config) -> tuple[Tally, tuple[LineState, ...]]:
    """Checks of all servers with all kinds of results, and what else happens."""
    tally, states = Tally(1.7e9), []
    for server in config.servers:
        for verdict, failure in ((Verdict.PASSED, None), *((Verdict.FAILED, each) for each in list(Failure)[:3])):
            tally.check(server.vip, server.name, "tcp", verdict, failure, 0.0123)
        check = SimpleNamespace(kind=SimpleNamespace(value="tcp"))
        line = SimpleNamespace(vip=server.vip, server=server.name, check=check)
        result = Result(Verdict.PASSED, "connected")
        states.append(cast(LineState, SimpleNamespace(line=line, result=result, took=0.0123)))
    for code in ("200", "404"):
        tally.request("GET", "/v1/status", int(code), 0.01)
    tally.lateness.observe(0.001)
    return tally, tuple(states)


def measure(known: Reconciler, tally: Tally, states: tuple[LineState, ...]) -> tuple[float, float, float, int, int]:
    """Milliseconds for the snapshot, the text and its longest part; the number of values, and of bytes."""
    gc.collect()
    began = time.process_time()
    config = known.live.config
    snapshot = Snapshot(
        known.status(3.0), known.text, RefusedConnections(), unix=1.7e9, epoch=1.7e9, config=config,
        backends=known.backends, checks=states, totals=known.totals,
    )  # fmt: skip
    taken = time.process_time()
    parts, longest, last = [], 0.0, taken
    for part in exposition(snapshot, tally, (PlatformCollector(registry=None), ProcessCollector(registry=None))):
        parts.append(part)
        now = time.process_time()
        longest, last = max(longest, now - last), now
    text = "".join(parts)
    values = sum(not line.startswith("#") for line in text.splitlines())
    return (taken - began) * 1e3, (last - taken) * 1e3, longest * 1e3, values, len(text)


def main() -> None:
    """Print the medians."""
    servers = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    text = settings(servers)
    config = load(text)
    known, (tally, states) = reconciler(text, config), tallied(config)
    gc.freeze()
    rounds = [measure(known, tally, states) for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS)]
    snapshot, whole, longest, values, size = (median(each) for each in zip(*rounds, strict=True))
    print(f"{servers} servers: {values:.0f} values, {size / 1e6:.1f} MB")
    print(f"snapshot {snapshot:.1f} ms, text {whole:.1f} ms, of that without a turn at most {longest:.1f} ms")


if __name__ == "__main__":
    main()
