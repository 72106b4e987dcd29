"""Case a: new connections a second, and what each costs."""

from __future__ import annotations

from tests.bench.alternative import Alternative
from tests.bench.figures import Case
from tests.bench.load import Sampler

CONNECTIONS = 32
"""Connections that are open at a time."""
BASE = "plain"


def case() -> Case:
    """An empty one."""
    return Case(
        "connections",
        "New connections",
        f"wrk opens a connection for each request, {CONNECTIONS} at a time, to nginx; wrk and nginx have a core each,"
        " Open vSwitch and balancers what is left. Processor time is that of ovs-vswitchd, and of all programs of the"
        " bench together, servers and wrk too.",
    )


def measure(found: Case, sampler: Sampler, alternative: Alternative, base: str = BASE) -> None:
    """One round of one alternative, which others are compared with if it is the `base`."""
    name = alternative.name
    done, cost = sampler.take(alternative, "/name", CONNECTIONS, close=True)
    each = 1e6 / max(1, done.requests)
    for title, unit, value in (
        ("new connections", "1/s", done.requests / done.seconds),
        ("switch's CPU a connection", "us", cost.switch * each),
        ("all CPU a connection", "us", cost.all * each),
    ):
        found.figure(title, unit, base).add(name, value)
    found.figure("failed", "1").add(name, done.failed)
    datapath(found, sampler, name, done.requests)


def datapath(found: Case, sampler: Sampler, name: str, connections: int) -> None:
    """What the datapath counted meanwhile, for each connection."""
    counters = sampler.stage.counters()
    connections = max(1, connections)
    for title, counter in (
        ("packets a connection", "packets received"),
        ("recirculations a connection", "packet recirculations"),
        ("simple match hits a connection", "simple match hits"),
        ("hits of the exact cache a connection", "emc hits"),
        ("megaflow hits a connection", "megaflow hits"),
        ("upcalls a connection", "miss with success upcall"),
    ):
        if counter in counters:
            found.figure(title, "1").add(name, counters[counter] / connections)
    lookups = counters.get("avg. subtable lookups per megaflow hit")
    found.figure("subtables looked at for a megaflow hit", "1").add(name, lookups)
    held = sampler.stage.held()
    found.figure("datapath flows", "1").add(name, held["datapath flows"])
