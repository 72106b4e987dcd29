"""Rows as an OpenFlow group: what all pools have in common."""

from __future__ import annotations

from collections.abc import Callable

from portlb_app.compiler.place import Place
from portlb_app.openflow import Action, Group
from portlb_app.pipeline import SELECTION


def group(place: Place, number: int, servers: tuple[str, ...], bucket: Callable[[str], tuple[Action, ...]]) -> Group:
    """The select group in which every row of these servers does what `bucket` says for its server."""
    rows = place.rows(servers)
    buckets = {server: bucket(server) for server in set(rows)}
    return Group(number, "select", tuple(buckets[server] for server in rows), SELECTION)
