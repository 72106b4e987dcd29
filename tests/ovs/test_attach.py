"""The commands that `portlb attach` prints, run against a real Open vSwitch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ovs.controller import ControllerProcess, wait_for
from tests.ovs.pki import Pki
from tests.ovs.switch import Switch

ROOT = Path(__file__).parents[2]
TREE = ROOT / "flows/tree/lb.yaml"


def printed(*words: str | Path) -> list[str]:
    """The lines of `portlb attach`."""
    command = [sys.executable, "-m", "portlb_app.cli", "attach", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=60).stdout.splitlines()


def uncommented(line: str, interface: str) -> str:
    """What the comment about a port says to run, for an interface."""
    return line.removeprefix("# ").replace("IFACE", interface)


def paste(switch: Switch, lines: list[str]) -> None:
    """Run the lines in a shell, as somebody who pastes them does."""
    done = subprocess.run(
        ["sh", "-e"], input="\n".join(lines), capture_output=True, text=True, timeout=60, env=switch.environment
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), lines


@pytest.fixture
def without_bridges(switch: Switch) -> Iterator[Switch]:
    """Nothing is left of bridges that a test makes."""
    yield switch
    for name in switch.vsctl("list-br").split():
        switch.vsctl("del-br", name)
    switch.vsctl("del-ssl")


def state(switch: Switch) -> list[str]:
    """What the bridges are, and how many flows they hold; `is_connected` is told some time after it is so."""
    found = ["".join(line for line in switch.vsctl("show").splitlines(True) if "is_connected" not in line)]
    for name in switch.vsctl("list-br").split():
        found.append(switch.vsctl("get-controller", name))
        found.append(switch.ofctl("dump-aggregate", name).split("flow_count=")[1])
    return found


def is_well(controller: ControllerProcess) -> bool:
    """Whether nothing is left to be done: no port, link or server is amiss, and switches hold the slots they shall."""
    status = controller.status()
    switches = all(each["state"] == "synced" and not each["ports"] for each in status["switches"])
    links = all(each["up"] for each in status["links"])
    return switches and links and not any(
        each["missing"] or any(held["differ"] for held in each["held"]) for each in status["pools"]
    )


def test_pasted_lines_attach_a_tree(without_bridges: Switch, tmp_path: Path) -> None:
    """All switches are synced with no problem of a port; once more, the lines change nothing."""
    switch = without_bridges
    shutil.copy(TREE, tmp_path / "lb.yaml")
    controller = ControllerProcess(tmp_path / "lb.yaml")
    try:
        lines = printed(TREE, "--controller", controller.target)
        ports = [line for line in lines if "add-port" in line]
        whole = [uncommented(line, f"p{number}") for number, line in enumerate(ports)]
        lines = [line for line in lines if line not in ports] + whole
        paste(switch, lines)
        for name in ("root", "left", "right"):
            assert switch.vsctl("get", "controller", name, "connection-mode").strip() == "out-of-band"
            controller.wait_for_state(name, "synced")
        wait_for(
            "no problem with ports", lambda: not any(each["ports"] for each in controller.status()["switches"])
        )  # fmt: skip
        before = state(switch)
        paste(switch, lines)
        assert state(switch) == before
    finally:
        assert controller.close() == 0


def test_pasted_lines_attach_by_tls(without_bridges: Switch, tmp_path: Path) -> None:
    """With the switch's key and certificate, and the controller's authority."""
    pki = Pki(tmp_path / "pki")
    certificate, key = pki.sign("ctl")
    of_switch, key_of_switch = pki.sign("dpid-0000000000000001")
    shutil.copy(ROOT / "flows/fig2/lb.yaml", tmp_path / "lb.yaml")
    flags = ["--ctl-cert", certificate, "--ctl-privkey", key, "--ca-certs", pki.authority, "--ofp-ssl-listen-port", "0"]
    controller = ControllerProcess(tmp_path / "lb.yaml", *map(str, flags))
    try:
        target = f"ssl:127.0.0.1:{controller.openflow_port}"
        lines = printed(tmp_path / "lb.yaml", "--controller", target, "--ssl", key_of_switch, of_switch, pki.authority)
        paste(without_bridges, lines)
        controller.wait_for_state("s1", "synced")
    finally:
        assert controller.close() == 0
