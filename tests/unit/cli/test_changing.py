"""``portlb apply``, ``diff``, ``resync``: what is sent, what is printed, and the exit codes."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from portlb_app.cli import apply, diff, main, resync
from portlb_app.cli.output import Failed
from tests.support.fake_controller import FakeController

DRY = {
    "dry_run": True,
    "changes": True,
    "switches": {"s1": {"add": 12, "modify": 3, "delete": 0}, "s2": None},
    "pools": [
        {
            "vip": "web", "port": 80, "slots": 256, "moved": 30, "least_possible": 26,
            "servers": {"a": [26, 0], "b": [230, 230], "e": [0, 26]}, "plain": "balance", "breaks_plain": True,
            "udp_slots_moved": 30, "redirected_connections_broken": 0,
        }
    ],
    "service_ports_lost": {},
    "warnings": [{"path": "servers.a", "message": "is not there\x1b[2J"}],
}  # fmt: skip
SAME = {**DRY, "changes": False, "pools": [], "warnings": []}
HEADING = ("SWITCH  MADE_OF_IT",)
TEXT = "vips: {} # a comment, and ü\n"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeController:
    made = FakeController()
    for module in (apply, diff, resync):
        monkeypatch.setattr(module, "controller_of", lambda _options: made)
    return made


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "lb.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


def live(**landed: str) -> dict[str, Any]:
    return {"generation": 4, "etag": '"x"', "configuration": "verified", "landed": landed, "switches": []}


def test_diff_says_what_would_change(fake: FakeController, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    fake.answers["PUT /v1/config?dry_run=1"] = [(200, DRY)]
    assert main(["diff", file]) == 3
    assert fake.asked == [("PUT /v1/config?dry_run=1", TEXT, {})]
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:3] == [["s1", "12", "3", "0"], ["s2", "-", "-", "-"]]
    assert lines[5] == [
        *("web:80", "256", "30", "plain", "clients,", "UDP", "a", "26", "to", "0,", "e", "0", "to", "26"),
    ]
    assert lines[6] == ["warning:", "servers.a:", "is", "not", "there\\x1b[2J"]


def test_diff_of_what_is_live(fake: FakeController, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    fake.answers["PUT /v1/config?dry_run=1"] = [(200, SAME)]
    assert main(["diff", file]) == 0
    assert capsys.readouterr().out == "nothing would change\n"


def test_a_dry_run_is_done_when_it_has_said_it(
    fake: FakeController, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.answers["PUT /v1/config?dry_run=1"] = [(200, DRY)]
    assert main(["apply", file, "--dry-run", "--if-match", '"x"', "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == DRY
    assert fake.asked[0][2] == {"If-Match": '"x"'}


@pytest.mark.parametrize(
    ("landed", "code", "shown"),
    [
        ({"s1": "has it"}, 0, ["configuration 4 is live, verified: 1 switch has it"]),
        ({"s1": "has it", "s2": "has it"}, 0, ["configuration 4 is live, verified: 2 switches have it"]),
        ({"s1": "has it", "s2": "absent"}, 0, ["configuration 4 is live, verified", *HEADING, "s2      absent"]),
        ({"s1": "has it", "s2": "late"}, 3, ["configuration 4 is live, verified", *HEADING, "s2      late"]),
    ],
)  # fmt: skip
def test_what_landed_where(
    landed: dict[str, str], code: int, shown: list[str], fake: FakeController, file: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    fake.answers["PUT /v1/config?wait=accepted&timeout=30"] = [(202 if code else 200, live(**landed))]
    assert main(["apply", file, "--wait", "accepted", "--timeout", "30"]) == code
    assert capsys.readouterr().out.splitlines() == shown


@pytest.mark.parametrize(
    ("status", "body", "code", "errors"),
    [
        (422, {"error": "mistakes", "errors": [{"path": "vips", "message": "none"}, {"path": "", "message": "x"}]}, 2,
         ["portlb: mistakes", "vips: none", "x"]),
        (409, {"error": "refused", "switches": {"s1": ["table\x1b[2J full", "bad"]}}, 1,
         ["portlb: refused", "s1: table\\x1b[2J full; bad"]),
        (504, {"error": "late", "switches": ["s1", "s2"]}, 3,
         ["portlb: late", "s1: does not have it", "s2: does not have it"]),
        (412, {"error": "another one", "switches": None, "errors": None}, 1, ["portlb: another one"]),
        (412, {"error": "another one", "diff": "--- meant\n+++ live\n-a: 1\x1b[2J\n"}, 1,
         ["portlb: another one", "--- meant", "+++ live", "-a: 1\\x1b[2J"]),
    ],
)  # fmt: skip
def test_a_line_for_each_mistake(
    status: int, body: dict[str, Any], code: int, errors: list[str], fake: FakeController, file: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    fake.answers["PUT /v1/config?wait=applied"] = [(status, body)]
    assert main(["apply", file]) == code
    assert capsys.readouterr() == ("", "".join(f"{line}\n" for line in errors))


def test_what_is_not_waited_for_is_a_change(
    fake: FakeController, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.answers["PUT /v1/config?wait=none"] = [(202, {"change": 7, "href": "/v1/changes/7"})]
    assert main(["apply", file, "--wait", "none"]) == 0
    assert main(["apply", file, "--wait", "none", "-o", "name"]) == 0
    assert capsys.readouterr().out == "change 7 goes on: portlb changes 7\n7\n"


def test_no_file_is_asked_about(fake: FakeController, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["apply", str(tmp_path / "none")]) == main(["diff", str(tmp_path / "none")]) == 1
    (tmp_path / "latin").write_bytes(b"\xff")
    assert main(["apply", str(tmp_path / "latin")]) == 1
    assert not fake.asked


class Slow(FakeController):
    """Answers a PUT when the status was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.looked = threading.Event()

    def text(self, method: str, path: str, *rest: Any) -> tuple[int, bytes]:
        if method == "PUT":
            assert self.looked.wait(60)
        else:
            self.looked.set()
        return super().text(method, path, *rest)


