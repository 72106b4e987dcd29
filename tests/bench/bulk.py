"""Case b: throughput, and how long new connections take meanwhile."""

from __future__ import annotations

from tests.bench.alternative import Alternative
from tests.bench.connections import BASE
from tests.bench.figures import Case
from tests.bench.load import Background, Sampler
from tests.bench.stage import BIG

STREAMS = 4
PERCENT = (50, 90, 99)


def case() -> Case:
    """An empty one."""
    return Case(
        "bulk",
        "Throughput and latency",
        f"wrk downloads {BIG // 1_000_000} MB again and again over {STREAMS} connections that stay open. Another wrk"
        " opens one connection after the other meanwhile, a small request each: its latencies. Hosts make their"
        " checksums and segments themselves, so every packet of 1500 bytes passes the switch.",
    )


def measure(found: Case, sampler: Sampler, alternative: Alternative) -> None:
    """One round of one alternative."""
    name = alternative.name
    probe = Background(sampler.stage, "/name", 1, close=True)
    done, cost = sampler.take(alternative, "/big", STREAMS, close=False)
    latencies = probe.end()
    found.figure("throughput", "Gbit/s", BASE).add(name, done.bytes_per_second * 8 / 1e9)
    amount = done.bytes_per_second * done.seconds / 1e9
    found.figure("switch's CPU a GB", "ms", BASE).add(name, cost.switch * 1e3 / amount if amount else None)
    found.figure("all CPU a GB", "ms", BASE).add(name, cost.all * 1e3 / amount if amount else None)
    for share in PERCENT:
        found.figure(f"new connection and answer, {share} %", "ms", BASE).add(name, latencies.latencies.get(share))
    found.figure("failed", "1").add(name, done.failed + latencies.failed)
