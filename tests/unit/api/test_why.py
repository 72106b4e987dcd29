"""``GET /v1/servers/{server}/why``: the answer, the evidence for it, and what would change it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from portlb_app.api.event_ring import EventRing
from portlb_app.api.messages import Request, Response
from portlb_app.api.models.servers import ServerWhy
from portlb_app.api.routes import respond
from portlb_app.api.snapshot import RefusedConnections, Snapshot
from portlb_app.backends import Backends
from portlb_app.backends.states import PORT, Evidence, check_source
from portlb_app.compiler.vips_by_switch import VipsBySwitch
from portlb_app.config import Config, Wanted, load
from portlb_app.config.overrides import NONE, Override, Overrides
from portlb_app.health.judgement import Judge
from portlb_app.health.line_state import LineState
from portlb_app.health.probe import Result, Verdict
from portlb_app.health.targets import lines
from portlb_app.net.heartbeat import Heartbeat, State
from portlb_app.reconcile.happened import Happened
from portlb_app.reconcile.status import Status, SwitchStatus
from portlb_app.topology.conditions import AS_CONFIGURED, HeldSlots
from tests.support.sources import ROOT

FIG2 = (ROOT.parent / "flows/fig2/lb.yaml").read_text()
NOW = 1_764_000_000.0


def snapshot(config: Config, overrides: Overrides = NONE, is_read: bool = True) -> Snapshot:
    """One switch that has what is wanted, or was never read."""
    backends = Backends(config, overrides)
    held = {key: HeldSlots(slots) for key, slots in backends.tables().items()} if is_read else None
    closed = backends.conditions(config)[1] if is_read else None
    state = "synced" if is_read else "absent"
    switch = SwitchStatus("s1", 1, state, 5, 2, 1, 0, (), 0.25, held=held, closed=closed)  # type: ignore[arg-type]
    return Snapshot(
        *(Status(1, (switch,), ()), FIG2, RefusedConnections()),
        **{"epoch": NOW - 1000.0, "unix": NOW, "config": config, "overrides": overrides, "backends": backends},
        events=EventRing("a"),
    )


def asked(view: Snapshot, name: str = "b") -> dict[str, Any]:
    response = respond(Request("GET", f"/v1/servers/{name}/why", "localhost"), view)
    assert isinstance(response, Response) and response.status == 200
    value: dict[str, Any] = json.loads("".join(response.body))
    assert ServerWhy.model_validate(value).model_dump() == value
    return value


def words(value: dict[str, Any], about: str) -> list[str]:
    return [each["words"] for each in value["because"] if each["about"] == about]


def overridden(value: Wanted | int, until: float | None = None) -> Overrides:
    said = Override(value, value, "kernel", "root", NOW - 130, until)
    server = load(FIG2).server_by_name["b"]
    return NONE.put(server, "state" if isinstance(value, Wanted) else "weight", value, said)


def test_a_server_that_gets_new_connections() -> None:
    """Its slots in every pool, on every switch; nothing would have to change."""
    value = asked(snapshot(load(FIG2)))
    assert value["gets"] == "all"
    assert value["answer"] == "b gets new connections: 278 of 768 slots of 3 pools"
    assert words(value, "wanted") == ["ready by lb.yaml"]
    assert words(value, "pool web:22") == ["64 of 256 slots are wanted; s1 holds 64"]
    assert words(value, "weight") == ["1, by lb.yaml"] and words(value, "agent") == ["none is heard"]
    assert words(value, "service ports") == ["2, 6, 10: forwarded to it alone"]
    assert (value["last_change"], value["would_change"]) == (None, [])


def test_one_that_no_switch_was_read_to_hold() -> None:
    """Wanted is not held."""
    value = asked(snapshot(load(FIG2), is_read=False))
    assert value["gets"] == "not yet" and "no switch was read to hold that" in value["answer"]
    assert value["would_change"] == ["switches take it: s1"]


@pytest.mark.parametrize(
    ("overrides", "answer", "remedy"),
    [
        (overridden(Wanted.DRAIN), "it is wanted drain", "portlb ready b"),
        (overridden(Wanted.MAINT), "it is wanted maint", "portlb ready b"),
        (overridden(0), "it is wanted drain", "it gets a weight: portlb weight b 1"),
        (overridden(Wanted.DRAIN, NOW + 3600), "it is wanted drain", "portlb ready b, or 2025-11-24T17:00:00Z comes"),
    ],
)
def test_one_that_is_wanted_out(overrides: Overrides, answer: str, remedy: str) -> None:
    """By whom, why, and how it comes back."""
    value = asked(snapshot(load(FIG2), overrides))
    assert (value["gets"], value["answer"]) == ("none", f"b gets no new connections: {answer}")
    assert value["would_change"] == [remedy]
    if "weight" not in remedy:
        assert words(value, "wanted")[0].startswith(f"{answer.split()[-1]} by an override of root")
    if answer.endswith("maint"):
        assert words(value, "service ports") == ["closed: nothing of clients reaches it"]


def test_one_that_lb_yaml_keeps_out() -> None:
    """The file, or an override of it, brings it back."""
    config = load(FIG2.replace("  b:\n    vip: web", "  b:\n    state: drain\n    vip: web"))
    assert asked(snapshot(config))["would_change"] == ["portlb ready b, or lb.yaml says servers.b.state: ready"]


def test_every_evidence_against_it() -> None:
    """Its port, and a check, each in a sentence; the first one is the answer."""
    view = snapshot(load(FIG2))
    view.backends.see("b", Evidence(PORT, False, "port s1:3 has no carrier", 500.0), 500.0)
    view.backends.see("b", Evidence(check_source(22, 4), False, "http 503, 3 of 3", 510.0, ("web", 22)), 510.0)
    value = asked(view)
    assert (value["gets"], value["answer"]) == (
        *("none", "b gets no new connections: it is seen down: port s1:3 has no carrier"),
    )
    assert words(value, "seen by port") == ["down: port s1:3 has no carrier"]
    assert words(value, "seen by check:22/IPv4") == ["down (web:22): http 503, 3 of 3"]
    assert "its connector s1:3 comes up" in value["would_change"]


def test_down_in_one_pool() -> None:
    """The others go on."""
    view = snapshot(load(FIG2))
    view.backends.see("b", Evidence(check_source(22, 4), False, "http 503, 3 of 3", 510.0, ("web", 22)), 510.0)
    value = asked(view)
    assert value["gets"] == "some"
    assert words(value, "pool web:22")[0] == "it is down there: http 503, 3 of 3"


def test_checks_and_how_many_must_pass() -> None:
    """What is checked, the row of results, the last one."""
    config = load((ROOT.parent / "flows/checks/lb.yaml").read_text())
    placed = VipsBySwitch(config, AS_CONFIGURED).on(1)
    line = next(each for each in lines(1, placed) if (each.server, each.version) == ("a", 4))
    judge = Judge(line.check, False)
    judge.streak = -3
    failed = LineState(line, judge, 0.0, result=Result(Verdict.FAILED, "http 503"), at=700.0)
    view = snapshot(config)
    view.backends.see("a", Evidence(check_source(80, 4), False, "http 503", 700.0), 700.0)
    value = asked(replace(view, checks=(failed,)), "a")
    assert words(value, "check") == [f"{failed.what}: 3 in a row failed, last: http 503"]
    assert f"{failed.what} passes {line.check.rise} more times in a row" in value["would_change"]


def test_what_its_agent_says() -> None:
    """It drains by its agent's word alone."""
    view = snapshot(load(FIG2))
    view.backends.hear("b", Heartbeat(1, 1, State.DRAIN, open=17), 600.0)
    value = asked(view)
    assert value["answer"] == "b gets no new connections: its agent says that it is to get none"
    assert words(value, "agent") == ["it says that it is to get no new connections; 17 connections are open"]
    assert value["would_change"] == ["its agent says that it is ready"]


def test_the_last_event_about_it() -> None:
    """Of many, the last one that is about this server."""
    view = snapshot(load(FIG2))
    for at, name, after in ((1.0, "b", "down"), (2.0, "b", "up"), (3.0, "c", "down")):
        view.events.add(NOW + at, Happened("health", name, "unknown", after, "its port"))
    assert asked(view)["last_change"] == {
        **{"about": "health", "words": "up (was unknown): its port", "since": "2025-11-24T16:00:02Z"},
    }


def test_a_server_of_no_pool_and_one_that_there_is_not() -> None:
    """Only its service ports; 404."""
    config = load(FIG2.replace("[a, b]", "[a]").replace("[b, c, d]", "[c, d]").replace("[a, b, c, d]", "[a, c, d]"))
    value = asked(snapshot(config))
    assert (value["gets"], value["would_change"]) == ("none", ["a redirect port of web names it in its servers"])
    response = respond(Request("GET", "/v1/servers/x/why", "localhost"), snapshot(config))
    assert isinstance(response, Response) and response.status == 404
