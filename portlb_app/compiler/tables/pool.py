"""Rows as an OpenFlow group: what all pools have in common."""

from __future__ import annotations

from collections.abc import Callable

from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.openflow import Action, Group
from portlb_app.pipeline import ROW_GROUP, ROWS, SELECTION, tell_row


def group(
    local: VipOnSwitch, number: int, servers: tuple[str, ...], bucket: Callable[[str], tuple[Action, ...]]
) -> Group:
    """The select group in which every row of these servers does what `bucket` says for its server."""
    rows = local.rows(servers)
    buckets = {server: bucket(server) for server in set(rows)}
    return Group(number, "select", tuple(buckets[server] for server in rows), SELECTION)


def row_group() -> Group:
    """The select group whose buckets tell which row a packet has: what `group` would hash it to."""
    return Group(ROW_GROUP, "select", tuple(tell_row(row) for row in range(ROWS)), SELECTION)
