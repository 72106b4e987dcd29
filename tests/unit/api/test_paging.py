"""Lists in pages: each element is in exactly one, while others come and go."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portlb_app.api.event_ring import EventRing
from portlb_app.api.snapshot import Snapshot
from portlb_app.backends import Backends
from portlb_app.compiler.vips_by_switch import VipsBySwitch
from portlb_app.config import Config, Connector, Link, Wanted, load
from portlb_app.health.judgement import Judge
from portlb_app.health.line_state import LineState
from portlb_app.health.targets import lines
from portlb_app.punt.connlog import ConnectionLog
from portlb_app.reconcile.status import LinkStatus
from portlb_app.topology.conditions import AS_CONFIGURED
from tests.support.copies import note
from tests.support.fig2_rest import TEXT, overridden, reply, snapshot
from tests.support.reference import ACK, FIN, SYN

CHECKED = load((Path(__file__).parents[3] / "flows/checks/lb.yaml").read_text())


def names(found: dict[str, Any]) -> list[Any]:
    """What a page has, by what it is called."""
    (listed,) = (each for each in found.values() if isinstance(each, list))
    keys = ("name", "client_port", "ends")
    called = [next((each[key] for key in keys if key in each), None) for each in listed]
    pairs = zip(called, listed, strict=True)
    return [name or (each.get("server"), each["vip"], each.get("port")) for name, each in pairs]


def walk(path: str, view: Snapshot, between: Callable[[Snapshot], Snapshot] = lambda view: view) -> list[list[Any]]:
    """All pages from the first one on; `between` is what happens between two of them."""
    pages = []
    following: str | None = path
    while following:
        code, found = reply("GET", following, view=view)
        assert code == 200, found
        pages.append(names(found))
        following, view = found["next"], between(view)
        assert len(pages) < 20
    return pages


def of(config: Config) -> Snapshot:
    return replace(snapshot(), config=config, backends=Backends(config))


@pytest.mark.parametrize(
    ("path", "whole"),
    [
        ("/v1/servers", ["a", "b", "c", "d"]),
        ("/v1/servers?vip=web", ["a", "b", "c", "d"]),
        ("/v1/servers?state=overridden", ["b", "c"]),
        ("/v1/pools", [(None, "web", 20), (None, "web", 21), (None, "web", 22)]),
        ("/v1/links", [["s1:10", "s2:1"], ["s1:8", "s2:8"], ["s1:9", "s2:9"]]),
    ],
)
def test_pages_are_the_list(path: str, whole: list[Any]) -> None:
    view = snapshot(overridden("c", 7, overridden("b", Wanted.DRAIN)))
    ends = ((8, 8), (9, 9), (10, 1))
    links = tuple(LinkStatus(Link(Connector("s1", one), Connector("s2", other)), True) for one, other in ends)
    view = replace(view, status=replace(view.status, links=links))
    mark = "&" if "?" in path else "?"
    assert walk(path, view) == [whole]
    for limit in (1, 2, 3):
        pages = walk(f"{path}{mark}limit={limit}", view)
        assert [each for page in pages for each in page] == whole
        assert {len(page) for page in pages[:-1]} <= {limit} and pages[-1]
    assert len(walk(f"{path}{mark}limit={len(whole)}", view)) == 1, "a full last page is the last"


def test_servers_that_come_and_go_move_no_page() -> None:
    """One that goes, before or behind the cursor, and one that comes: the others are each in one page."""

    def without(view: Snapshot) -> Snapshot:
        left = tuple(each for each in view.config.servers if each.name != "b")
        config = replace(view.config, servers=left)
        return replace(view, config=config)

    assert walk("/v1/servers?limit=2", snapshot(), without) == [["a", "b"], ["c", "d"]]
    assert walk("/v1/servers?limit=1", snapshot(), without) == [["a"], ["c"], ["d"]]


def test_pools_of_a_vip_keep_their_order() -> None:
    """Ports are numbers."""
    config = load(TEXT.replace("      20:", "      3000:"))
    assert [port for _, _, port in walk("/v1/pools", of(config))[0]] == [21, 22, 3000]
    assert [len(page) for page in walk("/v1/pools?limit=2", of(config))] == [2, 1]


def test_checks_are_in_one_page_each() -> None:
    here = VipsBySwitch(CHECKED, AS_CONFIGURED).on(1)
    states = tuple(LineState(line, Judge(line.check), 0.0) for line in lines(1, here))
    view = replace(of(CHECKED), checks=states)
    whole = walk("/v1/checks", view)[0]
    assert len(whole) == len(states) > 4
    of_a = walk("/v1/checks?server=a&vip=web", view)[0]
    assert of_a == [each for each in whole if each[0] == "a"] and of_a
    assert walk("/v1/checks?server=x", view) == [[]]
    pages = walk("/v1/checks?limit=3", view)
    assert [each for page in pages for each in page] == whole and len(pages) > 1


def logged(made: ConnectionLog) -> Snapshot:
    """A controller with this log."""
    return replace(snapshot(), connections=made, events=EventRing("ab12"))


def test_connections_are_in_one_page_each_though_others_open() -> None:
    """One of which is heard again is among the newest then: whoever reads on has seen it, or sees it later."""
    made = ConnectionLog()
    for number in range(7):
        note(made, "web", number, SYN, 80, 5.0)
    numbers = iter(range(100, 200))

    def more(view: Snapshot) -> Snapshot:
        note(made, "web", next(numbers), SYN, 80, 5.0)
        note(made, "web", 2, FIN | ACK, 8001, 5.0)
        return view

    pages = walk("/v1/connections?limit=3", logged(made), more)
    assert [[port - 40000 for port in page] for page in pages] == [[6, 5, 4], [3, 1, 0]]


def test_connections_are_chosen() -> None:
    made = ConnectionLog()
    for number, vip in enumerate(("web", "web", "dns")):
        note(made, vip, number, SYN, 80, 995.0 + number)
    note(made, "web", 0, FIN | ACK, 8001, 999.0)
    for query, found in (
        ("", [40000, 40002, 40001]),
        ("client=192.0.2.1", [40000, 40002, 40001]),
        ("client=192.0.2.2", []),
        ("client=192.0.2.1:40001", [40001]),
        ("client=192.0.2.1:40009", []),
        ("client=fd00::1", []),
        ("client=[fd00::1]:40001", []),
        ("server=a", [40000]),
        ("server=x", []),
        ("vip=web&client=192.0.2.1", [40000, 40001]),
        ("since=2025-11-24T15:59:57Z", [40000, 40002]),
    ):
        assert walk(f"/v1/connections?{query}", logged(made)) == [found], query


@pytest.mark.parametrize(
    "query",
    [
        *("client=x", "client=10.0.0.8:0", "client=10.0.0.8:70000", "client=fd00::1:80:x", "client=[10.0.0.8"),
        *("client=", "client=[10.0.0.8]:80:", "since=yesterday", "since=", "limit=0", "limit=1001", "cursor=%"),
        *("cursor=", "cursor=a", "cursor=YQ==YQ==", "port=1"),
    ],
)
def test_queries_of_connections_that_are_wrong(query: str) -> None:
    assert reply("GET", f"/v1/connections?{query}", view=logged(ConnectionLog()))[0] == 400


def test_a_cursor_of_another_run_is_told() -> None:
    """Numbers begin anew with the controller; what the page would have is not what the client thinks."""
    made = ConnectionLog()
    for number in range(3):
        note(made, "web", number, SYN, 80, 5.0)
    following = reply("GET", "/v1/connections?limit=1", view=logged(made))[1]["next"]
    assert reply("GET", following, view=logged(made))[0] == 200
    later = replace(logged(made), events=EventRing("cd34"))
    code, found = reply("GET", following, view=later)
    assert (code, found["type"]) == (410, "/docs/problems#gone")
    for text in ("x", "ab12-", "ab12--1", "ab12-1.5", "ab12-" + "9" * 40):
        cursor = urlsafe_b64encode(text.encode()).decode().rstrip("=")
        assert reply("GET", f"/v1/connections?cursor={cursor}", view=logged(made))[0] == 410


def test_the_next_page_asks_the_same() -> None:
    view = snapshot(overridden("c", 7, overridden("b", Wanted.DRAIN)))
    following = reply("GET", "/v1/servers?state=overridden&vip=web&limit=1", view=view)[1]["next"]
    path, _, query = following.partition("?")
    assert path == "/v1/servers"
    keys = dict(pair.split("=") for pair in query.split("&"))
    assert (keys["state"], keys["vip"], keys["limit"]) == ("overridden", "web", "1") and keys["cursor"]


@pytest.mark.parametrize("path", ["/v1/servers", "/v1/pools", "/v1/links", "/v1/checks"])
@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "cursor=%25", "cursor=_w", "cursor=", "page=2"])
def test_queries_that_are_wrong(path: str, query: str) -> None:
    assert reply("GET", f"{path}?{query}")[0] == 400
