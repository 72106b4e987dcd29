"""What the controller says is so: over switches that are lost, ports that are not there, and its own dead helpers."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from portlb_app.pipeline import SERVICE
from tests.ovs.controller import ControllerProcess, wait_for
from tests.ovs.switch import Switch

FIG2 = (Path(__file__).parents[2] / "flows/fig2/lb.yaml").read_text()
DPID = 0xFEDC_BA98_7654_3211
TEXT = FIG2.replace("{dpid: 1,", f"{{dpid: {DPID},")
CHANGED = TEXT.replace("22}, 9]", "22}, 9, 900]")


@pytest.fixture
def controller(switch: Switch, tmp_path: Path) -> Iterator[ControllerProcess]:
    """A controller with FIG. 2's switch, synced."""
    switch.add_bridge("b", DPID, {f"b{number}": number for number in range(1, 6)})
    path = tmp_path / "lb.yaml"
    path.write_text(TEXT)
    controller = ControllerProcess(path)
    try:
        switch.set_controller("b", controller.target)
        controller.wait_for_state("s1", "synced")
        yield controller
    finally:
        controller.close()
        switch.delete_bridge("b")


def vswitchd(switch: Switch) -> int:
    return int((switch.directory / "ovs-vswitchd.pid").read_text())


def test_a_switch_that_dies_over_a_put_withdraws_it(
    switch: Switch, controller: ControllerProcess, tmp_path: Path
) -> None:
    """Then there is none, and nothing shows that it works."""
    assert controller.status()["configuration"] == "verified"
    os.kill(vswitchd(switch), signal.SIGSTOP)
    answers: list[tuple[int, str]] = []
    put = threading.Thread(target=lambda: answers.append(controller.request("PUT", "/v1/config", CHANGED)))
    put.start()
    wait_for("it is on trial", lambda: controller.switch("s1")["state"] != "synced")
    switch.stop_vswitchd()
    put.join()
    ((code, body),) = answers
    assert (code, json.loads(body)["switches"]) == (504, ["s1"])
    assert controller.request("GET", "/v1/config") == (200, TEXT)
    assert (tmp_path / "lb.yaml").read_text() == TEXT

    code, body = controller.request("PUT", "/v1/config", CHANGED)
    assert code == 409 and "no switch is connected" in body
    switch.start_vswitchd()
    controller.wait_for_state("s1", "synced")


def test_what_was_accepted_unverified_and_is_refused_is_taken_back(
    switch: Switch, controller: ControllerProcess
) -> None:
    full = sum(f"table={SERVICE.number}," in line for line in switch.dump_flows("b"))
    switch.vsctl(
        *("set", "bridge", "b", f"flow_tables:{SERVICE.number}=@limited", "--"),
        *("--id=@limited", "create", "Flow_Table", f"flow_limit={full}", "overflow_policy=refuse"),
    )
    switch.stop_vswitchd()
    controller.wait_for_state("s1", "absent")
    code, body = controller.request("PUT", "/v1/config?wait=accepted", CHANGED)
    assert (code, json.loads(body)["configuration"]) == (202, "unverified")
    switch.start_vswitchd()
    synced = controller.wait_for_state("s1", "synced")
    assert synced["flows"] > full
    assert controller.request("GET", "/v1/config") == (200, TEXT)
    assert "the last good one is live again" in controller.log.read_text()


def test_a_port_that_is_missing_is_in_the_status_and_the_log(switch: Switch, controller: ControllerProcess) -> None:
    def problems() -> dict[int, str]:
        return {each["number"]: each["problem"] for each in controller.switch("s1")["ports"]}

    switch.appctl("netdev-dummy/set-admin-state", "up")
    wait_for("all is as it should be", lambda: not problems())
    switch.vsctl("del-port", "b", "b2")
    wait_for("it is said", lambda: problems() == {2: "there is no such port"})
    controller.wait_for_state("s1", "synced")  # a's slots go to others
    switch.vsctl("add-port", "b", "x2", "--", "set", "interface", "x2", "type=dummy", "ofport_request=2")
    switch.appctl("netdev-dummy/set-admin-state", "up")
    wait_for("another one", lambda: problems() == {2: "it is another interface: b2 was here before"})
    assert controller.log.read_text().count("port 2, connector of a: there is no such port") == 1


def test_a_killed_process_with_the_tables_is_replaced(switch: Switch, controller: ControllerProcess) -> None:
    pid = controller.process.pid
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    wait_for("it is said", lambda: "the process with the tables has ended" in controller.log.read_text())
    code, body = controller.request("PUT", "/v1/config", CHANGED)
    assert code == 200, body
    assert controller.switch("s1")["drift"] == 0


def test_a_controller_whose_part_fails_ends(switch: Switch, controller: ControllerProcess, tmp_path: Path) -> None:
    """Its clock raises an error that nobody expects."""
    broken = tmp_path / "sitecustomize.py"
    broken.write_text(
        "import portlb_app.reconcile.reconciler as reconciler\n"
        "def fail(self, event):\n"
        "    raise RuntimeError('injected')\n"
        "reconciler.Reconciler._tick = fail\n"
    )
    path = tmp_path / "other.yaml"
    path.write_text(TEXT)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{tmp_path}:{Path(__file__).parents[2]}"
    try:
        other = ControllerProcess(path)
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before
    assert other.process.wait(30) == 1
    assert "injected" in other.log.read_text() and "the clock ended; the log says why" in other.log.read_text()
