"""The pages: what they say is what REST says, and whatever is said is text."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest

from portlb_app.api.attention import troubles
from portlb_app.api.identity import Role
from portlb_app.api.messages import Request, Response
from portlb_app.api.routes import respond
from portlb_app.api.snapshot import RefusedConnections
from portlb_app.backends.drained import Drain
from portlb_app.backends.states import PORT, Evidence
from portlb_app.config import Wanted, load
from portlb_app.config.overrides import NONE, Override
from portlb_app.openflow.messages import PortCounts
from portlb_app.page.routes import ROUTES
from portlb_app.reconcile.happened import KINDS, Happened
from portlb_app.reconcile.ports import PortProblem
from portlb_app.topology.conditions import HeldSlots
from tests.unit.page.looking import FLOWS, NOW, look, snapshot

HOSTILE = "</p><script>alert(1)</script><img src=x onerror=alert(1)> & \"'`"
PATHS = ("/", "/?vip=web", "/network", "/events", "/events?kind=health", "/pools/web/21", "/servers/b")


def drained(value: Wanted, reason: str = "kernel") -> Any:
    """FIG. 2's server d is wanted otherwise."""
    server = load((FLOWS / "fig2/lb.yaml").read_text()).server_by_name["d"]
    return NONE.put(server, "state", value, Override(value, value, reason, "root", NOW - 130, None))


def hostile() -> Any:
    """Whatever somebody else can say is hostile."""
    view = snapshot(overrides=drained(Wanted.DRAIN, HOSTILE))
    view.backends.see("b", Evidence(PORT, False, HOSTILE, 900.0), 900.0)
    for kind in KINDS:
        of = {"health": "b", "pool": "web:21"}.get(kind, HOSTILE)
        view.events.add(NOW - 9, Happened(kind, of, HOSTILE, HOSTILE, HOSTILE, {HOSTILE: HOSTILE}))
    (switch,) = view.status.switches
    port = PortProblem(3, HOSTILE, "connector of b", "it is set down")
    bad = replace(switch, errors=(HOSTILE,), ports=(port,), state="error")
    status = replace(view.status, switches=(bad,), problem=HOSTILE)
    return replace(view, status=status, refused=RefusedConnections(1, ((HOSTILE, HOSTILE),)))


@pytest.mark.parametrize("path", PATHS)
def test_hostile_text_is_text(path: str) -> None:
    """On every page, in every place; and no page has a script or a style of its own, which browsers would not run."""
    page = look(path, hostile())
    assert page.all("img") == []
    assert page.all("script") == [{"src": "/page/page.js", "defer": ""}]
    assert not [each for _, each in page.elements if "style" in each or any(name.startswith("on") for name in each)]
    if path in ("/", "/network", "/events", "/servers/b"):
        assert "<script>alert(1)</script>" in page.text


@pytest.mark.parametrize("path", PATHS)
def test_every_link_leads_somewhere(path: str) -> None:
    """Files of a page, and other pages; all elements with an id have one of their own."""
    view = hostile()
    page = look(path, view)
    ids = [each["id"] for _, each in page.elements if "id" in each]
    assert len(ids) == len(set(ids))
    links = {each["href"] for each in page.all("a")} | {each["src"] for each in page.all("script")}
    for link in links - {"#main"}:
        where, _, query = link.partition("?")
        assert respond(Request("GET", where, "localhost", query=query), view, ROUTES).status == 200, link


def test_problems_come_first_with_reason_time_and_link() -> None:
    view = snapshot()
    assert "Nothing is wrong." in look("/", view).text
    view.backends.see("b", Evidence(PORT, False, "port s1:3 has no carrier", 900.0), 900.0)
    page = look("/", view)
    assert "server b" in page.text and "port s1:3 has no carrier" in page.text and "1 min 40 s ago" in page.text
    assert page.text.index("server b") < page.text.index("Wanted Seen Held")
    assert page.all("a", href="/servers/b") and page.all("a", href="/pools/web/21")
    assert "degraded" in page.text


@pytest.mark.parametrize("state", ["absent", "error", "reading", "applying"])
def test_problems_are_those_of_the_status_with_what_to_do(state: str) -> None:
    """All of them, and no other: a switch that gets its tables has none."""
    (switch,) = snapshot().status.switches
    view = snapshot(switches=(replace(switch, state=state, errors=("TABLE_FULL",)),))
    page, found = look("/", view), list(troubles(view.status))
    assert [each.word for each in found] == ([state] if state in ("absent", "error") else [])
    assert all(f"switch s1 {each.word} {each.reason} {each.to_do}" in page.text for each in found)
    assert ("Nothing is wrong." in page.text) is not bool(found)


def test_whoever_may_not_change_anything_sees_no_form() -> None:
    assert look("/servers/b", snapshot()).all("form", action="/servers/b/act")
    page = look("/servers/b", snapshot(), role=Role.READ)
    assert page.all("form") == page.all("input") == page.all("button") == []
    assert "You may look only" in page.text and "secret" not in page.source


