"""``PATCH /v1/servers``: several servers as one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from portlb_app.api import judgement, wish_answers
from portlb_app.api.batches import MAX_BATCH, Batch, subject
from portlb_app.api.snapshot import Snapshot
from portlb_app.backends.drained import Drain
from portlb_app.config import Wanted
from portlb_app.config.overrides import MAX_OVERRIDES, Override, Overrides
from portlb_app.reconcile.outcomes import Carried, Ended, Lacking
from portlb_app.reconcile.status import Status
from tests.support.fig2_rest import FIG2, LATER, NOW, TEXT, ask, overridden, reply, snapshot


def batch(body: Any, query: str = "", view: Snapshot | None = None) -> Batch:
    found = ask("PATCH", f"/v1/servers{query}", body, view)
    assert isinstance(found, Batch), found
    return found


def judged(body: Any, view: Snapshot | None = None) -> judgement.Judged:
    found = judgement.judge(batch(body, view=view), view or snapshot())
    assert isinstance(found, judgement.Judged), found
    return found


def refused(body: Any, view: Snapshot | None = None) -> str:
    found = judgement.judge(batch(body, view=view), view or snapshot())
    assert not isinstance(found, judgement.Judged) and found.status == 409
    return str(json.loads("".join(found.body))["error"])


def drain(*names: str, **more: Any) -> dict[str, Any]:
    return {"servers": {name: {"state": "drain"} for name in names}, **more}


def test_several_servers_are_named() -> None:
    servers = {
        "b": {"state": "drain", "move": True, "deadline": LATER},
        "a": {"weight": 3},
        "c": {"state": "maint", "weight": None},
        "d": {"state": None},
    }
    more = {"reason": "kernel", "by": "anna", "until": LATER, "force": True}
    asked = batch({"servers": servers, **more}, "?dry_run=1&steps=1")
    found = [(each.server, each.key, each.value) for each in asked.wishes]
    assert found == [
        ("a", "weight", 3), ("b", "state", Wanted.DRAIN), ("c", "state", Wanted.MAINT), ("c", "weight", None),
        ("d", "state", None),
    ]  # fmt: skip
    assert asked.force and asked.dry_run and asked.steps
    for each in asked.wishes:
        said = each.said
        assert (said.reason, said.by, said.since, said.until) == ("kernel", "anna", NOW, NOW + 3600)
        assert (said.move, said.deadline) == ((True, NOW + 3600) if each.server == "b" else (False, None))
    assert subject(asked) == (
        "server a: weight 3; server b: state drain; server c: state maint; server c: weight the file's; "
        "server d: state the file's"
    )


@pytest.mark.parametrize(
    ("select", "names"),
    [
        ({"vip": "web"}, "abcd"),
        ({"pool": "web:20"}, "ab"),
        ({"switch": "s1"}, "abcd"),
        ({"connector": "s1:4"}, "c"),
        ({"pool": "web:21", "switch": "s1"}, "bcd"),
        ({"pool": "web:20", "connector": "s1:3"}, "b"),
    ],
)
def test_servers_are_selected(select: dict[str, str], names: str) -> None:
    """By all that is said."""
    asked = batch({"select": select, "set": {"weight": 5}})
    assert [(each.server, each.key, each.value) for each in asked.wishes] == [(name, "weight", 5) for name in names]


DEEP = '{"servers":' * 3000
SHAPE = ": servers is expected, or select and set"
MISTAKES: list[tuple[Any, set[str]]] = [
    (b"", {"line 1, column 1: not JSON, or cut short"}),
    (b"\xff", {": byte 0 is not UTF-8"}),
    (b"[]", {": a JSON object is expected"}),
    (DEEP.encode(), {": nested too deep"}),
    (b'{"servers": {"a": {"weight": 1}, "a": {"weight": 2}}}', {"a: is given twice"}),
    ({}, {SHAPE}),
    ({"servers": None}, {SHAPE}),
    ({"select": {"vip": "web"}}, {SHAPE}),
    ({"set": {"weight": 1}}, {SHAPE}),
    ({"servers": {"a": {"weight": 1}}, "set": {"weight": 1}}, {SHAPE}),
    ({"servers": {"a": {"weight": 1}}, "select": {"vip": "web"}, "set": {"weight": 1}}, {SHAPE}),
    ({"servers": {}}, {"servers: names none"}),
    ({"servers": ["a"]}, {"servers: should be a valid dictionary"}),
    (
        {"servers": {"a": {}, "x": {"weight": 1}, "\x1b": {"weight": 1}}},
        {
            "servers.a: state or weight is missing",
            "servers.x: there is no server x",
            "servers.\\x1b: there is no server \\x1b",
        },
    ),
    ({"servers": {"a": 5}}, {"servers.a: is a mapping of state, weight, deadline, move"}),
    (
        {"servers": {"a": {"weight": 257}, "b": {"weight": -1}, "c": {"state": "up"}, "d": {"weight": True}}},
        {
            "servers.a.weight: should be less than or equal to 256",
            "servers.b.weight: should be greater than or equal to 0",
            "servers.c.state: should be 'ready', 'drain' or 'maint'",
            "servers.d.weight: a number is expected",
        },
    ),
    (
        {"servers": {"a": {"weight": 1, "deadline": LATER, "move": True}, "b": {"state": "ready", "move": True}}},
        {
            "servers.a.deadline: is for a server that drains, or is taken out",
            "servers.a.move: is for a server that drains, or is taken out",
            "servers.b.move: is for a server that drains, or is taken out",
        },
    ),
    (
        {"servers": {"a": {"state": "drain", "deadline": "2001-01-01T00:00:00Z", "force": True}}},
        {"servers.a.deadline: is in the past", "servers.a.force: unknown key"},
    ),
    (drain("a", until="2001-01-01T00:00:00Z"), {"until: is in the past"}),
    (drain("a", until=5, x=1, force=1), {
        "until: a time like 2026-12-01T06:00:00Z is expected", "x: unknown key", "force: true or false is expected",
    }),
    (
        {"select": {"vip": "x", "pool": "web:99", "switch": "s9", "connector": "s1:99"}, "set": {"weight": 1}},
        {
            "select.vip: there is no vip x",
            "select.pool: there is no pool web:99",
            "select.switch: there is no switch s9",
            "select.connector: there is no connector s1:99",
        },
    ),
    ({"select": {}, "set": {"weight": 1}}, {
        "select: says nothing; say a vip, a pool (vip:port), a switch or a connector (switch:port)",
    }),
    ({"select": {"pool": "web:21", "connector": "s1:2"}, "set": {"weight": 1}}, {"select: no server is like that"}),
    ({"select": {"vip": 5}, "set": {}}, {
        "select.vip: should be a valid string", "set: state or weight is missing",
    }),
    ({"select": {"vip": "web", "name": "a"}, "set": {"weight": 1}}, {"select.name: unknown key"}),
]  # fmt: skip


@pytest.mark.parametrize(("body", "messages"), MISTAKES)
def test_every_mistake_is_said_with_its_path(body: Any, messages: set[str]) -> None:
    code, answered = reply("PATCH", "/v1/servers", body)
    assert (code, answered["error"]) == (422, "the request has mistakes; nothing was changed")
    assert {f"{each['path']}: {each['message']}" for each in answered["errors"]} == messages


def test_bounds() -> None:
    assert reply("PATCH", "/v1/servers", b" " * (MAX_BATCH + 1))[0] == 413
    many = {f"s{number}": {"weight": 1} for number in range(MAX_OVERRIDES + 1)}
    assert reply("PATCH", "/v1/servers", {"servers": many})[1]["errors"][0]["path"] == "servers"
    entries = {(f"s{number}", "weight"): Override(5, 1) for number in range(MAX_OVERRIDES - 1)}
    full = snapshot(Overrides(entries))  # type: ignore[arg-type]
    assert "there are 4096 overrides already" in refused({"servers": {"a": {"weight": 2}, "b": {"weight": 2}}}, full)
    for query in ("?force=1", "?vip=web", "?wait=accepted", "?timeout=0", "?timeout=301"):
        assert reply("PATCH", f"/v1/servers{query}", drain("a"))[0] == 400


def test_what_moves_is_what_moves_by_all_of_them() -> None:
    """Not the sum of what each alone would move."""
    found = judged(drain("a", "d", reason="kernel"))
    pools = {change.name: change.moved for change in found.changes}
    assert pools == {"web:20": 128, "web:21": 85, "web:22": 128}
    assert set(found.changes[2].after) == {"b", "c"}
    assert found.overrides == overridden_by("a", "d")
    assert found.subject == "servers a, d: state drain: kernel"
    assert found.log_line.startswith("servers a, d: state drain is wanted by REST: kernel; web:20: 128 of 256 slots")
    assert [line for line in found.says if not line.startswith("web:")] == [
        "a: connections that continue on its service ports go on",
        "d is the default server of web, and goes on getting what that gets",
        "d: connections that continue on its service ports go on",
    ]


def overridden_by(*names: str) -> Overrides:
    found = Overrides()
    for name in names:
        said = Override(Wanted.DRAIN, Wanted.DRAIN, "kernel", "REST", NOW)
        found = found.put(FIG2.server_by_name[name], "state", Wanted.DRAIN, said)
    return found


def test_together_they_may_be_a_pools_last() -> None:
    """Each alone is not."""
    for name in "ab":
        judged(drain(name))
    assert refused(drain("a", "b")) == (
        "a, b are the last serving servers of web:20 (it has no other one); force does it all the same. Nothing was "
        "changed"
    )
    forced = judged(drain("a", "b", force=True))
    assert not forced.changes[0].after
    swapped = {"servers": {"a": {"state": "drain"}, "b": {"state": "ready"}}}
    view = snapshot(overridden("b", Wanted.DRAIN))
    assert set(judged(swapped, view).changes[0].after) == {"b"}, "one comes as the other goes"


def test_maintenance_is_for_those_that_are_drained() -> None:
    view = snapshot(overridden("d", Wanted.DRAIN), d=Drain(900.0, 0, "agent", None, 950.0))
    body = {"servers": {"a": {"state": "maint"}, "c": {"state": "maint"}, "d": {"state": "maint"}}}
    assert refused(body, view) == (
        "a is not drained (it does not drain yet), c is not drained (it does not drain yet), and maint ends their "
        "connections: drain them first, or use force. Nothing was changed"
    )
    assert "d: its service ports close, and connections that are open at it end" in judged({**body, "force": True}).says


def test_a_state_and_a_weight_of_one_server_are_one_change() -> None:
    found = judged({"servers": {"b": {"state": "ready", "weight": 0}, "a": {"weight": 7}}})
    values = {key: each.value for key, each in found.overrides.entries.items()}
    assert values == {("a", "weight"): 7, ("b", "weight"): 0}
    assert "b: connections that continue on its service ports go on" in found.says


def test_names_in_sentences_are_few() -> None:
    wishes = tuple(replace(batch(drain("a")).wishes[0], server=f"s{number}") for number in range(12))
    assert subject(Batch(wishes)) == "servers s0, s1, s2, s3, s4, s5, s6, s7 and 4 others: state drain"


def test_answers() -> None:
    asked = batch({"servers": {"b": {"state": "drain", "weight": 2}, "c": {"weight": 4}}})
    found = judgement.judge(asked, snapshot())
    assert isinstance(found, judgement.Judged)
    dry = json.loads("".join(wish_answers.dry_run(asked, found, {"s1": None}).body))
    assert (dry["servers"], dry["dry_run"], dry["switches"]) == (["b", "c"], True, {"s1": None})
    assert [each["port"] for each in dry["pools"]] == [20, 21, 22]
    after = snapshot(found.overrides)
    done = wish_answers.answer(asked, found, Carried(("s2",)), after)
    body = json.loads("".join(done.body))
    assert (done.status, body["dry_run"], body["absent"]) == (200, False, ["s2"])
    assert [(each["name"], each["wanted"]["state"], each["weight"]["used"]) for each in body["servers"]] == [
        ("b", "drain", 0), ("c", "ready", 4),
    ]  # fmt: skip
    unread = replace(after, status=Status(1, (), ()))
    assert wish_answers.answer(asked, found, Carried(()), unread).status == 202
    late = wish_answers.answer(asked, found, Lacking({"s1": ("table full",)}, 15.0), after)
    assert (late.status, json.loads("".join(late.body))["switches"]) == (504, {"s1": ["table full"]})
    assert wish_answers.answer(asked, found, Ended(), after).status == 503
    (other,) = [each for each in FIG2.servers if each.name == "a"]
    gone = replace(after, config=replace(FIG2, servers=(other,)))
    changed = wish_answers.answer(asked, found, Carried(), gone)
    assert changed.status == 409 and "has no server b, c" in "".join(changed.body)


def test_a_server_that_has_gone_meanwhile() -> None:
    asked = batch(drain("a", "b"))
    (other,) = [each for each in FIG2.servers if each.name == "a"]
    found = judgement.judge(asked, replace(snapshot(), config=replace(FIG2, servers=(other,)), text=TEXT))
    assert not isinstance(found, judgement.Judged) and found.status == 404
