"""VIPs, pools, switches and their tables over REST, and pages of lists."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portlb_app.api import switches
from portlb_app.api.messages import Request, Response
from portlb_app.api.models.problem import ProblemBody
from portlb_app.api.routes import ROUTES, respond
from portlb_app.api.routing import Operation
from portlb_app.api.snapshot import RefusedConnections, Snapshot
from portlb_app.api.switches import Resync, TablesWanted, tables_answer
from portlb_app.backends import Backends
from portlb_app.backends.states import PORT, Evidence
from portlb_app.config import Connector, Link, load
from portlb_app.config.schema import file_schema
from portlb_app.reconcile.entries import Entries, Entry
from portlb_app.reconcile.results import Steps
from portlb_app.reconcile.status import LinkStatus, Status, SwitchStatus
from portlb_app.topology.conditions import HeldSlots

TEXT = (Path(__file__).parents[3] / "flows/fig2/lb.yaml").read_text()
FIG2 = load(TEXT)


def snapshot() -> Snapshot:
    """FIG. 2; its switch has what is wanted, two others are not there."""
    backends = Backends(FIG2)
    held = {key: HeldSlots(slots) for key, slots in backends.tables().items()}
    there = SwitchStatus("s1", 0x1A, "synced", 5, 2, 1, 0, (), 0.25, held=held, plan=Steps())
    others = (SwitchStatus(name, dpid, "absent", 0, 0, 0, 0, (), None) for name, dpid in (("s2", 27), ("s3", 28)))
    link = LinkStatus(Link(Connector("s1", 8), Connector("s2", 8)), True)
    status = Status(1, (there, *others), (), (link,))
    return Snapshot(status, TEXT, RefusedConnections(), config=FIG2, backends=backends, unix=1.0)


def ask(path: str, method: str = "GET", view: Snapshot | None = None) -> Any:
    path, _, query = path.partition("?")
    return respond(Request(method, path, "localhost", b"", query), view or snapshot())


def told(path: str, view: Snapshot | None = None) -> Any:
    response = ask(path, view=view)
    assert isinstance(response, Response) and response.status == 200, "".join(response.body)
    return json.loads("".join(response.body))


def code(path: str, method: str = "GET") -> int:
    response = ask(path, method)
    assert isinstance(response, Response)
    return response.status


def test_a_vip_is_as_bad_as_its_worst_pool() -> None:
    (vip,) = told("/v1/vips")["vips"]
    assert vip == told("/v1/vips/web")
    assert (vip["addresses"], vip["mac"], vip["state"]) == (["10.0.0.100"], "02:00:00:00:00:64", "ok")
    assert vip["ports"] == {"20": "ok", "21": "ok", "22": "ok"} and vip["servers"] == ["a", "b", "c", "d"]
    view = snapshot()
    view.backends.see("a", Evidence(PORT, False, "port s1:2 is set down", 500.0), 500.0)
    vip = told("/v1/vips/web", view)
    assert (vip["state"], vip["ports"]) == ("degraded", {"20": "degraded", "21": "ok", "22": "degraded"})


def test_what_was_not_seen_is_unknown() -> None:
    """Before any switch was read nothing is well, and no number is 0; what is seen to be wrong is said."""
    view, unread = snapshot(), SwitchStatus("s1", 0x1A, "reading", 0, 0, 0, 0, (), None)
    link = LinkStatus(Link(Connector("s1", 8), Connector("s2", 8)), True, is_heard=False)
    view = replace(view, status=replace(view.status, switches=(unread,), links=(link,)))
    vip = told("/v1/vips/web", view)
    assert (vip["state"], {*vip["ports"].values()}) == ("unknown", {"unknown"})
    assert [each["slots"] for each in told("/v1/vips/web/ports/20", view)["servers"]] == [None, None]
    assert told("/v1/servers/a", view)["held"]["slots"] is None
    assert [told("/v1/switches/s1", view)[key] for key in ("flows", "groups", "meters")] == [None] * 3
    assert [(each["up"], each["seen"]) for each in told("/v1/links", view)["links"]] == [(True, "unknown")]
    view.backends.see("a", Evidence(PORT, False, "port s1:2 is set down", 500.0), 500.0)
    assert told("/v1/vips/web", view)["ports"] == {"20": "degraded", "21": "unknown", "22": "degraded"}


def test_a_pool_with_its_policies_and_slots() -> None:
    pool = told("/v1/vips/web/ports/22")
    assert (pool["legacy"], pool["signal"], pool["slots"]) == ("balance", "flag", 256)
    slots = told("/v1/vips/web/ports/22/slots")
    assert slots["held"]["s1"] == slots["wanted"] and set(slots["wanted"]) == set("abcd")
    assert slots["held"]["s2"] is None
    assert told("/v1/vips/web/ports/22/slots?switch=s1")["held"].keys() == {"s1"}


@pytest.mark.parametrize(
    "path",
    ["/v1/vips/x", "/v1/vips/web/ports/23", "/v1/vips/web/ports/022", "/v1/vips/web/ports/22/slots?switch=x"]
    + ["/v1/vips/x/ports/22", "/v1/switches/x", "/v1/switches/0x1B0", "/v1/switches/026", "/v1/switches/x/tables"],
)
def test_what_there_is_not(path: str) -> None:
    assert code(path) == 404


@pytest.mark.parametrize("name", ["s1", "26", "0x1a", "0x001A"])
def test_a_switch_has_a_name_and_a_datapath_id(name: str) -> None:
    switch = told(f"/v1/switches/{name}")
    assert (switch["name"], switch["plan"], switch["state"]) == ("s1", {"steps": 0, "first": []}, "synced")


def test_a_switch_that_is_named_like_a_number() -> None:
    view = snapshot()
    one, two, three = view.status.switches
    view = replace(view, status=replace(view.status, switches=(one, two, replace(three, name="26"))))
    assert told("/v1/switches/26", view)["dpid"] == "0x1c"


def test_links() -> None:
    links = [{"ends": ["s1:8", "s2:8"], "up": True, "seen": "up", "hold_seconds": 0.0}]
    assert told("/v1/links") == {"links": links, "next": None}


def test_a_list_comes_in_pages_and_ends() -> None:
    seen, path = [], "/v1/switches?limit=2"
    while path:
        page = told(path)
        seen.append([each["name"] for each in page["switches"]])
        path = page["next"]
    assert seen == [["s1", "s2"], ["s3"]]
    assert told("/v1/switches?limit=3")["next"] is None


def test_a_page_stays_where_it_is_while_others_go() -> None:
    view = snapshot()
    following = told("/v1/switches?limit=2", view)["next"]
    gone = replace(view, status=replace(view.status, switches=view.status.switches[1:]))
    assert [each["name"] for each in told(following, gone)["switches"]] == ["s3"]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "cursor=%25", "cursor=_w", "cursor=", "page=2"])
def test_a_page_that_there_is_not(query: str) -> None:
    assert code(f"/v1/switches?{query}") == 400


def test_a_switch_is_read_on_request() -> None:
    asked = ask("/v1/switches/s1/resync", "POST")
    assert isinstance(asked, Resync) and asked.switch.dpid == 0x1A
    assert switches.resync_answer(asked).status == 202
    assert code("/v1/switches/s2/resync", "POST") == 409
    assert code("/v1/switches/x/resync", "POST") == 404


def test_what_a_switch_holds_is_asked_for_and_told() -> None:
    asked = ask("/v1/switches/s1/tables?limit=2&cursor=3")
    assert isinstance(asked, TablesWanted)
    assert (asked.first, asked.count, asked.is_wanted, asked.is_text) == (3, 2, False, False)
    cookie = 0x504C000000000000 | FIG2.vips[0].number << 16 | 22
    entries = Entries(9, 2, 0, (Entry("flow", "a flow", cookie | 9 << 40, "SERVICE"), Entry("group", "a group")))
    response = tables_answer(asked, entries)
    body = json.loads("".join(response.body))
    flow, group = body["entries"]
    assert (flow["table"], flow["cookie"]["vip"], flow["cookie"]["port"]) == ("SERVICE", "web", 22)
    assert group == {"kind": "group", "text": "a group"}
    following = ask(body["next"])
    assert isinstance(following, TablesWanted) and (following.first, following.count) == (5, 2)
    last = json.loads("".join(tables_answer(replace(asked, first=9), entries).body))
    assert last["next"] is None
    assert tables_answer(asked, None).status == 503
    text = tables_answer(replace(asked, is_text=True), "table=0")
    assert (text.body, text.content_type) == ("table=0", "text/plain; charset=utf-8")


def test_the_schema_names_every_key_of_the_file() -> None:
    response = ask("/v1/config/schema")
    assert isinstance(response, Response) and json.loads("".join(response.body)) == file_schema()
    made = file_schema()
    assert made["$defs"]["VipEntry"]["required"] == ["address", "mac"]
    assert made["$defs"]["ServerEntry"]["properties"].keys() >= {"vip", "connector", "service_ports", "weight", "state"}


NAMES = {"server": "a", "vip": "web", "port": "22", "switch": "s1", "change": "1"}
READ = [
    (route.template, operation)
    for route in ROUTES.all
    for operation in route.operations
    if operation.method == "GET" and isinstance(operation.returns[200], type)
]


@pytest.mark.parametrize(("template", "operation"), READ, ids=[operation.name for _, operation in READ])
def test_every_answer_has_the_shape_that_the_document_says(template: str, operation: Operation[Any]) -> None:
    """No member that is not named there, and none missing."""
    response = ask(template.format(**NAMES))
    if not isinstance(response, Response):
        return  # what is asked of others; their tests have it
    body = "".join(response.body)
    assert response.status in (200, 400, 404), body
    model = operation.returns[response.status] if response.status == 200 else ProblemBody
    assert isinstance(model, type)
    model.model_validate_json(body)
