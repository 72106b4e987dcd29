"""Pools: their slots, servers and packets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from portlb_app.api.snapshot import Snapshot
from portlb_app.backends.states import Judgement, Seen
from portlb_app.config import RedirectPort, Wanted
from portlb_app.metrics.family import Row, family
from portlb_app.reconcile.pool_status import PoolStatus
from portlb_app.reconcile.results import Amount
from portlb_app.topology.conditions import PoolKey

_STATES = (*(seen.value for seen in Seen), Wanted.DRAIN.value, Wanted.MAINT.value)


def of_pools(snapshot: Snapshot) -> Iterator[str]:
    """Their metrics."""
    totals = snapshot.totals
    pools = {(vip.name, pool.port): pool for vip in snapshot.config.vips for pool in vip.redirect_ports}
    labels = {key: (key[0], str(key[1])) for key in pools}
    status = {each.key: each for each in snapshot.status.pools if each.key in pools}
    yield family("pool_slots", (row for key, each in status.items() for row in _slots(labels[key], each, pools[key])))
    yield family(
        "pool_slots_differing",
        ((labels[key], max(held.differ for held in each.held)) for key, each in status.items() if each.held),
    )
    yield family("pool_servers", _servers(snapshot, pools))
    yield family("pool_fail_open", ((labels[key], each.fails_open) for key, each in status.items()))
    moves = ((key, cause, number) for (key, cause), number in totals.slot_moves.items() if key in pools)
    yield family("pool_slot_moves_total", (((*labels[key], cause), number) for key, cause, number in moves))
    passed = [(labels[key], totals.pools.get(key, Amount())) for key in pools if key in totals.pools]
    yield family("pool_packets_total", ((names, amount.packets) for names, amount in passed))
    yield family("pool_bytes_total", ((names, amount.octets) for names, amount in passed))


def _slots(labels: tuple[str, str], status: PoolStatus, pool: RedirectPort) -> Iterator[Row]:
    for name in pool.servers:
        yield (*labels, name), status.slots.get(name, 0)


def _servers(snapshot: Snapshot, pools: Mapping[PoolKey, RedirectPort]) -> Iterator[Row]:
    used = snapshot.backends.used.server_by_name
    seen = {each.name: each.seen for each in snapshot.backends.servers()}
    for key, pool in pools.items():
        found: Counter[str] = Counter()
        for name in pool.servers:
            wanted = used[name].wanted
            judgement = seen[name].get(key, Judgement())
            found[judgement.seen.value if wanted is Wanted.READY else wanted.value] += 1
        for state in _STATES:
            yield (key[0], str(key[1]), state), found[state]
