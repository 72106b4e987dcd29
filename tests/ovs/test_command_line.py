"""Every command that looks, against a real controller with a real switch: what it shows is what the switch has."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ovs import switch as ovs
from tests.ovs.bridge import Bridge
from tests.ovs.controller import ControllerProcess, wait_for

NETWORK = 1
CONNECTORS = {"a": 2, "b": 3}


def text(dpid: int, **of_b: Any) -> str:
    """Two servers of two pools, and what is said about b."""
    servers = {
        name: {
            "vip": "web",
            "connector": f"s1:{port}",
            "service_ports": [{"port": each + port, "application": each} for each in (80, 443)],
        }
        for name, port in CONNECTORS.items()
    }
    servers["b"].update(of_b)
    pools = {80: {"servers": ["a", "b"]}, 443: {"servers": ["a"]}}
    vip = {"address": "10.0.0.100", "mac": "02:00:00:00:00:64", "redirect_ports": pools}
    return json.dumps(
        {"switches": {"s1": {"dpid": dpid, "network": NETWORK}}, "vips": {"web": vip}, "servers": servers}
    )


class Stage:
    """A bridge, its controller, and the command."""

    def __init__(self, switch: ovs.Switch, directory: Path) -> None:
        self.switch, self.directory = switch, directory
        self.bridge = Bridge(switch, (NETWORK, *CONNECTORS.values()))
        self.dpid = 0x100 + int(self.bridge.name[2:])
        self.path = directory / "lb.yaml"
        self.path.write_text(text(self.dpid))
        self.controller = ControllerProcess(self.path, resync=0.5)
        switch.set_controller(self.bridge.name, self.controller.target)
        self.controller.wait_for_state("s1", "synced")

    def run(self, *words: str, code: int = 0) -> str:
        """The output of a command, which ends with this code."""
        done = subprocess.run(
            [sys.executable, "-m", "portlb_app.cli", *words], cwd=Path(__file__).parents[2], capture_output=True,
            text=True, timeout=60,
            env={**os.environ, "PORTLB_CONTROLLER": f"http://127.0.0.1:{self.controller.rest_port}"},
        )  # fmt: skip
        assert done.returncode == code, (words, done.stdout, done.stderr)
        self.errors = done.stderr
        return done.stdout

    def json(self, *words: str, code: int = 0) -> Any:
        """What a command says to programs."""
        return json.loads(self.run(*words, "-o", "json", code=code))

    def close(self) -> None:
        self.bridge.close()
        assert self.controller.close() == 0
        assert "Traceback" not in self.controller.log.read_text()


@pytest.fixture(scope="module")
def stage(switch: ovs.Switch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(switch, tmp_path_factory.mktemp("command"))
    yield stage
    stage.close()


def test_status(stage: Stage) -> None:
    """All is well; a server taken out is no problem, one without carrier is."""
    assert "all is well" in stage.run("status")
    stage.run("drain", "b")
    assert stage.json("status")["pools"][0]["state"] == "degraded"
    stage.run("ready", "b")


def test_lists(stage: Stage) -> None:
    assert stage.run("servers", "-o", "name").split() == ["a", "b"]
    assert stage.run("pools", "-o", "name", "-v").split() == ["web:80", "web:443"]
    assert stage.errors == f"curl 'http://127.0.0.1:{stage.controller.rest_port}/v1/pools?limit=1000'\n"
    [switch] = stage.json("switches")["switches"]
    assert (switch["state"], int(switch["dpid"], 16)) == ("synced", stage.dpid)
    assert stage.json("links") == {"links": []}
    first = json.loads(stage.controller.request("GET", "/v1/servers?limit=1")[1])
    second = json.loads(stage.controller.request("GET", first["next"])[1])
    assert [each["name"] for page in (first, second) for each in page["servers"]] == ["a", "b"]
    assert second["next"] is None
    assert stage.json("connections")["connections"] == []
    assert stage.run("connections").split()[0] == "CLIENT"


def test_one_server(stage: Stage) -> None:
    server = stage.json("server", "a")
    assert [sum(pool["held"].values()) for pool in server["held"]["pools"]] == [128, 256]
    lines = stage.run("server", "a").splitlines()
    assert lines[-1].split() == ["web:443", "s1", "256", "256", "256"]
    stage.run("server", "x", code=2)
    assert stage.errors == "portlb: there is no server x\n"


def test_several_servers_are_one_change(stage: Stage) -> None:
    """All, or none: together they are the last of a pool; their weights reach the switch by one change."""
    stage.run("drain", "a", "b", code=1)
    assert "a, b are the last serving servers of web:80" in stage.errors
    assert {each["wanted"]["state"] for each in stage.json("servers")["servers"]} == {"ready"}
    before = stage.json("changes")["changes"][0]["id"]
    stage.run("weight", "a=3", "b=1", "--reason", "new disks")
    assert stage.run("slots", "web:80").splitlines()[1].split() == ["a", "a", "192", "192"]
    [value] = stage.json("config", "servers.a.weight")["values"]
    assert (value["value"], value["source"], value["override"]["replaced"]) == (3, "override", 1)
    [pool] = stage.json("config", "vips.web.redirect_ports.80.servers")["values"]
    assert {each["server"]: each["slots"] for each in pool["used"]} == {"a": 192, "b": 64}
    stage.run("weight", "a", "b", "--unset")
    changes = stage.json("changes")["changes"]
    assert [(each["id"], each["outcome"]) for each in changes[:2]] == [
        (before + 2, "carried_out"), (before + 1, "carried_out"),
    ]  # fmt: skip
    assert changes[1]["subject"] == "server a: weight 3; server b: weight 1: new disks"
    assert "slots move" in stage.run("drain", "--select", "connector=s1:3", "--dry-run")
    assert stage.run("config") == stage.path.read_text()


def test_vips_and_slots(stage: Stage) -> None:
    """Each slot is its server's, as the switch was read."""
    [vip] = stage.json("vips")["vips"]
    assert (vip["name"], vip["ports"]) == ("web", {"80": "ok", "443": "ok"})
    slots = stage.json("slots", "web:80")
    assert slots["held"]["s1"] == slots["wanted"] and slots["wanted"].count("b") == 128
    lines = stage.run("slots", "web:80", "--switch", "s1").splitlines()
    picture = "".join(line[5:] for line in lines[lines.index("s1: as wanted") + 1 :])
    assert (picture.count("a"), picture.count("b"), picture.count("*")) == (128, 128, 0)
    stage.run("slots", "web:99", code=2)


