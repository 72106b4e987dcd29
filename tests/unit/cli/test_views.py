"""What commands show: forms, colours, exit codes, and again and again."""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from portlb_app.cli import colour, main, progress, table, view, watch
from portlb_app.cli.rest_client import Controller
from tests.support.fake_controller import FakeController

SWITCHES = [
    {
        "name": name, "dpid": "0x1", "state": state, "flows": 239, "groups": 3, "meters": 7,
        "metered": {"opening": 2}, "drift": 0, "errors": ["it is full\x1b[2J"] if state == "error" else [],
        "ports": ports, "read_age_seconds": 3.5,
    }
    for name, state, ports in (
        ("s1", "synced", []),
        ("s2", "synced", [{"number": 3, "name": "v3\x07", "use": "connector of b", "problem": "no carrier"}]),
        ("s3", "error", []),
    )
]  # fmt: skip
POOLS = [
    {"vip": "web", "port": port, "state": state, "slots": 256, "legacy": "drop", "servers": [
        {"name": "a", "wanted": "ready", "seen": "up", "slots": 256},
    ]}
    for port, state in ((80, "ok"), (22, "degraded"))
]  # fmt: skip
PROBLEM = {"kind": "server", "name": "b", "words": "down in web:22: http 503", "seconds": 41.0}
STATUS: dict[str, Any] = {
    "version": "0.2.0", "generation": 3, "etag": "x", "configuration": "verified", "problem": None, "problems": [],
    "switches": SWITCHES, "links": [{"ends": ["s1:1", "s2:1"], "up": True, "seen": "up", "hold_seconds": 0.0},
                                    {"ends": ["s1:2", "s3:1"], "up": False, "seen": "down", "hold_seconds": 1.5}],
    "pools": [], "agents": [],
}  # fmt: skip


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeController:
    made = FakeController()
    monkeypatch.setattr(view, "controller_of", lambda _options: made)
    made.answers["GET /v1/status"] = [(200, STATUS)]
    made.answers["GET /v1/pools?limit=1000"] = [(200, {"pools": POOLS})]
    return made


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(list(words)) in (0, 4)
    return capsys.readouterr().out.splitlines()


def test_the_forms(fake: FakeController, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "switches", "-o", "name") == ["s3", "s2", "s1"]
    as_json = json.loads("\n".join(printed(capsys, "switches", "-o", "json")))
    assert sorted(each["name"] for each in as_json["switches"]) == ["s1", "s2", "s3"]
    assert yaml.safe_load("\n".join(printed(capsys, "switches", "-o", "yaml"))) == as_json
    headed, bare = printed(capsys, "switches"), printed(capsys, "switches", "--no-headers")
    assert headed[0].split()[:3] == ["SWITCH", "STATE", "DATAPATH"] and len(headed) == len(bare) + 1
    assert bare[1].split()[-4:] == ["port", "3:", "no", "carrier"]
    assert "METERED" in printed(capsys, "switches", "-o", "wide")[0]
    assert " 3s " in headed[1] and "T" in printed(capsys, "switches", "-o", "wide")[1]


