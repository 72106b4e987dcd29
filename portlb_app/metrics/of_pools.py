"""Pools: their slots, servers and packets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import Metric as Family

from portlb_app.api.servers import View
from portlb_app.backends.states import Seen
from portlb_app.config import RedirectPort, Wanted
from portlb_app.metrics.family import Row, family
from portlb_app.reconcile.results import Amount
from portlb_app.topology.conditions import PoolKey

_STATES = (*(seen.value for seen in Seen), Wanted.DRAIN.value, Wanted.MAINT.value)


def of_pools(view: View) -> Iterator[Family]:
    """Their metrics."""
    snapshot, totals = view.snapshot, view.snapshot.totals
    pools = {(vip.name, pool.port): pool for vip in snapshot.config.vips for pool in vip.redirect_ports}
    labels = {key: (key[0], str(key[1])) for key in pools}
    yield family("pool_slots", (row for key, pool in pools.items() for row in _slots(view, key, pool)))
    status = {each.key: each for each in snapshot.status.pools}
    yield family(
        "pool_slots_differing",
        (
            (labels[key], max((held.differ for held in status[key].held), default=0) if key in status else 0)
            for key in pools
        ),
    )
    yield family("pool_servers", (row for key, pool in pools.items() for row in _servers(view, key, pool)))
    yield family("pool_fail_open", ((labels[key], float(key in view.failing_open)) for key in pools))
    moves = ((key, cause, number) for (key, cause), number in totals.slot_moves.items() if key in pools)
    yield family("pool_slot_moves_total", (((*labels[key], cause), number) for key, cause, number in moves))
    passed = [(labels[key], totals.pools.get(key, Amount())) for key in pools if key in totals.pools]
    yield family("pool_packets_total", ((names, amount.packets) for names, amount in passed))
    yield family("pool_bytes_total", ((names, amount.octets) for names, amount in passed))


def _slots(view: View, key: PoolKey, pool: RedirectPort) -> Iterator[Row]:
    wanted = view.wanted_slots.get(key, {})
    for name in pool.servers:
        yield (key[0], str(key[1]), name), wanted.get(name, 0)


def _servers(view: View, key: PoolKey, pool: RedirectPort) -> Iterator[Row]:
    found: Counter[str] = Counter()
    for name in pool.servers:
        wanted = view.used.server_by_name[name].wanted
        found[view.judgement(name, key).seen.value if wanted is Wanted.READY else wanted.value] += 1
    for state in _STATES:
        yield (key[0], str(key[1]), state), found[state]
