"""What changed about servers, in one line of the log each, and as events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from portlb_app.backends import Change
from portlb_app.backends.states import Seen
from portlb_app.reconcile.happened import Happened
from portlb_app.topology.conditions import ALL_SERVERS

Line = tuple[str, Literal["info", "warning"], str]
"""A server, a level and a sentence."""


def sentences(changes: Iterable[Change], now: float) -> Iterator[Line]:
    """A line for each server, and for each reason if its pools have several. That one is up from the start is none."""
    down = (each for each in changes if Seen.DOWN in (each.before.seen, each.after.seen))
    for (server, _, seen, reason), alike in _grouped(down).items():
        pools = _pools(alike)
        where = f" in {', '.join(pools)}" if pools else ""
        if seen is Seen.DOWN:
            yield server, "warning", f"server {server} is down{where}: {reason}"
        else:
            since = min(each.before.since for each in alike)
            text = f"server {server} is {seen.value} again{where}: {reason}; it was down for {now - since:.1f} s"
            yield server, "info", text


def healths(changes: Iterable[Change], now: float) -> Iterator[Happened]:
    """An event for each server, and for each reason if its pools have several; `pools`: those, if not all.

    That one is up from the start is none.
    """
    down = (each for each in changes if Seen.DOWN in (each.before.seen, each.after.seen))
    for (server, before, seen, reason), alike in _grouped(down).items():
        was = min(alike, key=lambda each: each.before.since).before
        evidence = {"pools": _pools(alike), "was": was.reason, "for_seconds": round(now - was.since, 1)}
        yield Happened("health", server, before.value, seen.value, reason, evidence)


def _grouped(changes: Iterable[Change]) -> dict[tuple[str, Seen, Seen, str], list[Change]]:
    """The changes of each server that are alike."""
    found: dict[tuple[str, Seen, Seen, str], list[Change]] = {}
    for each in changes:
        found.setdefault((each.server, each.before.seen, each.after.seen, each.after.reason), []).append(each)
    return found


def _pools(alike: Iterable[Change]) -> list[str]:
    """The names of their pools; none if they are in all."""
    pools = sorted(each.pool for each in alike)
    return [] if any(port == ALL_SERVERS for _, port in pools) else [f"{vip}:{port}" for vip, port in pools]
