"""Applications of Ryu's own beside portlb (`--app`), with a real switch."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ovs.controller import ControllerProcess, wait_for
from tests.ovs.switch import Switch

ROOT = Path(__file__).parents[2]
FIG2 = ROOT / "flows/fig2/lb.yaml"
OWN = """
from ryu.base import app_manager
from ryu.controller import ofp_event
from ryu.controller.handler import MAIN_DISPATCHER, set_ev_cls
from ryu.app.wsgi import ControllerBase, Response, WSGIApplication, route
from ryu.lib import hub

class Pages(ControllerBase):
    @route("own", "/echo", methods=["POST"])
    def echo(self, req):
        return Response(body=req.body + b" " + req.headers["Content-Length"].encode())

    @route("own", "/fails")
    def fails(self, req):
        raise RuntimeError("it has a mistake")

class Own(app_manager.RyuApp):
    _CONTEXTS = {"web": WSGIApplication}

    def __init__(self, *arguments, **shared):
        super().__init__(*arguments, **shared)
        shared["web"].register(Pages)

    @set_ev_cls(ofp_event.EventOFPDescStatsReply, MAIN_DISPATCHER)
    def on_description(self, event):
        print("described", event.msg.datapath.id, event.msg.body.sw_desc.decode(), flush=True)

    @set_ev_cls(ofp_event.EventOFPStateChange, MAIN_DISPATCHER)
    def on_switch(self, event):
        event.datapath.send_msg(event.datapath.ofproto_parser.OFPDescStatsRequest(event.datapath))

    def start(self):
        super().start()
        self.threads.append(hub.spawn(print, "a thread of its own has ended", flush=True))
"""
FAILING = """
from ryu.base import app_manager

class Failing(app_manager.RyuApp):
    def __init__(self, *arguments, **shared):
        raise RuntimeError("there is no database")
"""


@pytest.fixture(scope="module")
def rest(switch: Switch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of REST, ofctl_rest's, too; the controller has one switch and an application of a file's own."""
    directory = tmp_path_factory.mktemp("apps")
    shutil.copy(FIG2, directory / "lb.yaml")
    (directory / "own_app.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(directory))
        controller = ControllerProcess(directory / "lb.yaml", "--app", "ryu.app.ofctl_rest", "--app", "own_app")
    try:
        switch.add_bridge("s1", 1, {}, controller.target)
        controller.wait_for_state("s1", "synced")
        yield controller.rest_port
        controller.wait_for_state("s1", "synced")
        assert "a thread of its own has ended" in controller.log.read_text(), "and the controller has not"
        wait_for("the application has its answer", lambda: "described 1 " in controller.log.read_text())
    finally:
        switch.vsctl("--if-exists", "del-br", "s1")
        assert controller.close() == 0


def ask(port: int, path: str, **headers: str) -> tuple[int, str]:
    """One request to ofctl_rest."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def send(port: int, path: str, body: bytes | tuple[bytes, ...]) -> tuple[int, str]:
    """A body, or its chunks."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", path, body if isinstance(body, bytes) else iter(body))
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_ofctl_rest_lists_switches(rest: int) -> None:
    """From what it is told of connections."""
    assert ask(rest, "/stats/switches") == (200, "[1]")


def test_ofctl_rest_asks_the_switch(rest: int) -> None:
    """It is given the answers: what the switch is, and the groups that portlb has put there."""
    code, body = ask(rest, "/stats/desc/1")
    assert (code, json.loads(body)["1"]["hw_desc"]) == (200, "Open vSwitch")
    code, body = ask(rest, "/stats/group/1")
    lines = (FIG2.parent / "s1.groups").read_text().splitlines()
    assert code == 200
    assert len(json.loads(body)["1"]) == sum(line.startswith("group_id=") for line in lines) == 4


def test_a_parser_that_never_ends_is_ended(rest: int) -> None:
    """Ryu's of the groups' buckets: ofctl_rest says nothing is there, and portlb goes on."""
    assert ask(rest, "/stats/groupdesc/1") == (200, '{"1": []}')
    assert ask(rest, "/stats/switches") == (200, "[1]")


def test_portlb_answers_beside_it(rest: int) -> None:
    """On the same port, and also for what is nothing of either."""
    code, body = ask(rest, "/v1/status")
    assert (code, json.loads(body)["generation"]) == (200, 1)
    assert ask(rest, "/v1/nothing")[0] == ask(rest, "/stats/nothing")[0] == 404
    assert json.loads(ask(rest, "/stats/nothing")[1])["error"]


def test_what_is_no_text_reaches_no_application(rest: int) -> None:
    """Ryu's router raises over a path that is not UTF-8."""
    for path in ("/stats/%ff", "/v1/%c3%28", "/stats/switches?%ff=1"):
        code, body = ask(rest, path)
        assert (code, json.loads(body)["error"]) == (400, "the path and the query are UTF-8")


def test_an_application_finds_a_body_that_has_no_length(rest: int) -> None:
    """webob would take one in chunks for none: `echo` of the application answers with what it read."""
    assert send(rest, "/echo", (b"ab", b"cd")) == (200, "abcd 4")
    assert send(rest, "/echo", b"abcd") == (200, "abcd 4")
    assert send(rest, "/echo", b"#" * (5 << 20))[0] == 413
    code, body = send(rest, "/fails", b"")
    assert (code, json.loads(body)["error"]) == (500, "an error of portlb itself; its log says more")


def test_web_pages_and_other_names_are_refused(rest: int) -> None:
    """As by portlb's own interface."""
    assert ask(rest, "/stats/switches", Host="evil.example")[0] == 403
    assert ask(rest, "/stats/switches", Origin="http://evil.example")[0] == 403


@pytest.mark.parametrize(
    ("app", "message"),
    [
        ("ryu.app.no_such", r"--app ryu\.app\.no_such: No module named 'ryu\.app\.no_such'"),
        ("ryu.lib.mac", r"--app ryu\.lib\.mac: there is no Ryu application in it"),
        ("ryu.app.simple_switch_13", r"--app ryu\.app\.simple_switch_13: it does not speak OpenFlow 1\.5.*"),
        ("broken_app", r"--app broken_app: ZeroDivisionError: division by zero"),
        ("failing_app", r"--app failing_app: RuntimeError: there is no database"),
    ],
)
def test_an_application_that_cannot_be_loaded(app: str, message: str, tmp_path: Path) -> None:
    """One line says which and why, and the exit code is 2."""
    (tmp_path / "broken_app.py").write_text("1 / 0")
    (tmp_path / "failing_app.py").write_text(FAILING)
    command = [sys.executable, "-m", "portlb_app.cli", "controller", str(FIG2), "--app", app]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        ports = ["--ofp-tcp-listen-port", "0", "--wsapi-port", "0"]
        done = subprocess.run([*command, *ports], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if re.fullmatch(f"portlb: {message}", line)], done.stderr
