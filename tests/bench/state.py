"""Case c: what the load balancer remembers while connections are open."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.bench.alternative import Alternative
from tests.bench.figures import Case
from tests.bench.machine import resident, size_of
from tests.bench.stage import PORT, VIP, Stage
from tests.net.network import ROOT

AT_MOST = 12_500
"""Connections of one process of the client."""
OPENING = 600.0
"""Seconds it may take to open those of one process."""


def case() -> Case:
    """An empty one."""
    return Case(
        "state",
        "State",
        "Connections that are open, each with one request that was answered; counted when the last one is. Bytes are"
        " what ovs-vswitchd and the balancer's processes have grown by since there were none (private memory), and"
        " the kernel's conntrack entries and sockets on the balancer's host, by their sizes in /proc/slabinfo."
        " ovs-vswitchd is a new process each time. Not counted: what clients and servers have, agents' maps among it.",
    )


def measure(found: Case, stage: Stage, alternative: Alternative, sizes: Sequence[int]) -> None:
    """One alternative, from no connection to the most."""
    stage.clear()
    stage.restart_switch()
    alternative.expect(max(sizes))
    with alternative.running():
        stage.forget()
        before: int | None = None
        holders = []
        count = 0
        for size in sorted(sizes):
            while count < size:
                holder = stage.client.popen_ready(sys.executable, "-m", "tests.bench.holders", VIP, str(PORT), cwd=ROOT)
                holders.append(holder)
                wanted = min(AT_MOST, size - count)
                opened = int(holder.tell(f"open {wanted}", OPENING))
                assert opened == wanted, f"{alternative.name}: {opened} of {wanted} connections were answered"
                count += opened
            held = {**stage.held(), **host(stage)}
            for name, value in held.items():
                found.figure(f"{name} at {size} connections", "1").add(alternative.name, value)
            now = memory(stage, alternative) + held["conntrack entries of the host"] * size_of("nf_conntrack")
            now += held["sockets of the host"] * size_of("TCP")
            before = now if before is None else before
            if size:
                grown = max(0, now - before) / size
                found.figure(f"bytes a connection at {size} connections", "1").add(alternative.name, grown)
        for holder in holders:
            holder.stdin.close()  # type: ignore[union-attr]
            holder.wait(60)


def memory(stage: Stage, alternative: Alternative) -> int:
    """Bytes of the switch and of what balances."""
    return resident([stage.vswitchd, *alternative.programs()])


def host(stage: Stage) -> dict[str, int]:
    """What the kernel of the balancer's own host has."""
    tracked = stage.proxy.run("cat", "/proc/sys/net/netfilter/nf_conntrack_count").stdout
    sockets = stage.proxy.run("ss", "-Htn", "state", "established").stdout
    return {"conntrack entries of the host": int(tracked), "sockets of the host": len(sockets.splitlines())}