def test_tables_and_resync(stage: Stage) -> None:
    """What the switch was read to hold is what it shall hold; a flow that is gone is there again."""
    wanted, actual = stage.run("tables", "s1"), stage.run("tables", "s1", "--actual")
    assert wanted == actual and stage.run("tables", "s1", "--diff") == ""
    flows = [line for line in wanted.splitlines() if not line.startswith(("group ", "meter "))]
    assert len(flows) == stage.json("switches")["switches"][0]["flows"]
    assert any("web:80" in line for line in stage.run("tables", "s1", "--vip", "web").splitlines())
    stage.switch.ofctl("del-flows", stage.bridge.name)
    assert stage.run("resync", "s1").startswith(f"s1: synced, {len(flows)} flows and ")
    stage.run("resync", "s9", code=2)


def test_a_configuration_is_tried_and_applied(stage: Stage) -> None:
    """`diff` changes nothing, `apply` does what `diff` has said, and then nothing differs."""
    path = stage.directory / "new.yaml"
    path.write_text(text(stage.dpid, weight=3))
    assert stage.run("diff", str(stage.path)) == "nothing would change\n"
    said = stage.json("diff", str(path), code=3)
    [pool] = [each for each in said["pools"] if each["port"] == 80]
    assert pool["servers"] == {"a": [128, 64], "b": [128, 192]} and said["switches"]["s1"]["modify"]
    assert "a 128 to 64" in stage.run("apply", str(path), "--dry-run")
    tag = stage.json("status")["etag"]
    stage.run("apply", str(path), "--if-match", '"another"', code=1)
    assert "---" not in stage.errors, "there is no such configuration"
    assert "1 switch has it" in stage.run("apply", str(path), "--if-match", tag, "--timeout", "30")
    assert stage.path.read_text() == path.read_text()
    assert stage.run("slots", "web:80").splitlines()[1].split() == ["a", "a", "64", "64"]
    stage.run("diff", str(path))
    before = json.dumps(json.loads(path.read_text()), indent=1)
    path.write_text(before)
    assert stage.run("apply", str(path), "--wait", "none").startswith("change ")
    wait_for("it is live", lambda: stage.path.read_text() == before)
    tag = stage.json("status")["etag"]
    path.write_text(before.replace('"weight": 3', '"weight": 1'))
    stage.run("apply", str(path))
    path.write_text(before.replace('"weight": 3', '"weight": 5'))
    stage.run("apply", str(path), "--if-match", tag, code=1)
    said = stage.errors.splitlines()
    assert [line for line in said if '"weight"' in line] == ['-   "weight": 3', '+   "weight": 1']
    assert said[1:3] == ["--- meant", "+++ live"]
    path.write_text("vips: 1\nservers: 2\n")
    stage.run("apply", str(path), code=2)
    assert len(stage.errors.splitlines()) > 2


def test_top(stage: Stage) -> None:
    """Parts of slots are those that the switch holds; of packets, of which there are none, nothing is said."""
    lines = [line.split() for line in stage.run("top", "--count", "1").splitlines()]
    held = {each["name"]: each["held"] for each in stage.json("servers")["servers"]}
    parts = {name: 100 * each["slots"] / sum(pool["of"] for pool in each["pools"]) for name, each in held.items()}
    assert {line[0]: float(line[3]) for line in lines[3:5]} == parts
    assert {line[4] for line in lines[3:5]} == {"-"} and lines[-1] == ["web:443", "ok", "-"]


def test_support(stage: Stage) -> None:
    """Every file has what its resource says; nobody else can read it."""
    directory = stage.directory / "support"
    stage.run("support", str(directory))
    assert {each.stat().st_mode & 0o777 for each in directory.iterdir()} == {0o600}
    assert (directory / "config.yaml").read_text() == stage.path.read_text()
    assert (directory / "problems.txt").read_text() == ""
    assert "table=0" in (directory / "tables-s1-held.txt").read_text()
    stage.run("support", str(directory), code=2)


def test_what_is_watched_changes(stage: Stage) -> None:
    """A change is shown without another command; ^C ends it, also where tests run in a background that ignores it."""
    with subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, "-m", "portlb_app.cli", "servers", "b", "-w", "--no-headers"],
        cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PORTLB_CONTROLLER": f"http://127.0.0.1:{stage.controller.rest_port}"},
    ) as watching:  # fmt: skip
        try:
            assert watching.stdout is not None
            assert watching.stdout.readline().split()[2] == "ready"
            stage.run("drain", "b")
            assert next(line for line in watching.stdout if line.split()[2] == "drain").split()[0] == "b"
            watching.send_signal(signal.SIGINT)
            assert watching.wait(30) == 0
        finally:
            watching.kill()
    stage.run("ready", "b")
