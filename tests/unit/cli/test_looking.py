"""``portlb slots``, ``tables``, ``vips``, ``top``, ``support``."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from portlb_app.cli import config, main, support, tables, top, view, watch
from portlb_app.cli.rates import Rates, share
from portlb_app.cli.scrape import samples
from portlb_app.cli.slots import picture
from tests.support.fake_controller import FakeController


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeController:
    made = FakeController()
    for module in (view, tables, top, support, config):
        monkeypatch.setattr(module, "controller_of", lambda _options: made)
    return made


def printed(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> list[str]:
    assert main(list(words)) == code
    return capsys.readouterr().out.splitlines()


def test_slots_are_a_picture(fake: FakeController, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["a"] * 32 + ["b"] * 32
    held: dict[str, Any] = {"s1": wanted, "s2": wanted, "s3": ["c", None] + wanted[2:], "s4": None}
    fake.answers["GET /v1/vips/web/ports/80/slots"] = [
        (200, {"vip": "web", "port": 80, "wanted": wanted, "held": held}),
    ]
    lines = printed(capsys, "slots", "web:80")
    assert lines[1].split() == ["a", "a", "32", "30-32"] and lines[3].split() == ["c", "c", "0", "0-1"]
    at = lines.index("s1, s2: as wanted")
    assert lines[at + 1 : at + 3] == ["    0  " + "a " * 31 + "a", "   32  " + "b " * 31 + "b"]
    at = lines.index("s3: 2 of 64 differ")
    assert lines[at + 1] == "    0  c*?*" + "a " * 29 + "a"
    assert "s4: not read, or without this pool" in lines


def test_large_pools_are_numbers(fake: FakeController, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = [f"a{slot % 60}" for slot in range(256)]
    body = {"vip": "web", "port": 80, "wanted": wanted, "held": {"s1": wanted}}
    fake.answers["GET /v1/vips/web/ports/80/slots?switch=s1"] = [(200, body)]
    lines = printed(capsys, "slots", "web:80", "--switch", "s1")
    assert lines[-1] == "s1: as wanted" and lines[1].split() == ["a0", "5", "5"]
    assert main(["slots", "web"]) == main(["slots", "web:x"]) == main(["slots", "x:80"]) == 2


def test_a_picture_of_another_size() -> None:
    assert [*picture(["a"], ["a", "a"], {"a": "a"})] == ["    0  a a*"]


def flow(text: str, vip: str | None = "web") -> dict[str, Any]:
    cookie = {"value": "0x1", "reason": "redirect", "vip": vip, "port": 80 if vip else None}
    return {"kind": "flow", "text": text, "table": "services", "cookie": cookie}


def test_tables(fake: FakeController, capsys: pytest.CaptureFixture[str]) -> None:
    first = "GET /v1/switches/s1/tables?which={}&limit=1000"
    group = {"kind": "group", "text": "group_id=1", "table": None, "cookie": None}
    fake.answers[first.format("wanted")] = [(200, {"entries": [flow("one"), flow("two", None)], "next": "/next"})]
    fake.answers["GET /next"] = [(200, {"entries": [group], "next": None})]
    fake.answers[first.format("held")] = [(200, {"entries": [flow("one"), flow("three\x1b")], "next": None})]
    assert printed(capsys, "tables", "s1") == [
        "one  # services: redirect web:80", "two  # services: redirect", "group group_id=1",
    ]  # fmt: skip
    assert printed(capsys, "tables", "s1", "--actual", "--vip", "web")[1] == "three\\x1b  # services: redirect web:80"
    assert printed(capsys, "tables", "s1", "--diff", code=3) == [
        "+ two  # services: redirect", "+ group group_id=1", "- three\\x1b  # services: redirect web:80",
    ]  # fmt: skip
    assert printed(capsys, "tables", "s1", "--diff", "--vip", "none") == []
    assert main(["tables", "s2"]) == main(["tables", "s2", "--diff"]) == 2


def test_vips(fake: FakeController, capsys: pytest.CaptureFixture[str]) -> None:
    def vip(name: str, state: str) -> dict[str, Any]:
        return {
            "name": name, "addresses": ["10.0.0.100", "2001:db8::1"], "mac": "02:00:00:00:00:64", "number": 7,
            "default_server": None, "state": state, "ports": {"22": "ok", "80": state}, "servers": ["a"],
        }  # fmt: skip

    fake.answers["GET /v1/vips"] = [(200, {"vips": [vip("a", "ok"), vip("b", "empty")], "next": None})]
    lines = printed(capsys, "vips")
    assert lines[1].split() == ["b", "empty", "10.0.0.100,2001:db8::1", "-", "1", "22,", "80", "(empty)"]


def metrics(packets: float, read_at: float) -> str:
    return (
        "# HELP portlb_server_packets_total Packets\n"
        f'portlb_server_packets_total{{vip="web",server="a",direction="to_server"}} {packets}\n'
        f'portlb_pool_packets_total{{vip="web",port="80"}} {packets}\n'
        f'portlb_switch_last_read_timestamp_seconds{{switch="s1"}} {read_at}\nportlb_x{{ broken\n'
    )


def test_rates_are_those_between_reads() -> None:
    rates = Rates()
    for packets, read_at, expected in (
        (100, 10.0, None), (100, 10.0, None), (600, 15.0, 100.0), (600, 15.0, 100.0), (600, 20.0, 0.0), (5, 25.0, None),
        (15, 30.0, 2.0),
    ):  # fmt: skip
        rates.take(samples(metrics(packets, read_at)), {"a": "s1"})
        assert (rates.of_server("a", "to_server"), rates.of_pool("web", 80)) == (expected, expected)
    assert rates.of_server("a", "from_server") is None and share(1.0, 0.0) is None and share(1.0, 4.0) == 25.0


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0"), (12.34, "12.3"), (340.0, "340"), (1234.0, "1.2k"), (999999.0, "1.0M"), (5e13, "50.0T")],
)
def test_numbers(value: float | None, text: str) -> None:
    assert top.number(value) == text


def test_config(fake: FakeController, capsys: pytest.CaptureFixture[str]) -> None:
    """The text as it is, or every value and where it comes from."""
    fake.answers["GET /v1/config"] = [(200, b"a: 1 # as it is\n")]
    assert printed(capsys, "config") == ["a: 1 # as it is"]
    override = {"replaced": "ready", "reason": "ker\x1bnel", "by": "root", "since": "x", "until": None}
    used = [{"server": "a", "weight": 0, "slots": 0, "reason": "wanted drain"}]
    values = [
        {"path": "servers.a.state", "value": "drain", "source": "override", "override": override, "used": None},
        {"path": "vips.web.redirect_ports.80.servers", "value": ["a"], "source": "file", "override": None},
    ]
    values[1]["used"] = used
    fake.answers["GET /v1/config/effective?under=servers.a&source=override&limit=1000"] = [
        (200, {"etag": "x", "values": values[:1], "next": "/v1/config/effective?cursor=y"})
    ]
    fake.answers["GET /v1/config/effective?cursor=y"] = [(200, {"etag": "x", "values": values[1:], "next": None})]
    lines = [line.split() for line in printed(capsys, "config", "servers.a", "--source", "override")]
    assert lines[1][:3] == ["servers.a.state", "override", "drain"]
    assert lines[1][3:] == ["in", "place", "of", "ready;", "ker\\x1bnel;", "by", "root"]
    assert lines[2] == ["vips.web.redirect_ports.80.servers", "file", '["a"]']
    assert lines[5] == ["vips.web.redirect_ports.80", "a", "0", "0", "wanted", "drain"]
    fake.answers["GET /v1/config/effective?limit=1000"] = [(200, {"etag": "x", "values": values, "next": None})]
    assert json.loads("".join(printed(capsys, "config", "--effective", "-o", "json")))["values"] == values
    assert main(["config", "x"]) == main(["config", "-o", "json"]) == 2


def test_top(fake: FakeController, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    server = {
        "name": "a", "vip": "web", "connector": "s1:2", "seen": {"state": "up"},
        "held": {"slots": 64, "pools": [{"of": 256}]},
    }  # fmt: skip
    fake.answers["GET /v1/servers?limit=1000"] = [(200, {"servers": [server, {**server, "name": "b", "vip": "dns"}]})]
    fake.answers["GET /v1/pools?limit=1000"] = [(200, {"pools": [{"vip": "web", "port": 80, "state": "ok"}]})]
    agent = {"server": "a", "open": 17, "per_second": {"openings": 2.5}}
    fake.answers["GET /v1/status"] = [(200, {"agents": [agent]})]
    fake.answers["GET /metrics"] = [(200, metrics(*each).encode()) for each in ((0, 10.0), (5000, 15.0))]
    lines = [line.split() for line in printed(capsys, "top", "--count", "2", "--vip", "web")]
    last = [line for line in lines if line[:1] == ["a"]][-1]
    assert last[:11] == ["a", "web", "up", "25", "100", "1.0k", "-", "-", "-", "17", "2.5"]
    assert lines[-1] == ["web:80", "ok", "1.0k"] and not [line for line in lines if line[:1] == ["b"]]


def test_support(fake: FakeController, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in support.RESOURCES.values():
        fake.answers[f"GET {path}"] = [(200, {"switches": [{"name": "s1"}]})]
    fake.answers["GET /v1/config"] = [(200, b"a:\n  token: x1\n# b\nmac: y\n")]
    fake.answers["GET /v1/switches/s1/tables?which=wanted&format=text"] = [(200, b"flows")]
    fake.answers["GET /v1/switches/s1/tables?which=held&format=text"] = [(409, {"error": "not read"})]
    del fake.answers["GET /v1/checks"]
    directory = tmp_path / "new"
    assert main(["support", str(directory)]) == 1
    assert "which=held&format=text: 409" in (directory / "problems.txt").read_text()
    assert "the controller has no /v1/checks\n" in (directory / "about.txt").read_text()
    assert not (directory / "checks.json").exists()
    assert (directory / "config.yaml").read_bytes() == b"a:\n  token: left out\n# b\nmac: y\n"
    assert (directory / "tables-s1-wanted.txt").read_bytes() == b"flows"
    modes = {stat.S_IMODE(each.stat().st_mode) for each in directory.iterdir()}
    assert (modes, stat.S_IMODE(directory.stat().st_mode)) == ({0o600}, 0o700)
    assert "connections.json" not in {each.name for each in directory.iterdir()}
    fake.answers["GET /v1/switches/s1/tables?which=held&format=text"] = [(200, b"flows")]
    assert main(["support", str(directory)]) == 2
    assert main(["support", str(tmp_path / "other")]) == 0


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (b'{"api_token": "a\\"b", "b": 1}', b'{"api_token": "left out", "b": 1}'),
        (b"- Password: x y\nports: 1\n", b"- Password: left out\nports: 1\n"),
        (b'{"secret":17}', b'{"secret":"left out"}'),
        (b"say: no tokens: here\n", b"say: no tokens: here\n"),
    ],
)
def test_secrets_are_left_out(text: bytes, kept: bytes) -> None:
    assert support.without_secrets(text) == kept


def test_a_count_ends_it(fake: FakeController) -> None:
    looks = iter(range(9))
    assert watch.repeat(fake, lambda: ([], next(looks)), seconds=0.0, count=1) == 0
    assert next(looks) == 1