def test_how_far_it_is_is_shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    slow, shown = Slow(), list[str]()
    states = [{"name": "s1", "state": "synced"}, {"name": "s2", "state": "applying"}]
    slow.answers["GET /v1/status"] = [(200, {"switches": states})]
    slow.answers["PUT /v1/config?wait=applied"] = [(200, live(s1="has it"))]
    monkeypatch.setattr(apply, "controller_of", lambda _options: slow)
    monkeypatch.setattr(apply, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stderr, "write", shown.append)
    assert main(["apply", file]) == 0
    assert any("[############............] switches: 1 applying, 1 synced" in each for each in shown)


def test_a_controller_that_goes(monkeypatch: pytest.MonkeyPatch, fake: FakeController, file: str) -> None:
    def gone(*_: Any) -> tuple[int, bytes]:
        raise Failed("gone")

    monkeypatch.setattr(fake, "text", gone)
    assert main(["apply", file]) == 1


def test_resync_waits_for_a_read_of_its_own(
    fake: FakeController, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(resync, "LOOK_SECONDS", 0.0)
    fake.answers["POST /v1/switches/s1/resync"] = [(202, {"switch": "s1", "state": "synced"})]
    read = {"state": "synced", "flows": 9, "groups": 2}
    fake.answers["GET /v1/switches/s1"] = [
        (200, {**read, "read_age_seconds": 500.0}), (200, {**read, "state": "reading", "read_age_seconds": 0.0}),
        (200, {**read, "read_age_seconds": 0.0}),
    ]  # fmt: skip
    assert main(["resync", "s1"]) == 0
    assert capsys.readouterr().out == "s1: synced, 9 flows and 2 groups\n" and len(fake.asked) == 4
    fake.answers["GET /v1/switches/s1"] = [(200, {**read, "state": "applying", "read_age_seconds": 9.0})]
    fake.answers["POST /v1/switches/s2/resync"] = [(409, {"error": "s2 is not connected"})]
    assert main(["resync", "s1", "s2", "--wait", "0"]) == 1
    monkeypatch.setattr("time.monotonic", iter([0.0, 2.0]).__next__)
    assert main(["resync", "s1", "--wait", "1"]) == 3
    assert main(["resync", "x"]) == 2
