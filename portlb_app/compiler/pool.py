"""Rows as an OpenFlow group: what all pools have in common."""

from __future__ import annotations

from collections.abc import Callable

from portlb_app.openflow import Action, Group
from portlb_app.pipeline import selection
from portlb_app.selection import rows


def group(number: int, servers: tuple[str, ...], bucket: Callable[[str], tuple[Action, ...]]) -> Group:
    """The select group in which every row of these servers does what `bucket` says for its server."""
    buckets = {server: bucket(server) for server in servers}
    return Group(number, "select", tuple(buckets[server] for server in rows(servers)), selection(level=0))