def test_a_server_is_told_as_rest_tells_it() -> None:
    view = snapshot(overrides=drained(Wanted.DRAIN), drains={"d": Drain(900.0, 17, "log", 4.0)})
    answer = respond(Request("GET", "/v1/servers", "localhost"), view, ROUTES)
    assert isinstance(answer, Response)
    page = look("/", view)
    for each in json.loads("".join(answer.body))["servers"]:
        start = page.source.index(f'data-server="{each["name"]}"')
        row = page.source[start : page.source.index("</tr>", start)]
        for key in ("wanted", "seen", "held"):
            assert f'>{each[key]["state"]}</span>' in row
        assert f'<span class="count">{each["held"]["slots"]}' in row
    assert "drain by root: kernel; at most 17 connections open, by the log of connections" in page.text


def test_the_slots_are_those_that_switches_hold() -> None:
    """Not those that are wanted: the ones that differ are marked, and said in words."""
    view = snapshot()
    wanted = view.backends.tables()["web", 21]
    other = next(name for name in wanted if name != wanted[7])
    held = (*wanted[:7], other, None, *wanted[9:])
    (switch,) = view.status.switches
    moved = {**(switch.held or {}), ("web", 21): HeldSlots(held)}
    page = look("/pools/web/21", replace(view, status=replace(view.status, switches=(replace(switch, held=moved),))))
    assert len(page.all("g")) == 256
    assert len(page.all("g", class_="differs")) == 2
    assert f"slot 7: {other}, {wanted[7]} is wanted" in page.text
    assert f"slot 8: another server, {wanted[8]} is wanted" in page.text
    assert "2 differ" in page.text


def test_a_switch_that_was_not_read_has_no_picture() -> None:
    (switch,) = snapshot().status.switches
    page = look("/pools/web/21", snapshot(switches=(replace(switch, held=None, state="absent"),)))
    assert page.all("g") == [] and "not read s1: what it holds is not known" in page.text
    for path in ("/", "/servers/b", "/network"):
        assert "–" in look(path, snapshot(switches=(replace(switch, held=None, read_age=None, state="absent"),))).text


def test_a_large_pool_has_numbers_in_place_of_cells() -> None:
    names = [f"s{number:03}" for number in range(200)]
    servers = {
        name: {"vip": "web", "connector": f"s1:{number + 2}", "service_ports": [10000 + number]}
        for number, name in enumerate(names)
    }
    vip = {"address": "10.0.0.100", "mac": "02:00:00:00:00:64", "redirect_ports": {80: {"servers": names}}}
    switches = {"s1": {"dpid": 1, "network": 1}}
    view = snapshot(config=load(json.dumps({"switches": switches, "vips": {"web": vip}, "servers": servers})))
    page = look("/pools/web/80", view)
    assert page.all("g") == [] and "too many slots for a picture" in page.text
    assert len(page.all("tr", role="row")) == 201
    assert len(look("/", view).all("tr", role="row")) == 101
    assert len(look("/?vip=web", view).all("tr", role="row")) == 201


def test_the_network_is_drawn_with_what_passes() -> None:
    """Each switch once, no two in one place, and a link that is down says so in words."""
    config = load((FLOWS / "leafspine/lb.yaml").read_text())
    view = snapshot("leafspine", holds={config.links[0]: 30.0})
    for switch in config.switches:
        view.totals.ports.count(switch.dpid, {port: PortCounts(0, 0, 0, 0, 0) for port in range(9)}, 0.0)
        view.totals.ports.count(switch.dpid, {port: PortCounts(10**7, 5 * 10**6, 0, 0, 0) for port in range(9)}, 10.0)
    page = look("/network", view)
    places = [each["transform"] for each in page.all("g") if each.get("class", "").startswith("box")]
    assert len(places) == len(set(places)) == len(config.switches) + 1
    labels = [tuple(map(float, each["transform"][10:-1].split())) for each in page.all("g", class_="label")]
    pairs = itertools.combinations(labels, 2)
    assert all(abs(one[0] - other[0]) >= 88 or abs(one[1] - other[1]) >= 34 for one, other in pairs), labels
    assert len(page.all("line", class_="link bad")) == 1 and "✖ down" in page.text
    assert "↓ 8 Mbit/s" in page.text and "4 Mbit/s" in page.text


def test_events_are_newest_first_and_go_back() -> None:
    view = snapshot()
    for number in range(450):
        kind = KINDS[number % 2]
        view.events.add(NOW - 450 + number, Happened(kind, f"number {number}", None, "up", "because"))
    page = look("/events", view)
    assert page.text.index("number 449") < page.text.index("number 448") and "number 249" not in page.text
    (older,) = (each["href"] for each in page.all("a") if "before" in each["href"])
    assert "number 249" in look(older, view).text
    filtered = look(f"/events?kind={KINDS[0]}", view)
    assert "number 448" in filtered.text and "number 449" not in filtered.text
    assert "None of this kind" in look(f"/events?kind={KINDS[3]}", view).text


@pytest.mark.parametrize("path", ["/servers/zz", "/pools/web/9", "/pools/zz/21", "/?vip=zz", "/events?kind=zz"])
def test_what_there_is_not_is_said_on_a_page(path: str) -> None:
    page = look(path, snapshot())
    assert page.status in (400, 404) and "there is no" in page.text and page.all("a", href="/")
