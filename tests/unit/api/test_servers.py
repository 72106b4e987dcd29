"""Servers and pools over REST: what is wanted, seen and held, and what a wish is answered."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from portlb_app.api import judgement, wish_answers
from portlb_app.api.snapshot import Snapshot
from portlb_app.api.wishes import MAX_WISH, Wish
from portlb_app.backends import Backends
from portlb_app.backends.drained import Drain
from portlb_app.backends.states import PORT, Evidence, check_source
from portlb_app.config import Wanted, load
from portlb_app.config.overrides import MAX_OVERRIDES, Override, Overrides
from portlb_app.config.overrides_text import MAX_BY
from portlb_app.reconcile.outcomes import Carried, Ended, Lacking
from portlb_app.reconcile.status import Status
from tests.support.fig2_rest import LATER, NOW, NOW_TEXT, TEXT, ask, overridden, reply, snapshot


def complaint(method: str, path: str) -> tuple[int, str]:
    """What is wrong."""
    code, body = reply(method, path)
    return code, body["error"]


def wish(method: str, path: str, body: Any = None) -> Wish:
    found = ask(method, path, body)
    assert isinstance(found, Wish), found
    return found


def judged(path: str, body: Any, view: Snapshot | None = None) -> tuple[int, Any]:
    """What is said about a wish that is refused, or a dry run."""
    asked = wish("PUT", path, body)
    found = judgement.judge(asked, view or snapshot())
    if isinstance(found, judgement.Judged):
        assert asked.dry_run
        found = wish_answers.dry_run(asked, found, {})
    return found.status, json.loads("".join(found.body))


# ---- what is told ----


def test_a_server_has_three_words() -> None:
    code, body = reply("GET", "/v1/servers/b")
    assert code == 200
    assert body == {
        "name": "b",
        "vip": "web",
        "connector": "s1:3",
        "wanted": {
            "state": "ready", "configured": "ready", "source": "file", "reason": "", "by": "", "since": None,
            "until": None, "deadline": None, "move": False,
        },
        "seen": {"state": "unknown", "reason": "nothing was heard of it yet", "since": None},
        "held": {
            "state": "slots",
            "slots": 128 + 86 + 64,
            "pools": [
                {"vip": "web", "port": 20, "of": 256, "wanted": 128, "held": {"s1": 128}},
                {"vip": "web", "port": 21, "of": 256, "wanted": 86, "held": {"s1": 86}},
                {"vip": "web", "port": 22, "of": 256, "wanted": 64, "held": {"s1": 64}},
            ],
        },
        "weight": {"configured": 1, "override": None, "used": 1},
        "drain": None,
        "counters": {"to_server": None, "from_server": None},
        "agent": None,
    }  # fmt: skip


def test_one_that_drains_says_why_and_how_far_it_is() -> None:
    view = snapshot(overridden("b", Wanted.DRAIN, until=NOW + 3600), b=Drain(900.0, 17, "log", 4.0))
    body = reply("GET", "/v1/servers/b", view=view)[1]
    assert body["wanted"] == {
        "state": "drain", "configured": "ready", "source": "override", "reason": "kernel", "by": "root",
        "since": "2025-11-24T15:57:50Z", "until": LATER, "deadline": None, "move": False,
    }  # fmt: skip
    assert (body["held"]["state"], body["held"]["slots"], body["weight"]["used"]) == ("none", 0, 0)
    assert body["drain"] == {
        "state": "draining", "open": 17, "source": "log", "since": "2025-11-24T15:58:20Z", "quiet_seconds": 4.0,
        "reason": "at most 17 connections open, by the log of connections",
    }  # fmt: skip
    assert reply("GET", "/v1/servers/b/state", view=view)[1] == body["wanted"]
    drained = snapshot(overridden("b", Wanted.DRAIN), b=Drain(900.0, 0, "agent", None, 960.0))
    assert reply("GET", "/v1/servers/b", view=drained)[1]["drain"]["state"] == "drained"


def test_what_is_seen_is_not_what_is_wanted_or_held() -> None:
    view = snapshot()
    view.backends.see("c", Evidence(PORT, False, "port s1:4 has no carrier", 500.0), 500.0)
    body = reply("GET", "/v1/servers/c", view=view)[1]
    assert body["seen"] == {"state": "down", "reason": "port s1:4 has no carrier", "since": "2025-11-24T15:51:40Z"}
    assert body["wanted"]["state"] == "ready"
    assert body["held"]["state"] == "slots", "the switch has not been read since"
    assert {each["wanted"] for each in body["held"]["pools"]} == {0}


def test_held_words() -> None:
    closed = snapshot(overridden("b", Wanted.MAINT))
    assert reply("GET", "/v1/servers/b", view=closed)[1]["held"]["state"] == "closed"
    (switch,) = snapshot().status.switches
    unread = replace(snapshot(), status=Status(1, (replace(switch, held=None, closed=None),), ()))
    assert reply("GET", "/v1/servers/b", view=unread)[1]["held"]["state"] == "unknown"


def test_a_weight_by_override() -> None:
    for value, used, state in ((7, 7, "ready"), (0, 0, "drain")):
        body = reply("GET", "/v1/servers/b", view=snapshot(overridden("b", value)))[1]
        said = {"reason": "kernel", "by": "root", "since": "2025-11-24T15:57:50Z", "until": None}
        assert body["weight"] == {"configured": 1, "override": {"value": value, **said}, "used": used}
        assert (body["wanted"]["state"], body["wanted"]["source"]) == (state, "file" if value else "override")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", "abcd"),
        ("vip=web", "abcd"),
        ("state=drain", "b"),
        ("state=overridden&vip=web", "bc"),
        ("state=down", "a"),
        ("state=draining", "b"),
        ("state=drained", ""),
        ("state=none", "b"),
    ],
)
def test_servers_are_chosen(query: str, names: str) -> None:
    view = snapshot(overridden("c", 7, overridden("b", Wanted.DRAIN)), b=Drain(900.0))
    view.backends.see("a", Evidence(PORT, False, "port s1:2 is set down", 500.0), 500.0)
    code, body = reply("GET", f"/v1/servers?{query}", view=view)
    assert (code, [each["name"] for each in body["servers"]]) == (200, list(names))


def test_pools_in_a_word() -> None:
    view = snapshot(overridden("b", Wanted.DRAIN, overridden("a", Wanted.DRAIN)))
    view.backends.see("c", Evidence(PORT, False, "port s1:4 is set down", 500.0), 500.0)
    view.backends.see("d", Evidence(PORT, False, "port s1:5 is set down", 500.0), 500.0)
    code, body = reply("GET", "/v1/pools?vip=web", view=view)
    assert (code, [(each["port"], each["state"]) for each in body["pools"]]) == (
        200, [(20, "empty"), (21, "fail_open"), (22, "fail_open")],
    )  # fmt: skip
    states = [each["state"] for each in reply("GET", "/v1/pools")[1]["pools"]]
    assert states == ["ok"] * 3
    degraded = reply("GET", "/v1/pools", view=snapshot(overridden("b", Wanted.DRAIN)))[1]["pools"]
    assert [each["state"] for each in degraded] == ["degraded"] * 3
    assert degraded[0]["servers"] == [
        {"name": "a", "wanted": "ready", "seen": "unknown", "slots": 256, "wanted_slots": 256, "held": {"s1": 256}},
        {"name": "b", "wanted": "drain", "seen": "unknown", "slots": 0, "wanted_slots": 0, "held": {"s1": 0}},
    ]


def test_a_pool_fails_open_while_a_server_is_up() -> None:
    """With ``fail_open: 1`` three of four that fail their checks are used beside the one that is up."""
    live = load(TEXT.replace("legacy: balance}", "legacy: balance, check: {}, fail_open: 1}"))
    backends, source = Backends(live), check_source(22, 4)
    for name in "abcd":
        backends.see(name, Evidence(PORT, True, "port", 500.0), 500.0)
        backends.see(name, Evidence(source, name == "a", "said", 500.0, ("web", 22)), 500.0)
    body = reply("GET", "/v1/pools", view=replace(snapshot(), config=live, backends=backends))[1]
    assert [each["state"] for each in body["pools"]] == ["ok", "ok", "fail_open"]
    assert [each["wanted_slots"] for each in body["pools"][2]["servers"]] == [64] * 4


# ---- what is asked for ----


def test_a_state_is_asked_for() -> None:
    body = {"state": "drain", "reason": "kernel", "by": "root", "until": LATER, "deadline": LATER}
    body |= {"force": True, "move": True}
    found = wish("PUT", "/v1/servers/b/state?dry_run=1", body)
    assert (found.server, found.key, found.value) == ("b", "state", Wanted.DRAIN)
    assert found.force and found.dry_run and found.said.move
    said = found.said
    assert (said.reason, said.by, said.since) == ("kernel", "root", NOW)
    assert said.until == said.deadline == NOW + 3600
    assert wish("PUT", "/v1/servers/b/state", {"state": "ready", "until": None}).said.by == "REST"


def test_a_weight_is_asked_for_and_taken_back() -> None:
    assert wish("PUT", "/v1/servers/b/weight", {"weight": 256}).value == 256
    assert wish("PUT", "/v1/servers/b/weight", {"weight": 0}).value == 0
    assert wish("DELETE", "/v1/servers/b/weight").value is None


MISTAKES: list[tuple[Any, str]] = [
    (b"", "line 1, column 1: not JSON, or cut short"),
    (b"\xff", "byte 0 is not UTF-8"),
    (b"[]", "a JSON object is expected"),
    (b"state: drain", "line 1, column 1: not JSON, or cut short"),
    (b'{"state": "drain"', "line 1, column 18: not JSON, or cut short"),
    (b'{"state": "drain"} x', "line 1, column 20: not JSON, or cut short"),
    (b'{"state": "drain", "state": "ready"}', "state: is given twice"),
    (b'{"a":' * 3000, "nested too deep"),
    (b'{"state": NaN}', "NaN is not JSON"),
    (b'{"state": -Infinity}', "-Infinity is not JSON"),
    (b'{"state": ' + b"9" * 5000 + b"}", "a number is too long"),
    ({}, "state: is missing"),
    ({"state": None}, "state: is missing"),
    ({"state": "down"}, "state: should be 'ready', 'drain' or 'maint'"),
    ({"state": 1}, "state: should be 'ready', 'drain' or 'maint'"),
    ({"state": ["drain"]}, "state: should be 'ready', 'drain' or 'maint'"),
    ({"state": "drain", "force": 1}, "force: true or false is expected"),
    ({"state": "drain", "force": "true"}, "force: true or false is expected"),
    ({"state": "drain", "reason": 5}, "reason: printable characters on one line are expected"),
    ({"state": "drain", "reason": "\x1b[2J"}, "reason: printable characters on one line are expected"),
    ({"state": "drain", "reason": "a\nb"}, "reason: printable characters on one line are expected"),
    ({"state": "drain", "reason": "x" * 201}, "reason: String should have at most 200 characters"),
    ({"state": "drain", "by": "x" * 101}, "by: String should have at most 100 characters"),
    ({"state": "drain", "until": 5}, "until: a time like 2026-12-01T06:00:00Z is expected"),
    ({"state": "drain", "until": "tomorrow"}, "until: a time like 2026-12-01T06:00:00Z is expected"),
    ({"state": "drain", "until": "2026-02-30T00:00:00Z"}, "until: there is no time 2026-02-30T00:00:00Z"),
    ({"state": "drain", "until": NOW_TEXT}, "until: is in the past"),
    ({"state": "drain", "deadline": "2001-01-01T00:00:00Z"}, "deadline: is in the past"),
    ({"state": "ready", "deadline": LATER}, "deadline: is for a server that drains, or is taken out"),
    ({"state": "ready", "move": True}, "move: is for a server that drains, or is taken out"),
    ({"state": "drain", "moves": True}, "moves: unknown key"),
    ({"state": "drain", "weight": 5}, "weight: unknown key"),
]


@pytest.mark.parametrize(("body", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_a_mistake_is_said_and_changes_nothing(body: Any, message: str) -> None:
    code, answered = reply("PUT", "/v1/servers/b/state", body)
    assert (code, answered["error"]) == (422, "the request has mistakes; nothing was changed")
    (error,) = answered["errors"]
    assert (f"{error['path']}: " if error["path"] else "") + error["message"] == message


@pytest.mark.parametrize("value", [-1, 257, 1.5, "5", True, None, [1], 1e400])
def test_a_weight_is_a_number(value: Any) -> None:
    body = json.dumps({"weight": value}).replace("Infinity", "1e400").encode()
    assert reply("PUT", "/v1/servers/b/weight", body)[0] == 422


def test_all_mistakes_at_once() -> None:
    body = {"state": "up", "reason": 5, "x": 1, "until": "never"}
    errors = reply("PUT", "/v1/servers/b/state", body)[1]["errors"]
    assert {each["path"] for each in errors} == {"state", "reason", "x", "until"}


def test_other_requests_that_are_refused() -> None:
    assert reply("GET", "/v1/servers/x")[0] == 404
    assert reply("GET", "/v1/servers/b/mac")[0] == 404
    assert reply("GET", "/v1/servers/")[0] == 404
    assert reply("GET", "/v1/servers/b?vip=web")[0] == 400
    assert complaint("GET", "/v1/servers?vip=x") == (404, "there is no VIP x")
    assert reply("GET", "/v1/servers?state=x")[0] == 400
    assert complaint("GET", "/v1/servers?state=up&state=up") == (400, "state is given twice")
    assert reply("GET", "/v1/servers?q=x")[0] == 400
    assert reply("GET", "/v1/pools?vip=x")[0] == 404
    assert reply("PUT", "/v1/servers/b/state?force=1", {"state": "drain"})[0] == 400
    assert reply("PUT", "/v1/servers/b/state", b" " * (MAX_WISH + 1))[0] == 413
    assert reply("POST", "/v1/servers/b/state", {})[0] == 405
    assert reply("DELETE", "/v1/servers/b/state")[0] == 405
    assert reply("PUT", "/v1/servers/b", {})[0] == 405


# ---- what becomes of it ----


def test_what_moves_and_rides_on_it_is_said_before() -> None:
    code, body = judged("/v1/servers/b/state?dry_run=1", {"state": "drain"})
    assert (code, body["dry_run"], body["server"]) == (200, True, "b")
    assert [each["moved"] for each in body["pools"]] == [128, 86, 64]
    assert body["pools"][0]["servers"] == {"a": [128, 256], "b": [128, 0]}
    assert [(each["plain"], each["breaks_plain"]) for each in body["pools"]] == [
        ("drop", False), ("drop", False), ("balance", True),
    ]  # fmt: skip
    assert body["says"] == [
        "web:20: 128 of 256 slots move (128 to a); no plain clients (legacy: drop), UDP and SCTP on them change their "
        "server",
        "web:21: 86 of 256 slots move (43 to c, 43 to d); no plain clients (legacy: drop), UDP and SCTP on them change "
        "their server",
        "web:22: 64 of 256 slots move (22 to a, 21 to c, 21 to d); connections of plain clients on them (legacy: "
        "balance) break, UDP and SCTP on them change their server",
        "b: connections that continue on its service ports go on",
    ]


def test_a_default_server_goes_on_as_that() -> None:
    says = judged("/v1/servers/d/state?dry_run=1", {"state": "drain"})[1]["says"]
    assert "d is the default server of web, and goes on getting what that gets" in says


def test_the_last_serving_server_of_a_pool_needs_force() -> None:
    view = snapshot(overridden("b", Wanted.DRAIN))
    for body in ({"state": "drain"}, {"state": "maint"}):
        code, refused = judged("/v1/servers/a/state", body, view)
        assert code == 409
        assert refused["error"] == (
            "a is the last serving server of web:20 (b drain); force does it all the same. Nothing was changed"
        )
        assert [(each["name"], each["wanted"], each["slots"]) for each in refused["pools"][0]["servers"]] == [
            ("a", "ready", 256), ("b", "drain", 0),
        ]  # fmt: skip
    assert judged("/v1/servers/a/weight", {"weight": 0}, view)[0] == 409
    assert judged("/v1/servers/a/state?dry_run=1", {"state": "drain"}, view)[0] == 409, "a dry run tells the truth"
    forced = judgement.judge(wish("PUT", "/v1/servers/a/state", {"state": "drain", "force": True}), view)
    assert isinstance(forced, judgement.Judged)
    assert forced.says[0].startswith("web:20: all 256 slots go: nobody is left for new connections")


def test_others_that_are_down_serve_nothing() -> None:
    view = snapshot()
    view.backends.see("a", Evidence(PORT, False, "port s1:2 is set down", 500.0), 500.0)
    code, refused = judged("/v1/servers/b/state", {"state": "drain"}, view)
    assert (code, refused["error"].partition(";")[0]) == (409, "b is the last serving server of web:20 (a down)")
    down = judgement.judge(wish("PUT", "/v1/servers/a/state", {"state": "drain"}), view)
    assert isinstance(down, judgement.Judged), "one that has no slots leaves nothing"


def test_where_none_is_up_one_less_does_no_harm() -> None:
    """All are used then; but the last one that is wanted leaves the pool empty."""
    view = snapshot(overridden("c", Wanted.DRAIN))
    for name in "abd":
        view.backends.see(name, Evidence(PORT, False, "port is set down", 500.0), 500.0)
    found = judgement.judge(wish("PUT", "/v1/servers/d/state", {"state": "drain"}), view)
    assert isinstance(found, judgement.Judged) and found.changes[0].after
    alone = snapshot(overridden("a", Wanted.DRAIN))
    alone.backends.see("b", Evidence(PORT, False, "port is set down", 500.0), 500.0)
    assert judged("/v1/servers/b/state", {"state": "drain"}, alone)[0] == 409


def test_maintenance_is_for_servers_that_are_drained() -> None:
    body = {"state": "maint"}
    code, refused = judged("/v1/servers/b/state", body)
    assert (code, refused["error"]) == (
        409,
        "b is not drained (it does not drain yet), and maint ends its connections: drain it first, or use force. "
        "Nothing was changed",
    )
    draining = snapshot(overridden("b", Wanted.DRAIN), b=Drain(900.0, 2, "agent"))
    error = judged("/v1/servers/b/state", body, draining)[1]["error"]
    assert "b is not drained (2 connections open, by its agent)" in error
    drained = snapshot(overridden("b", Wanted.DRAIN), b=Drain(900.0, 0, "agent", None, 950.0))
    assert isinstance(judgement.judge(wish("PUT", "/v1/servers/b/state", body), drained), judgement.Judged)
    forced = judgement.judge(wish("PUT", "/v1/servers/b/state", {**body, "force": True}), snapshot())
    assert isinstance(forced, judgement.Judged)
    assert "b: its service ports close, and connections that are open at it end" in forced.says


def test_a_server_that_there_is_not() -> None:
    code, refused = judged("/v1/servers/x/state", {"state": "drain"})
    assert (code, refused["error"]) == (404, "there is no server x")


def test_ready_and_the_weight_of_the_file_end_overrides() -> None:
    view = snapshot(overridden("b", 7, overridden("b", Wanted.DRAIN)))
    ready = judgement.judge(wish("PUT", "/v1/servers/b/state", {"state": "ready"}), view)
    assert isinstance(ready, judgement.Judged) and ready.overrides == overridden("b", 7)
    for query, by in (("", "REST"), ("?by=anna", "anna")):
        unset = judgement.judge(wish("DELETE", f"/v1/servers/b/weight{query}"), view)
        assert isinstance(unset, judgement.Judged) and unset.overrides == overridden("b", Wanted.DRAIN)
        assert unset.log_line.startswith(f"server b: weight the file's is wanted by {by}; ")


def test_overrides_are_bounded() -> None:
    entries = {(f"s{number}", "weight"): Override(5, 1) for number in range(MAX_OVERRIDES)}
    full = snapshot(Overrides(entries))  # type: ignore[arg-type]
    assert judged("/v1/servers/b/weight", {"weight": 5}, full)[0] == 409


def test_the_answer_when_switches_have_it_or_not() -> None:
    asked = wish("PUT", "/v1/servers/b/state", {"state": "drain", "reason": "kernel"})
    found = judgement.judge(asked, snapshot())
    assert isinstance(found, judgement.Judged)
    assert found.log_line.startswith("server b: state drain is wanted by REST: kernel; web:20: 128 of 256 slots move")
    after = snapshot(found.overrides)
    done = wish_answers.answer(asked, found, Carried(("s2",)), after)
    body = json.loads("".join(done.body))
    assert (done.status, body["wanted"]["state"], body["held"]["state"]) == (200, "drain", "none")
    assert body["absent"] == ["s2"]
    assert body["says"][-1] == "not connected, and to get it later: s2"
    absent = replace(after, status=Status(1, (), ()))
    assert wish_answers.answer(asked, found, Carried(("s1",)), absent).status == 202
    late = wish_answers.answer(asked, found, Lacking({"s1": ("table full",)}, 15.0), after)
    body = json.loads("".join(late.body))
    assert (late.status, body["switches"]) == (504, {"s1": ["table full"]})
    assert body["error"] == "the wish is saved and stands, but within 15 s s1 did not take it"
    assert wish_answers.answer(asked, found, Ended(), after).status == 503


@pytest.mark.parametrize(
    ("by", "said", "known"),
    [
        ("", None, "REST"),
        ("", "max", "max"),
        ("ci", None, "ci"),
        ("ci", "ci", "ci"),
        ("uid 1000", "max", "uid 1000 (max)"),
        ("x" * 64, "y" * 60, f"{'x' * 64} ({'y' * 60})"[:MAX_BY]),
    ],
)
def test_who_asks_is_what_the_connection_shows(by: str, said: str | None, known: str) -> None:
    """What a request says of itself stands behind it."""
    wish = ask("PUT", "/v1/servers/b/state", {"state": "drain"} | ({"by": said} if said else {}), by=by)
    assert isinstance(wish, Wish) and wish.said.by == known
    wish = ask("DELETE", "/v1/servers/b/weight" + (f"?by={said}" if said else ""), by=by)
    assert isinstance(wish, Wish) and wish.said.by == known
