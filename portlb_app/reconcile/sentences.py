"""What changed about servers, in one line of the log each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from portlb_app.backends import Change
from portlb_app.backends.states import Seen
from portlb_app.topology.conditions import ALL_SERVERS

Line = tuple[Literal["info", "warning"], str]


def sentences(changes: Iterable[Change], now: float) -> Iterator[Line]:
    """A line for each server, and for each reason if its pools have several. That one is up from the start is none."""
    found: dict[tuple[str, Seen, str], list[Change]] = {}
    for change in changes:
        if Seen.DOWN in (change.before.seen, change.after.seen):
            found.setdefault((change.server, change.after.seen, change.after.reason), []).append(change)
    for (server, seen, reason), alike in found.items():
        pools = sorted(each.pool for each in alike)
        in_all = any(port == ALL_SERVERS for _, port in pools)
        where = "" if in_all else f" in {', '.join(f'{vip}:{port}' for vip, port in pools)}"
        if seen is Seen.DOWN:
            yield "warning", f"server {server} is down{where}: {reason}"
        else:
            since = min(each.before.since for each in alike)
            yield "info", f"server {server} is {seen.value} again{where}: {reason}; it was down for {now - since:.1f} s"