@pytest.mark.parametrize("form", ["table", "wide", "json", "yaml", "name"])
def test_nothing_moves_the_cursor(form: str, fake: FakeController, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("switches", "status", "links", "pools"):
        assert all(line.isprintable() for line in printed(capsys, command, "-o", form))


def test_status_says_whether_a_person_is_needed(fake: FakeController, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    assert "all is well; configuration 3 is verified" in capsys.readouterr().out
    fake.answers["GET /v1/status"] = [(200, {**STATUS, "problems": [PROBLEM]})]
    assert main(["status"]) == 4
    lines = capsys.readouterr().out.splitlines()
    assert "1 problem;" in lines[0]
    assert lines[3].split() == ["server", "b", "41s", "down", "in", "web:22:", "http", "503"]
    order = [line.split()[0] for line in lines if line]
    assert order.index("PROBLEM") < order.index("web:22") < order.index("web:80") < order.index("s3")
    assert printed(capsys, "status", "-o", "name") == ["server/b"]


def test_a_screen_has_room_for_all(fake: FakeController, capsys: pytest.CaptureFixture[str]) -> None:
    many = [{**PROBLEM, "name": f"b{number}"} for number in range(100)]
    fake.answers["GET /v1/status"] = [(200, {**STATUS, "problems": many})]
    lines = printed(capsys, "status")
    assert "… and 88 more: portlb status -o json" in lines and len(lines) < 40


def test_links_that_are_not_used_come_first(fake: FakeController, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.split() for line in printed(capsys, "links")]
    assert lines[1] == ["s1:2", "-", "s3:1", "down", "1.5"] and lines[2][-2:] == ["up", "-"]


def test_one_server(fake: FakeController, capsys: pytest.CaptureFixture[str]) -> None:
    fake.answers["GET /v1/servers/b"] = [(200, {
        "name": "b", "vip": "web", "connector": "s1:3",
        "wanted": {"state": "drain", "configured": "ready", "source": "override", "reason": "kernel", "by": "root",
                   "since": "2020-01-01T00:00:00Z", "until": None, "deadline": None, "move": False},
        "seen": {"state": "up", "reason": "", "since": None},
        "held": {"state": "none", "slots": 0, "pools": [
            {"vip": "web", "port": 22, "of": 256, "wanted": 0, "held": {"s1": 0, "s2": 4}}]},
        "weight": {"configured": 1, "override": None, "used": 0},
        "drain": {"state": "draining", "open": 17, "source": "agent", "since": "2020-01-01T00:00:00Z",
                  "quiet_seconds": None, "reason": ""},
    })]  # fmt: skip
    fake.answers["GET /v1/checks?server=b&limit=1000"] = [(200, {"counts": {}, "checks": [
        {"server": name, "vip": "web", "ports": [22], "version": 4, "check": "tcp", "up": True, "streak": 8,
         "needed": 2, "last": {"verdict": "passed", "reason": "SYN-ACK", "at": 1795846131.9}, "reason": None,
         "held": None} for name in "b"]})]  # fmt: skip
    lines = printed(capsys, "server", "b")
    assert "wanted     drain (by override, in place of ready, for " in "\n".join(lines)
    assert "why        kernel; by root; draining" in lines and "drain      draining, 17 open" in lines
    assert sum(line.startswith("tcp ") for line in lines) == 1
    assert lines[-1].split() == ["web:22", "s2", "4", "0", "256"]
    assert main(["server", "x"]) == 2


def test_connections(fake: FakeController, capsys: pytest.CaptureFixture[str]) -> None:
    record = {"vip": "web", "client": "2001:db8::7", "client_port": 40412, "opened_on": 22, "continued_on": 7,
              "server": "c", "opened": 1764000000.125, "closed": 1764000004.75, "how": "fin"}  # fmt: skip
    unknown = {**record, "server": None, "opened": None, "how": "unknown", "closed": None}
    fake.answers["GET /v1/connections?vip=web&limit=5"] = [(200, {"connections": [record, unknown]})]
    lines = printed(capsys, "connections", "--vip", "web", "--limit", "5", "-o", "wide")
    assert lines[1].split() == ["[2001:db8::7]:40412", "web", "22", "7", "c", "2025-11-24T16:00:00Z",
                                "2025-11-24T16:00:04Z", "4s", "fin"]  # fmt: skip
    assert lines[2].split() == ["[2001:db8::7]:40412", "web", "22", "7", "-", "unknown"]


def test_colours_are_words_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert colour.is_wanted(Terminal()) and not colour.is_wanted(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colour.is_wanted(Terminal())
    style = table.Style(0.0, coloured=True)
    painted = [*table.lines([("A", "B"), ("down", "17"), ("seldom", "1")], style)]
    assert painted == ["A        B", "\x1b[31mdown\x1b[0m    17", "seldom   1"]


def test_bars() -> None:
    assert progress.bar(1, 4) == "[######..................]"
    assert (progress.bar(9, 4), progress.bar(0, 0)) == (f"[{'#' * 24}]", f"[{'.' * 24}]")


def test_bars_are_on_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, is_shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        progress.Progress().show(1, 2, "s1\x1b[2J")
        assert ("[####" in stream.getvalue(), "\x1b[2J" in stream.getvalue()) == (is_shown, False)


class Looks:
    """Gives screens, and is interrupted where there are none left."""

    def __init__(self, *screens: str) -> None:
        self._screens = [*screens]

    def __call__(self) -> tuple[list[str], int]:
        return [self._screens.pop(0)], len(self._screens)


def interrupt_after(monkeypatch: pytest.MonkeyPatch, count: int) -> list[float]:
    """Nothing sleeps; ^C comes at the last of so many pauses."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == count:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", pause)
    return pauses


def test_watching_prints_changes(
    fake: FakeController, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt_after(monkeypatch, 3)
    assert watch.repeat(fake, Looks("one", "one", "two"), seconds=1.0) == 0
    assert capsys.readouterr().out == "one\ntwo\n"


def test_watching_redraws_a_terminal(fake: FakeController, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_after(monkeypatch, 2)
    monkeypatch.setenv("LINES", "4")
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    assert watch.repeat(fake, lambda: ([f"line {number}" for number in range(9)], 4), seconds=1.0) == 4
    assert terminal.getvalue().count("\x1b[H") == 3 and "… and 7 lines more" in terminal.getvalue()
    assert "line 2" not in terminal.getvalue() and terminal.getvalue().endswith("\x1b[?7h")


def test_watching_goes_on_without_an_answer(
    fake: FakeController, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt_after(monkeypatch, 2)
    looks = Looks("here again")
    answers = [Controller("http://127.0.0.1:1").ask, lambda *_: None]

    def look() -> tuple[list[str], int]:
        answers.pop(0)("GET", "/v1/status")
        return looks()

    assert watch.repeat(fake, look, seconds=1.0) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["here again"]


def test_an_event_ends_the_wait(fake: FakeController, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one it would last an hour."""
    monkeypatch.setattr(watch, "POLL_SECONDS", 3600.0)
    monkeypatch.setattr(watch, "HEARD_SECONDS", 3600.0)
    fake.events = [b": alive\n", b"id: 1-1\n", b"data: {}\n"]
    watch.Bell(fake).wait()


def test_what_happens_before_events_are_told_is_seen(
    fake: FakeController, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The controller begins to tell events after the first look, and none of what has happened until then."""
    monkeypatch.setattr(watch, "POLL_SECONDS", 3600.0)
    monkeypatch.setattr(watch, "HEARD_SECONDS", 3600.0)
    is_drawn, is_over = threading.Event(), threading.Event()

    def stream(path: str) -> Iterator[bytes]:
        is_drawn.wait(60)
        yield b"retry: 2000\n"
        is_over.wait(60)

    screens = iter(("before", "after"))

    def look() -> tuple[list[str], int]:
        return [next(screens)], 0

    monkeypatch.setattr(fake, "stream", stream)
    monkeypatch.setattr(watch, "flush", is_drawn.set)
    assert watch.repeat(fake, look, count=2) == 0
    is_over.set()
    assert capsys.readouterr().out == "before\nafter\n"


def test_an_interrupt_means_the_same_at_any_moment(fake: FakeController, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the first look: nothing has been seen, and there is no exit code."""
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    answers = iter((4, None, None))

    def look() -> tuple[list[str], int]:
        code = next(answers)
        if code is None:
            raise KeyboardInterrupt
        return [], code

    assert watch.repeat(fake, look, seconds=1.0) == 4
    with pytest.raises(KeyboardInterrupt):
        watch.repeat(fake, look, seconds=1.0)


def test_requests_are_shown_as_curl_sends_them() -> None:
    headers = {"Content-Type": "application/json"}
    by_tcp = Controller("http://127.0.0.1:8080/")
    assert by_tcp.curl("GET", "/v1/servers?vip=a&state=up", None, {}) == (
        "curl 'http://127.0.0.1:8080/v1/servers?vip=a&state=up'"
    )
    assert Controller("unix:///run/p.sock").curl("PUT", "/v1/x", '{"a": 1}', headers) == (
        "curl -X PUT --unix-socket /run/p.sock -H 'Content-Type: application/json' --data-binary '{\"a\": 1}' "
        "http://localhost/v1/x"
    )
    assert "x" not in by_tcp.curl("PUT", "/v1/config", "x" * 2000, {})
