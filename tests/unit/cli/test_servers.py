"""``portlb servers``, ``pools``, ``drain``, ``ready``, ``maint``, ``weight``, and a controller that says anything."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from portlb_app.cli import drain, main, table, times
from portlb_app.cli.servers import urgency


class Fake:
    """A controller. `answers`: by method and path what it answers in turn; the last one again and again."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, Any]]] = {}
        self.asked: list[tuple[str, Any]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = f"{self.command} {self.path}"
                fake.asked.append((request, json.loads(body) if body else None))
                answers = fake.answers.get(request, [(404, {"error": f"there is no {self.path}"})])
                status, said = answers.pop(0) if len(answers) > 1 else answers[0]
                data = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_DELETE = do_POST = do_PATCH = answer  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    started = Fake()
    monkeypatch.setenv("PORTLB_CONTROLLER", started.url)
    yield started
    started.close()


def server(name: str, wanted: str = "ready", seen: str = "up", slots: int = 64, **drained: Any) -> dict[str, Any]:
    """What REST says about a server."""
    return {
        "name": name,
        "vip": "web",
        "wanted": {
            "state": wanted, "configured": "ready", "source": "file" if wanted == "ready" else "override",
            "reason": "" if wanted == "ready" else "kernel", "by": "" if wanted == "ready" else "root",
            "since": None if wanted == "ready" else "2020-01-01T00:00:00Z", "until": None, "deadline": None,
        },
        "seen": {"state": seen, "reason": "port s1:5 has no carrier" if seen == "down" else "", "since": None},
        "held": {"state": "slots" if slots else "none", "slots": slots, "pools": []},
        "weight": {"configured": 1, "override": None, "used": 1 if wanted == "ready" else 0},
        "drain": drained or None,
    }  # fmt: skip


def draining(count: int | None, state: str = "draining", reason: str = "") -> dict[str, Any]:
    return server("b", "drain", slots=0, state=state, open=count, source="agent", reason=reason)


def run(*words: str) -> int:
    return main(list(words))


def test_servers_are_listed_worst_first(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    listed = [server("a"), draining(17), server("c", "maint", slots=0), server("d", seen="down", slots=0)]
    fake.answers["GET /v1/servers?vip=web&state=up&limit=1000"] = [(200, {"servers": listed})]
    assert run("servers", "--vip", "web", "--state", "up") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["SERVER", "VIP", "WANTED", "SEEN", "HELD", "WEIGHT", "SLOTS", "OPEN", "SINCE", "REASON"]
    assert [line[0] for line in lines[1:]] == ["d", "c", "b", "a"]
    assert lines[1].endswith("port s1:5 has no carrier")
    assert "kernel; by root; draining" in lines[3] and " 17 " in lines[3]


def test_servers_as_json(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.answers["GET /v1/servers/b"] = [(200, draining(2))]
    assert run("servers", "b", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out) == {"servers": [draining(2)]}


def test_unknown_servers_and_vips_are_wrong_input(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.answers["GET /v1/servers/b"] = [(200, draining(2))]
    fake.answers["GET /v1/servers/x%2F..%20"] = [(404, {"error": "there is no server x"})]
    assert run("servers", "b", "x/.. ") == 2
    told = capsys.readouterr()
    assert "there is no server x" in told.err and "drain" in told.out
    fake.answers["GET /v1/pools?vip=x&limit=1000"] = [(404, {"error": "there is no VIP x"})]
    assert run("pools", "--vip", "x") == 2


def test_what_servers_are_told_cannot_move_the_cursor(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = server("a", seen="down")
    hostile["seen"]["reason"] = "\x1b[2Jgone\nok"
    fake.answers["GET /v1/servers?limit=1000"] = [(200, {"servers": [hostile]})]
    assert run("servers") == 0
    assert "\\x1b[2Jgone\\nok" in capsys.readouterr().out


def test_pools_are_listed_worst_first(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    def pool(port: int, state: str, *servers: tuple[str, str, str, int]) -> dict[str, Any]:
        named = [dict(zip(("name", "wanted", "seen", "slots"), each, strict=True)) for each in servers]
        return {"vip": "web", "port": port, "state": state, "slots": 256, "servers": named}

    pools = [
        pool(22, "ok", ("a", "ready", "up", 256)),
        pool(80, "degraded", ("a", "ready", "unknown", 256), ("b", "drain", "down", 0)),
        pool(443, "empty"),
    ]
    fake.answers["GET /v1/pools?limit=1000"] = [(200, {"pools": pools})]
    assert run("pools") == 0
    lines = [line.split(None, 3) for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == ["POOL", "web:443", "web:80", "web:22"]
    assert lines[2][3] == "a 256, b 0 (drain, down)"


def test_a_wish_is_sent_with_what_is_said_about_it(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.answers["PUT /v1/servers/b/state"] = [(200, {"says": ["web:20: 128 of 256 slots move"]})]
    assert run("drain", "b", "--reason", "kernel", "--until", "2099-01-01T00:00:00Z", "--force") == 0
    ((request, body),) = fake.asked
    assert request == "PUT /v1/servers/b/state" and body.pop("by")
    assert body == {
        "state": "drain", "reason": "kernel", "until": "2099-01-01T00:00:00Z", "force": True, "deadline": None,
        "move": False,
    }  # fmt: skip
    assert capsys.readouterr().out == "web:20: 128 of 256 slots move\n"


def test_the_others(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "anna")
    fake.answers["PUT /v1/servers/a/state?dry_run=1"] = [(200, {"says": []})]
    assert run("maint", "a", "--dry-run") == run("ready", "a", "a", "--dry-run") == 0
    assert [body["state"] for _, body in fake.asked] == ["maint", "ready"]
    fake.answers["PUT /v1/servers/a/weight"] = fake.answers["DELETE /v1/servers/a/weight?by=anna"] = [(200, {})]
    assert run("weight", "a", "0") == run("weight", "a", "--unset") == 0
    assert fake.asked[-2][1]["weight"] == 0 and fake.asked[-1] == ("DELETE /v1/servers/a/weight?by=anna", None)


@pytest.mark.parametrize(
    ("status", "code"), [(200, 0), (202, 0), (404, 2), (422, 2), (409, 1), (500, 1), (503, 1), (504, 3), (403, 1)]
)
def test_exit_codes(fake: Fake, status: int, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    errors = [{"path": "until", "message": "is in the past"}]
    fake.answers["PUT /v1/servers/b/state"] = [(status, {"error": "no", "errors": errors} if code else {})]
    assert run("drain", "b") == code
    assert capsys.readouterr().err == ("portlb: no\nuntil: is in the past\n" if code else "")


def test_several_servers_are_one_request(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.answers["PATCH /v1/servers?timeout=30"] = [(200, {"says": ["web:20: 128 of 256 slots move"]})]
    assert run("drain", "b", "a", "b", "--reason", "kernel", "--move", "--timeout", "30") == 0
    assert capsys.readouterr().out == "web:20: 128 of 256 slots move\n"
    ((_, body),) = fake.asked
    values = {"state": "drain", "deadline": None, "move": True}
    assert (body["servers"], body["reason"], body["force"]) == ({"b": values, "a": values}, "kernel", False)
    fake.answers["PATCH /v1/servers"] = [(200, {})]
    assert run("maint", "--select", "switch=s1", "--select", "pool=web:22", "--force") == 0
    _, body = fake.asked[-1]
    assert (body["select"], body["set"], body["force"]) == (
        {"switch": "s1", "pool": "web:22"}, {"state": "maint"}, True,
    )  # fmt: skip
    errors = [{"path": "servers.x", "message": "there is no server x"}]
    fake.answers["PATCH /v1/servers"] = [(422, {"error": "the request has mistakes", "errors": errors})]
    assert run("ready", "a", "x") == 2
    assert capsys.readouterr().err.endswith("servers.x: there is no server x\n")
    for words in (["drain", "a", "--select", "vip=web"], ["drain"]):
        assert run(*words) == 2
    for given in ("vip", "vip=", "name=a", "=x"):
        with pytest.raises(SystemExit):
            run("drain", "--select", given)


def test_several_weights_are_one_request(fake: Fake) -> None:
    fake.answers["PATCH /v1/servers"] = [(200, {})]
    assert run("weight", "a=3", "b=0") == run("weight", "a", "b", "--unset") == 0
    assert [body["servers"] for _, body in fake.asked] == [
        {"a": {"weight": 3}, "b": {"weight": 0}}, {"a": {"weight": None}, "b": {"weight": None}},
    ]  # fmt: skip
    fake.answers["PUT /v1/servers/a/weight"] = [(200, {})]
    assert run("weight", "a=5") == run("weight", "a", "6") == 0
    assert [body["weight"] for _, body in fake.asked[2:]] == [5, 6]


def test_lists_are_read_page_by_page(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.answers["GET /v1/servers?limit=1000"] = [(200, {"servers": [server("b")], "next": "/v1/servers?cursor=x"})]
    fake.answers["GET /v1/servers?cursor=x"] = [(200, {"servers": [server("a")], "next": None})]
    assert run("servers", "-o", "name") == 0
    assert capsys.readouterr().out == "a\nb\n"
    fake.answers["GET /v1/servers?cursor=x"] = [(410, {"error": "begun anew"})]
    assert run("servers", "-o", "name") == 1


def test_those_that_are_selected_are_waited_for(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "LOOK_SECONDS", 0.01)
    fake.answers["PATCH /v1/servers"] = [(200, {"servers": []})]
    fake.answers["PATCH /v1/servers?dry_run=1"] = [(200, {"servers": ["b"]})]
    fake.answers["GET /v1/servers/b"] = [(200, draining(2)), (200, draining(0, "drained"))]
    assert run("drain", "--select", "connector=s1:3", "--wait", "60") == 0
    assert [request for request, _ in fake.asked][-1] == "GET /v1/servers/b"


def test_waiting_shows_the_count_fall(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(drain, "LOOK_SECONDS", 0.01)
    fake.answers["PUT /v1/servers/b/state"] = [(200, {"says": ["moves"]})]
    counts = [draining(62), draining(62), draining(4), draining(None, reason="no packet from it for 30 of 60 s")]
    fake.answers["GET /v1/servers/b"] = [(200, each) for each in (*counts, draining(0, "drained"))]
    assert run("drain", "b", "--wait", "60") == 0
    assert capsys.readouterr().out.splitlines() == [
        "moves", "b: 62 open (by agent)", "b: 4 open (by agent)", "b: no packet from it for 30 of 60 s",
        "b: drained after 0s (by agent)",
    ]  # fmt: skip


def test_waiting_has_an_end(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.answers["PUT /v1/servers/b/state"] = [(200, {})]
    fake.answers["GET /v1/servers/b"] = [(200, draining(1))]
    assert run("drain", "b", "--wait", "0s") == 3
    assert "not drained within 0s: b; they go on draining" in capsys.readouterr().out


def test_one_that_is_ready_again_is_not_waited_for(fake: Fake) -> None:
    fake.answers["PUT /v1/servers/b/state"] = [(200, {})]
    fake.answers["GET /v1/servers/b"] = [(200, server("b"))]
    assert run("drain", "b", "--wait", "60") == 1
    fake.answers["PUT /v1/servers/b/state"] = [(409, {"error": "last"})]
    assert run("drain", "b", "--wait", "60") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["drain", "b", "--wait", "5x"], ["drain", "b", "--until", "25:00"], ["drain", "b", "--until", "soon"],
        ["drain", "b", "--timeout", "0"], ["drain", "b", "--timeout", "301"], ["weight"], ["servers", "-o", "xml"],
    ],
)  # fmt: skip
def test_wrong_words(words: list[str], fake: Fake) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*words)
    assert caught.value.code == 2 and not fake.asked


def test_words_that_do_not_go_together(fake: Fake) -> None:
    for words in (
        *(["b"], ["b", "257"], ["b", "²"], ["b", "x"], ["b=", "a=1"], ["b=1", "b=2"], ["b=-1"], ["a", "1", "b", "2"]),
        ["b=5", "--unset"],
    ):
        assert run("weight", *words) == 2
    assert run("drain", "b", "--wait", "5", "--dry-run") == 2
    assert not fake.asked


@pytest.mark.parametrize("url", ["8080", "https://", "http://", "http://x:0", "unix://x", "http://x:99999", "ftp://x"])
def test_what_is_no_controller(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("servers", "--controller", url) == 2
    assert "is no controller" in capsys.readouterr().err


def test_a_controller_that_does_not_answer(capsys: pytest.CaptureFixture[str], fake: Fake) -> None:
    assert run("servers", "--controller", "http://127.0.0.1:1") == 1
    assert "http://127.0.0.1:1 does not answer: Connection refused" in capsys.readouterr().err
    for said in (b"<html>", b"[]", b"\xff"):
        fake.answers["GET /v1/servers?limit=1000"] = [(200, said)]
        assert run("servers") == 1
        assert "without a JSON object" in capsys.readouterr().err


def test_times() -> None:
    assert [times.duration(text) for text in ("90", "90s", "10m", "2h", "1d")] == [90, 90, 600, 7200, 86400]
    assert [table.span(seconds) for seconds in (0, 59.9, 192, 3600, 90061)] == ["0s", "59s", "3m12s", "1h", "1d1h"]
    assert times.moment("2026-12-01T06:00:00+01:00") == "2026-12-01T05:00:00Z"
    assert times.moment("06:00").endswith("00Z") and times.moment("2h").startswith("20")


def test_the_order_of_servers() -> None:
    order = [server("d", seen="down"), server("m", "maint"), draining(1), server("e", slots=0), server("a")]
    assert sorted(reversed(order), key=urgency) == order


def test_why_is_said_in_lines(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """The answer, the evidence with how old it is, the last change, and what would change it."""
    seen = {"about": "seen by port", "words": "down: no\x1b carrier", "since": times.moments.text(0.0)}
    why = {
        **{"server": "b", "vip": "web", "gets": "none", "answer": "b gets no new connections: it is seen down"},
        **{"because": [seen, {"about": "weight", "words": "1", "since": None}], "last_change": None},
        "would_change": ["its connector s1:3 comes up"],
    }
    fake.answers["GET /v1/servers/b/why"] = [(200, why)]
    assert main(["why", "b"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "b gets no new connections: it is seen down"
    assert said[1].startswith("  seen by port  down: no\\x1b carrier, ") and said[1].endswith(" ago")
    assert said[2:] == ["  weight        1", "  to change that: its connector s1:3 comes up"]
    assert main(["why", "b", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == why
    assert main(["why", "x"]) == 2


def test_a_packet_is_followed_by_the_controller(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """What the text does not mean is found before the controller is asked, and shown with an arrow."""
    start = {"switch": "s1", "port": "1", "place": "the network side", "fields": {}, "steps": []}
    outcome = {"slots": 256, "among": 256, "which": "", "exits": [], "dropped": []}
    found = {"packet": "tcp 10.0.0.1 > web:1", "slot": 7, "starts": [{**start, "outcomes": [outcome]}]}
    fake.answers["POST /v1/explain"] = [(200, found)]
    assert main(["explain", "tcp 10.0.0.1 > web:1", "--slot", "7"]) == 0
    assert fake.asked == [("POST /v1/explain", {"packet": "tcp 10.0.0.1 > web:1", "slot": 7})]
    assert "is dropped" in capsys.readouterr().out
    assert main(["explain", "tcp 10.0.0.1 > web"]) == 2
    assert capsys.readouterr().err.endswith("\n  tcp 10.0.0.1 > web\n                 ^\n")
    assert len(fake.asked) == 1


@pytest.mark.parametrize(("slots", "code"), [((300,), 0), ((44, 300), 0), ((7, 8), 1)])
def test_the_slot_is_asked_for(
    fake: Fake, capsys: pytest.CaptureFixture[str], slots: tuple[int, ...], code: int
) -> None:
    """Switches tell it, modulo 256, and the packet is followed again with it; they must agree."""
    steps = [{"kind": "table", "vip": ""}, {"kind": "table", "vip": "web"}, {"kind": "choice"}]
    start = {
        **{"switch": "s1", "port": "1", "place": "the network side", "steps": steps, "outcomes": []},
        "fields": {"ip_src": "10.0.0.1", "tcp_src": "4000", "tcp_dst": "22", "ip_dscp": "46"},
    }
    found = {"packet": "tcp 10.0.0.1:4000 > web:22", "slot": None, "starts": [start]}
    told = [{"switch": "s1", "slot": each, "certain": False} for each in slots]
    fake.answers["POST /v1/explain"] = [(200, found), (200, {**found, "slot": 44})]
    query = "vip=web&port=22&source=10.0.0.1&protocol=tcp&source_port=4000&dscp=46"
    fake.answers[f"GET /v1/ask?{query}"] = [(200, {"switches": [*told, {"switch": "s2", "slot": None}]})]
    assert main(["explain", found["packet"], "--ask", "-o", "json"]) == code
    said = capsys.readouterr()
    if code:
        assert "do not agree" in said.err
    else:
        assert json.loads(said.out)["slot"] == 44
        assert fake.asked[-1] == ("POST /v1/explain", {"packet": found["packet"], "slot": 44})
        assert "may have another slot" in said.err
    assert main(["explain", "-c", "lb.yaml", "--ask", "tcp 10.0.0.1 > web:1"]) == 2
