"""``GET /v1/switches`` and ``/v1/links``; what a switch holds, entry by entry; reading one again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from portlb_app.api import counters, paging
from portlb_app.api.messages import Response, json_pieces, json_text
from portlb_app.api.problem_details import failure
from portlb_app.api.routing import Call, Parameter
from portlb_app.api.snapshot import Snapshot
from portlb_app.api.status import link_value, switch_value
from portlb_app.config.problems import printable
from portlb_app.pipeline import parse_cookie
from portlb_app.reconcile.entries import Entries
from portlb_app.reconcile.status import SwitchStatus

ENTRIES = 100
MAX_ENTRIES = 1000
"""Entries of one answer: without a limit, and with the largest."""
WHICH = Parameter("which", "held: as it was read (the default). wanted: as it shall be", words=("held", "wanted"))
FORMAT = Parameter("format", "text: all, as ovs-ofctl writes it. json: in pages (the default)", words=("json", "text"))
LIMIT = Parameter("limit", f"At most so many; {ENTRIES} if it is not given", numbers=(1, MAX_ENTRIES))
OFFSET = Parameter("cursor", "What ``next`` of the page before has", numbers=(1, 1 << 24))
_HEX = re.compile("0x[0-9a-fA-F]{1,16}")
_DECIMAL = re.compile("[1-9][0-9]{0,19}")


@dataclass(frozen=True)
class Resync:
    """A switch is to be read now, and put right."""

    switch: SwitchStatus


@dataclass(frozen=True)
class TablesWanted:
    """The entries of a switch: all as text, or some (`first` on, at most `count`)."""

    switch: SwitchStatus
    is_wanted: bool
    is_text: bool
    first: int
    count: int
    vips: Mapping[int, str]
    path: str


def listed(call: Call) -> Response:
    """The switches by name."""
    shown = paging.page(call, call.snapshot.status.switches, lambda each: each.name)
    if isinstance(shown, Response):
        return shown
    found = (_switch(each, call.snapshot) for each in shown)
    return Response(200, json_pieces({"switches": found, "next": shown.next}))


def one(call: Call) -> Response:
    """One switch, by its name or its datapath id."""
    switch = _named(call)
    return switch if isinstance(switch, Response) else Response(200, json_text(_switch(switch, call.snapshot)))


def links(call: Call) -> Response:
    """The links by name."""
    found = sorted(call.snapshot.status.links, key=lambda each: str(each.link))
    shown = paging.page(call, found, lambda each: str(each.link))
    if isinstance(shown, Response):
        return shown
    return Response(200, json_pieces({"links": map(link_value, shown), "next": shown.next}))


def resync(call: Call) -> Response | Resync:
    """Read a switch now."""
    switch = _named(call)
    if isinstance(switch, Response):
        return switch
    if switch.state == "absent":
        return failure("no-switch", f"{switch.name} is not connected")
    return Resync(switch)


def tables(call: Call) -> Response | TablesWanted:
    """What a switch holds, or shall hold."""
    switch = _named(call)
    if isinstance(switch, Response):
        return switch
    query, snapshot = call.query, call.snapshot
    first, count = int(query.get("cursor", 0)), int(query.get("limit", ENTRIES))
    vips = {vip.number: vip.name for vip in snapshot.config.vips}
    is_text = query.get("format") == "text"
    return TablesWanted(switch, query.get("which") == "wanted", is_text, first, count, vips, call.request.path)


def tables_answer(asked: TablesWanted, entries: Entries | str | None) -> Response:
    """The answer, from what the process with the tables has."""
    if entries is None:
        what = "compiled" if asked.is_wanted else "read"
        return failure("not-known-yet", f"the tables of {asked.switch.name} were not {what} yet")
    if isinstance(entries, str):
        return Response(200, entries, "text/plain; charset=utf-8")
    query = f"which={'wanted' if asked.is_wanted else 'held'}&limit={asked.count}&cursor={asked.first + asked.count}"
    body = {
        "switch": asked.switch.name,
        "which": "wanted" if asked.is_wanted else "held",
        "counts": {"flows": entries.flows, "groups": entries.groups, "meters": entries.meters},
        "entries": [_entry(kind, text, cookie, table, asked.vips) for kind, text, cookie, table in entries.some],
        "next": f"{asked.path}?{query}" if asked.first + asked.count < entries.count else None,
    }
    return Response(200, json_text(body))


def resync_answer(asked: Resync) -> Response:
    """It will be read."""
    return Response(202, json_text({"switch": asked.switch.name, "state": asked.switch.state}))


def _entry(kind: str, text: str, cookie: int, table: str, vips: Mapping[int, str]) -> dict[str, Any]:
    if kind != "flow":
        return {"kind": kind, "text": text}
    reason, vip, port = parse_cookie(cookie)
    spelled = {
        "value": f"{cookie:#018x}",
        "reason": None if reason is None else reason.name.lower(),
        "vip": vips.get(vip),
        "port": port or None,
    }
    return {"kind": kind, "text": text, "table": table, "cookie": spelled}


def _named(call: Call) -> SwitchStatus | Response:
    given, snapshot = call.names["switch"], call.snapshot
    return find(given, snapshot) or failure("not-found", f"there is no switch {printable(given)}")


def find(given: str, snapshot: Snapshot) -> SwitchStatus | None:
    """A switch by its name, or by its datapath id, decimal or hexadecimal with 0x. Names come first."""
    dpid = int(given, 16) if _HEX.fullmatch(given) else int(given) if _DECIMAL.fullmatch(given) else None
    by_name = next((each for each in snapshot.status.switches if each.name == given), None)
    return by_name or next((each for each in snapshot.status.switches if each.dpid == dpid), None)


def _switch(switch: SwitchStatus, snapshot: Snapshot) -> dict[str, Any]:
    plan = None if switch.plan is None else {"steps": switch.plan.count, "first": list(switch.plan.first)}
    return {**switch_value(switch), "plan": plan, "counters": counters.of_switch(switch.dpid, snapshot)}
