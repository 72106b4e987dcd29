"""What switches have counted, as they were last read: of servers, pools and VIPs since the controller has started.

Null is what was not read yet: 0 is said only of what was counted. `reconcile/totals.py` adds up, `compiler/traffic.py`
says whose packets they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from portlb_app.api.snapshot import Snapshot
from portlb_app.compiler.traffic import Direction
from portlb_app.reconcile.results import Amount
from portlb_app.topology.conditions import PoolKey

MOST_PORT = 0xFEFF
"""Above are numbers with a meaning of their own (OFPP_MAX): the bridge's own port."""


def of_server(name: str, snapshot: Snapshot) -> dict[str, Any]:
    """Its packets in both directions."""
    return {each.value: _sum([(name, each)], snapshot) for each in Direction}


def of_vip(vip: str, snapshot: Snapshot) -> dict[str, Any]:
    """Those of all of its servers; `at` is when the first of them was read."""
    names = [server.name for server in snapshot.config.servers if server.vip == vip]
    return {each.value: _sum([(name, each) for name in names], snapshot) for each in Direction}


def of_pool(key: PoolKey, snapshot: Snapshot) -> dict[str, Any] | None:
    """What its slots have delivered."""
    at = snapshot.totals.pools_at.get(key)
    return None if at is None else _amount(snapshot.totals.pools.get(key, Amount()), at, snapshot)


def of_switch(dpid: int, snapshot: Snapshot) -> dict[str, Any] | None:
    """What its ports have counted since they were made, all together."""
    counted = snapshot.totals.ports.counted(dpid)
    if counted is None:
        return None
    at, ports = counted
    found = [each for number, each in ports.items() if number <= MOST_PORT]
    return {
        "received": {"packets": sum(each.packets_received for each in found), "bytes": sum(e.received for e in found)},
        "sent": {"packets": sum(each.packets_sent for each in found), "bytes": sum(each.sent for each in found)},
        "lost": sum(each.lost for each in found),
        "at": round(at + snapshot.epoch, 3),
    }


def _sum(ways: Iterable[tuple[str, Direction]], snapshot: Snapshot) -> dict[str, Any] | None:
    totals = snapshot.totals
    found = [(totals.servers.get(way, Amount()), totals.servers_at[way]) for way in ways if way in totals.servers_at]
    if not found:
        return None
    amount = Amount(sum(each.packets for each, _ in found), sum(each.octets for each, _ in found))
    return _amount(amount, min(at for _, at in found), snapshot)


def _amount(amount: Amount, at: float, snapshot: Snapshot) -> dict[str, Any]:
    return {"packets": amount.packets, "bytes": amount.octets, "at": round(at + snapshot.epoch, 3)}
