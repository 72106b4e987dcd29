"""Every command that looks, against a real controller with a real switch: what it shows is what the switch has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ovs import switch as ovs
from tests.ovs.bridge import Bridge
from tests.ovs.controller import ControllerProcess

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
    assert stage.errors == f"curl http://127.0.0.1:{stage.controller.rest_port}/v1/pools\n"
    [switch] = stage.json("switches")["switches"]
    assert (switch["state"], int(switch["dpid"], 16)) == ("synced", stage.dpid)
    assert stage.json("links") == {"links": []}
    assert stage.json("connections")["connections"] == []
    assert stage.run("connections").split()[0] == "CLIENT"


def test_one_server(stage: Stage) -> None:
    server = stage.json("server", "a")
    assert [sum(pool["held"].values()) for pool in server["held"]["pools"]] == [128, 256]
    lines = stage.run("server", "a").splitlines()
    assert lines[-1].split() == ["web:443", "s1", "256", "256", "256"]
    stage.run("server", "x", code=2)
    assert stage.errors == "portlb: there is no server x\n"
