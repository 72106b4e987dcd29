"""``portlb explain connection``: what is said of each kind of record."""

from __future__ import annotations

import json
from typing import Any

import pytest

from portlb_app.cli import explain, logged, main
from tests.support.fake_controller import FakeController

CLIENT = "192.0.2.1:4000"
LOG = f"GET /v1/connections?client={CLIENT}&limit=5"
ASK = "GET /v1/ask?vip=web&port=80&source=192.0.2.1&source_port=4000"
POOL = "GET /v1/vips/web/ports/80"
OWN = "GET /v1/config/effective?under=servers.b.service_ports"
OPEN = {
    "vip": "web", "client": "192.0.2.1", "client_port": 4000, "opened_on": 80, "continued_on": None, "server": None,
    "opened": 1000.0, "closed": None, "how": None,
}  # fmt: skip


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeController:
    made = FakeController()
    monkeypatch.setattr(explain, "controller_of", lambda _options: made)
    made.answers[POOL] = [(200, {"port": 80, "legacy": "balance", "second_chance": 86400})]
    made.answers[ASK] = [(200, {"server": "b", "switches": [{"slot": 173}, {"slot": None}]})]
    ports = [{"port": 7, "application": 80}, {"port": 8, "application": 443}]
    made.answers[OWN] = [(200, {"values": [{"value": ports}]})]
    return made


def told(fake: FakeController, *records: dict[str, Any]) -> list[str]:
    fake.answers[LOG] = [(200, {"connections": list(records)})]
    found, code = logged.explain(fake, CLIENT)
    assert code == 0
    return list(logged.lines(found, 1012.0))


def test_an_open_one_has_its_slot_and_what_would_move_it(fake: FakeController) -> None:
    assert told(fake, OPEN) == [
        "192.0.2.1:4000 of web: opened on 80 12s ago, open",
        "  its slot is 173, as the switches say: b has it now",
        "  a redirected one names its server (port 7, if b had the slot when it opened): no change of the pool moves "
        "it, and it ends with its service port",
        "  a plain one has the server of its slot (legacy: balance): it breaks when the slot moves, unless the server "
        "that had the slot before has an agent (second chance, 86400 s)",
    ]


@pytest.mark.parametrize("legacy", logged.PLAIN)
def test_plain_ones_are_where_the_policy_has_them(fake: FakeController, legacy: str) -> None:
    fake.answers[POOL] = [(200, {"port": 80, "legacy": legacy, "second_chance": 0})]
    last = told(fake, OPEN)[-1]
    assert f"legacy: {legacy}" in last and "second chance" not in last and "{" not in last


def test_what_switches_do_not_tell_is_not_known(fake: FakeController) -> None:
    fake.answers[ASK] = [(504, {"error": "no switch has answered"})]
    assert told(fake, OPEN)[1:3] == [
        "  its slot is not known: no switch that has the pool has told it",
        "  a redirected one names its server: no change of the pool moves it, and it ends with its service port",
    ]
    fake.answers[ASK] = [(200, {"server": None, "switches": [{"slot": 5}]})]
    assert told(fake, OPEN)[1] == "  its slot is 5, as the switches say"


def test_one_that_has_ended_and_one_at_a_service_port(fake: FakeController) -> None:
    ended = {**OPEN, "continued_on": 7, "server": "b", "closed": 1002.0, "how": "fin"}
    lost = {**OPEN, "opened": None, "opened_on": None, "how": "unknown"}
    of_service = {**OPEN, "opened_on": 8001, "server": "a"}
    assert told(fake, of_service, ended, lost) == [
        "192.0.2.1:4000 of web: opened on 8001 12s ago, open, at a",
        "  8001 is no redirect port: all its packets name the server that owns it",
        "192.0.2.1:4000 of web: opened on 80 12s ago, ended 10s ago (fin), at b",
        "  it was redirected: it went on at port 7 of b",
        "192.0.2.1:4000 of web: nothing was heard of its end",
    ]


def test_the_command(fake: FakeController, capsys: pytest.CaptureFixture[str]) -> None:
    fake.answers[LOG] = [(200, {"connections": [OPEN]})]
    assert main(["explain", "connection", CLIENT, "-o", "json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["connections"]
    assert (found["slot"], found["slot_of"], found["opened_on"]) == (173, "b", 80)
    fake.answers[LOG] = [(200, {"connections": []})]
    assert main(["explain", "connection", CLIENT]) == 2
    assert "the log has no connection of 192.0.2.1:4000" in capsys.readouterr().err
    fake.answers["GET /v1/connections?client=x&limit=5"] = [(400, {"error": "client is an address"})]
    assert main(["explain", "connection", "x"]) == 2
    for words in (["connection"], ["connection", CLIENT, "--ask"], ["connection", CLIENT, "x"]):
        assert main(["explain", *words]) == 2
    fake.answers[LOG] = [(503, {"error": "busy"})]
    assert main(["explain", "connection", CLIENT]) == 1
