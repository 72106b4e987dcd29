"""Which servers of a pool get slots, by what is wanted and seen of each.

A server that nothing is known of is used: so it is with those that a configuration which is only proposed adds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from portlb_app.backends.pools import Pool, Pools
from portlb_app.backends.states import Known
from portlb_app.config import Wanted
from portlb_app.topology.conditions import ALL_SERVERS, PoolKey

Servers = Mapping[str, Known]
"""What is known of servers, by name."""


def ready_servers(known: Servers, pools: Pools, key: PoolKey) -> tuple[str, ...]:
    """The servers of a pool that may have slots."""
    ready = tuple(name for name in pools[key].weighed if pools.wanted(name) is Wanted.READY)
    staying = tuple(name for name in ready if name not in known or not known[name].drains)
    return staying or ready  # agents' words alone take no pool its last servers


def serving_servers(known: Servers, pool: Pool, key: PoolKey, ready: Collection[str]) -> tuple[str, ...]:
    """Those of them that are not down; where these are too few, all whose port works."""
    up = _up(known, key, ready)
    if not pool.fail_open.applies(len(up), len(ready)):
        return up
    return tuple(name for name in ready if not (name in known and known[name].has_bad_port)) or up


def fails_open(known: Servers, pool: Pool, key: PoolKey, ready: Collection[str]) -> bool:
    """Whether a pool uses servers that are down, because too few are up."""
    up = _up(known, key, ready)
    return pool.fail_open.applies(len(up), len(ready)) and len(serving_servers(known, pool, key, ready)) > len(up)


def able_servers(known: Servers, pools: Pools, key: PoolKey) -> frozenset[str]:
    """The servers of a pool's VIP that may have connections: they are neither down nor closed."""
    return frozenset(
        name
        for name in pools[key[0], ALL_SERVERS].servers
        if name not in pools.used.closed
        and not (name in known and (known[name].is_down(key) or known[name].is_down((key[0], ALL_SERVERS))))
    )


def _up(known: Servers, key: PoolKey, ready: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in ready if name not in known or not known[name].is_down(key))
