"""What is wrong at this moment: the first thing on the first page. Each has a word, a reason, a time and a link."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from portlb_app.api.event_ring import Event
from portlb_app.api.pools import pool_value
from portlb_app.api.servers import View
from portlb_app.backends.states import Judgement, Seen
from portlb_app.config import Wanted
from portlb_app.topology.conditions import ALL_SERVERS

_Latest = dict[tuple[str, str], Event]
"""The last event about each thing, by kind and name."""
SHOWN = 50
"""Troubles that are shown; of more there is the number."""
_REASONS = {
    "degraded": "some of its servers get no new connections",
    "fail_open": "too few of its servers are up, so all are used",
    "empty": "no server has a slot: new connections are dropped",
}
_WAITS = {
    "absent": "it is not connected; it forwards by the tables that it has",
    "reading": "it is being read",
    "applying": "it is being changed",
}


@dataclass(frozen=True)
class Trouble:
    """Something that is wrong. `since`: Unix seconds; None if that is not known."""

    tone: Literal["bad", "warn"]
    what: str
    word: str
    reason: str
    since: float | None
    link: str


def troubles(view: View) -> list[Trouble]:
    """All of them, the worst first."""
    latest: _Latest = {(event.what.kind, event.what.of): event for event in view.snapshot.events.after(0)[0]}
    found = [*_of_configuration(view), *_of_pools(view, latest), *_of_servers(view), *_of_switches(view, latest)]
    return sorted([*found, *_of_links(view, latest)], key=lambda each: each.tone != "bad")


def shown(found: list[Trouble]) -> tuple[list[Trouble], int]:
    """Those that a page has room for, and how many there are beside."""
    return list(islice(found, SHOWN)), max(0, len(found) - SHOWN)


def _since(latest: _Latest, kind: str, of: str) -> float | None:
    event = latest.get((kind, of))
    return event.at if event else None


def _of_configuration(view: View) -> Iterator[Trouble]:
    status = view.snapshot.status
    if status.problem:
        yield Trouble("bad", "the configuration", "not compiled", status.problem, None, "/events?kind=config")
    if not status.verified:
        reason = "no switch was seen to hold what it asks for"
        yield Trouble("warn", "the configuration", "unverified", reason, None, "/network")
    for dpid in status.unknown[:SHOWN]:
        reason = "a switch that the configuration does not name is connected"
        yield Trouble("warn", f"switch {dpid:#x}", "unknown", reason, None, "/network")


def _of_pools(view: View, latest: _Latest) -> Iterator[Trouble]:
    for vip in view.snapshot.config.vips:
        for pool in vip.redirect_ports:
            word, name = pool_value(view, vip, pool)["state"], f"{vip.name}:{pool.port}"
            if word not in ("ok", "unknown"):  # switches that were not read are told by themselves
                tone: Literal["bad", "warn"] = "warn" if word == "degraded" else "bad"
                since = _since(latest, "pool", name)
                yield Trouble(tone, f"pool {name}", word, _REASONS[word], since, f"/pools/{vip.name}/{pool.port}")
    synced = {switch.name for switch in view.snapshot.status.switches if switch.state == "synced"}
    for status in view.snapshot.status.pools:
        differ = max((each.differ for each in status.held if synced.intersection(each.switches)), default=0)
        if differ and status.key[1] != ALL_SERVERS:
            name, link = f"{status.key[0]}:{status.key[1]}", f"/pools/{status.key[0]}/{status.key[1]}"
            yield Trouble("warn", f"pool {name}", "differs", f"{differ} slots are not what they shall be", None, link)


def _of_servers(view: View) -> Iterator[Trouble]:
    for name, server in view.used.server_by_name.items():
        worst = _worst(view, name)
        if worst.seen is Seen.DOWN and server.wanted is Wanted.READY:
            since = worst.since + view.snapshot.epoch if worst.since else None
            yield Trouble("bad", f"server {name}", "down", worst.reason, since, f"/servers/{name}")


def _worst(view: View, name: str) -> Judgement:
    judgements = view.seen.get(name, {}).values()
    return next((each for each in judgements if each.seen is Seen.DOWN), Judgement())


def _of_switches(view: View, latest: _Latest) -> Iterator[Trouble]:
    for switch in view.snapshot.status.switches:
        if switch.state != "synced":
            reason = "; ".join(switch.errors) or _WAITS.get(switch.state, "")
            tone: Literal["bad", "warn"] = "bad" if switch.state in ("absent", "error") else "warn"
            since = _since(latest, "switch", switch.name)
            yield Trouble(tone, f"switch {switch.name}", switch.state, reason, since, "/network")
        if switch.double:
            yield Trouble("bad", f"switch {switch.name}", "claimed twice", switch.double, None, "/network")
        for port in switch.ports:
            yield Trouble("bad", f"switch {switch.name}", "port", str(port), None, "/network")


def _of_links(view: View, latest: _Latest) -> Iterator[Trouble]:
    for link in view.snapshot.status.links:
        if not link.up:
            held = f"; it is used again when it has been up for {link.hold:.0f} s" if link.hold else ""
            since = _since(latest, "link", str(link.link))
            yield Trouble("bad", f"link {link.link}", "down", f"no packet is sent over it{held}", since, "/network")
