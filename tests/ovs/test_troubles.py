"""What operators bump into, with a real switch: the status has each with what to do, beside an event and a metric."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portlb_app.reconcile.foreign import LOOKED_AT
from tests.ovs.controller import ControllerProcess, wait_for
from tests.ovs.switch import Switch

FIG2 = (Path(__file__).parents[2] / "flows/fig2/lb.yaml").read_text()
OTHER = FIG2.replace("21: {servers: [b, c, d]}", "21: {servers: [b, c]}")
RESYNC = 0.5
DPID = 0x7700
PORTS = 5


class Stage:
    """A bridge with FIG. 2's ports, and controllers."""

    def __init__(self, switch: Switch, directory: Path) -> None:
        self.switch, self._directory = switch, directory
        self._bridges: list[str] = []
        self.controllers: list[ControllerProcess] = []
        self.add_bridge("tr")

    def add_bridge(self, name: str) -> None:
        """A bridge; all have the same datapath id."""
        self.switch.add_bridge(name, DPID, {f"{name}{number}": number for number in range(1, PORTS + 1)})
        self._bridges.append(name)

    def start(self, text: str = FIG2) -> ControllerProcess:
        """Start a controller with this configuration."""
        path = self._directory / f"lb{len(self.controllers)}.yaml"
        path.write_text(text.replace("{dpid: 1,", f"{{dpid: {DPID},"))
        self.controllers.append(ControllerProcess(path, resync=RESYNC))
        return self.controllers[-1]

    def attached(self) -> ControllerProcess:
        """A controller that has the bridge."""
        controller = self.start()
        self.switch.set_controller("tr", controller.target)
        controller.wait_for_state("s1", "synced")
        return controller

    def close(self) -> None:
        for controller in self.controllers:
            controller.close()
            assert "Traceback" not in controller.log.read_text()
        for name in self._bridges:
            self.switch.delete_bridge(name)


@pytest.fixture
def stage(switch: Switch, tmp_path: Path) -> Iterator[Stage]:
    """See `Stage`."""
    made = Stage(switch, tmp_path)
    yield made
    made.close()


def problem(controller: ControllerProcess, words: str) -> dict[str, Any] | None:
    """The problem with these words, if there is one."""
    found = (each for each in controller.status()["problems"] if words in each["words"])
    return next(found, None)


def wait_for_problem(controller: ControllerProcess, words: str) -> dict[str, Any]:
    """The same, once there is one."""
    found: dict[str, Any] = wait_for(words, lambda: problem(controller, words))
    return found


def scraped(controller: ControllerProcess, metric: str) -> float:
    """A metric with its labels."""
    code, body = controller.request("GET", "/metrics")
    assert code == 200
    (line,) = (line for line in body.splitlines() if line.startswith(f"portlb_{metric} "))
    return float(line.split()[-1])


def value(controller: ControllerProcess, metric: str) -> float:
    """A metric of the switch."""
    return scraped(controller, f'switch_{metric}{{switch="s1"}}')


def events(controller: ControllerProcess, kind: str) -> float:
    """How many events of a kind there were."""
    return scraped(controller, f'events_total{{kind="{kind}"}}')


def test_two_controllers_are_told_and_do_not_fight_for_ever(stage: Stage) -> None:
    one = stage.attached()
    other = stage.start(OTHER)
    stage.switch.vsctl("set-controller", "tr", one.target, other.target)

    def leaving() -> ControllerProcess | None:
        found = (each for each in (one, other) if problem(each, "another controller writes portlb's entries"))
        return next(found, None)

    left = wait_for("one of them stops", leaving, 30)
    stays = other if left is one else one
    told = wait_for_problem(left, "another controller writes portlb's entries")
    assert told["name"] == "s1" and told["seconds"] >= 0 and "end the other controller" in told["to_do"]
    assert value(left, "contested") == 1
    assert events(left, "conflict") == 1

    stays.wait_for_state("s1", "synced")
    drift, groups = stays.switch("s1")["drift"], stage.switch.dump_groups("tr")
    read = [0]

    def is_read_again() -> bool:
        age = left.switch("s1")["read_age_seconds"]
        read[0] += age is not None and age < RESYNC / 4
        return read[0] > 8

    wait_for("it is read again and again", is_read_again)
    assert stays.switch("s1")["drift"] == drift, "the one that stopped has written again"
    assert stage.switch.dump_groups("tr") == groups

    assert stays.close() == 0
    assert left.request("POST", "/v1/switches/s1/resync", "{}")[0] == 202
    left.wait_for_state("s1", "synced")
    wait_for("all is well", lambda: not problem(left, "another controller writes"))
    assert value(left, "contested") == 0
    assert stage.switch.dump_groups("tr") != groups


def test_a_single_change_by_others_is_put_right_and_no_conflict(stage: Stage) -> None:
    controller = stage.attached()
    before = stage.switch.dump_groups("tr")
    number = before[0].split(",")[0].removeprefix("group_id=")
    for _ in range(5):  # others remove: they write nothing
        drift = controller.switch("s1")["drift"]
        stage.switch.ofctl("del-groups", "tr", f"group_id={number}")
        wait_for("it is put right", lambda: stage.switch.dump_groups("tr") == before)
        wait_for("it is counted", lambda known=drift: controller.switch("s1")["drift"] > known)
    assert not problem(controller, "another controller")
    assert events(controller, "conflict") == 0


def test_a_copied_datapath_id_is_told(stage: Stage) -> None:
    controller = stage.attached()
    assert value(controller, "claimed_twice") == 0
    stage.add_bridge("trx")
    stage.switch.set_controller("trx", controller.target)
    told = wait_for_problem(controller, "claimed twice")
    assert told["name"] == "s1" and "another bridge has its datapath id" in told["words"]
    assert "datapath id of its own" in told["to_do"]
    assert value(controller, "claimed_twice") == 1
    assert events(controller, "conflict") == 1
    assert stage.switch.dump_flows("trx") == []
    assert controller.switch("s1")["state"] == "synced"


def test_a_bridge_that_reaches_the_controller_twice_is_told(stage: Stage) -> None:
    controller = stage.attached()
    stage.switch.vsctl(
        *("set-controller", "tr", controller.target, controller.target.replace("127.0.0.1", "localhost")),
    )
    told = wait_for_problem(controller, "claimed twice")
    assert "two targets that are this controller" in told["words"] and "one target" in told["to_do"]


def test_a_connector_that_is_missing_down_or_swapped_is_told(stage: Stage) -> None:
    controller, switch = stage.attached(), stage.switch
    assert controller.status()["problems"] == []
    switch.appctl("netdev-dummy/set-admin-state", "tr2", "down")
    told = wait_for_problem(controller, "port 2 (connector of")
    assert "it is set down" in told["words"] or "carrier" in told["words"]
    assert told["to_do"].startswith("set tr2 up")
    switch.appctl("netdev-dummy/set-admin-state", "tr2", "up")
    wait_for("it is up", lambda: not problem(controller, "port 2 (connector of"))

    switch.vsctl("del-port", "tr", "tr3")
    told = wait_for_problem(controller, "there is no such port")
    assert "port 3 (connector of" in told["words"] and "ofport_request=3" in told["to_do"]
    members = [("--", "set", "interface", name, "type=dummy") for name in ("m1", "m2")]
    switch.vsctl("add-bond", "tr", "tr3", "m1", "m2", *members[0], "ofport_request=7", *members[1])
    assert "m1: enabled" in switch.appctl("bond/show", "tr3") and " 7(m1)" in switch.ofctl("dump-ports-desc", "tr")
    told = wait_for_problem(controller, "there is no such port")
    assert "a bond has no number, and its members must not be connectors" in told["to_do"]
    switch.vsctl("del-port", "tr", "tr3")
    switch.vsctl("add-port", "tr", "new", "--", "set", "interface", "new", "type=dummy", "ofport_request=3")
    told = wait_for_problem(controller, "it is another interface: tr3 was here before")
    assert "put the interface before back on port 3" in told["to_do"]
    assert value(controller, "port_problems") == 1
    assert events(controller, "port") >= 4


def test_a_switch_that_is_gone_or_unknown_is_told(stage: Stage) -> None:
    controller = stage.attached()
    stage.switch.vsctl("set", "bridge", "tr", f"other_config:datapath-id={DPID + 1:016x}")
    told = wait_for_problem(controller, "not connected")
    assert told["name"] == "s1" and "is_connected" in told["to_do"] and told["seconds"] is not None
    told = wait_for_problem(controller, "no switch of the configuration has this datapath id")
    assert told["name"] == f"{DPID + 1:#x}" and "add it to the configuration" in told["to_do"]


def test_flows_of_others_that_come_first_are_told_and_left_alone(stage: Stage) -> None:
    controller, switch = stage.attached(), stage.switch
    for beside in ("table=0,priority=300,in_port=9,actions=output:8", "table=150,priority=9,actions=drop"):
        switch.ofctl("add-flow", "tr", f"cookie=0x98,{beside}")
    wait_for("they are counted", lambda: value(controller, "foreign_flows") == 1)
    assert controller.status()["problems"] == [] and value(controller, "shadowing_flows") == 0

    taking = "cookie=0x99,table=0,priority=250,in_port=1,tcp,tcp_dst=22,actions=output:5"
    switch.ofctl("add-flow", "tr", taking)
    switch.ofctl("add-flow", "tr", "table=40,priority=65535,ip,nw_dst=10.0.0.0/24,actions=drop")
    told = wait_for_problem(controller, "in table 0, CLASSIFY, of priority 250")
    assert "cookie 0x99" in told["words"] and "(tcp,in_port=1,tcp_dst=22)" in told["words"]
    assert "before in_port=1 of priority 200 (the network side: clients)" in told["words"]
    assert "a priority below 200" in told["to_do"] and "cookie=0x99/-1,table=0" in told["to_do"]
    wait_for_problem(controller, "in table 40, SERVICE, of priority 65535")
    code, body = controller.request("GET", "/v1/switches/s1")
    foreign = json.loads(body)["foreign"]
    assert code == 200 and (foreign["flows"], foreign["shadowing"]) == (3, 2)
    assert value(controller, "shadowing_flows") == 2 and events(controller, "conflict") == 1
    assert controller.switch("s1")["state"] == "synced" and controller.switch("s1")["drift"] == 0
    assert "cookie=0x99" in switch.ofctl("dump-flows", "tr", "cookie=0x99/-1"), "portlb has deleted it"

    switch.ofctl("del-flows", "tr", "cookie=0x99/-1")
    switch.ofctl("del-flows", "tr", "cookie=0/-1")
    wait_for("nothing is wrong", lambda: not controller.status()["problems"])
    assert value(controller, "foreign_flows") == 1 and events(controller, "conflict") == 2


def test_too_many_flows_of_others_are_counted_and_cost_no_connection(stage: Stage) -> None:
    controller, switch = stage.attached(), stage.switch
    flows = (f"table=50,priority=9,tcp,tcp_dst={number},actions=drop" for number in range(1, LOOKED_AT + 2))
    switch.ofctl("add-flows", "tr", "-", text="\n".join(flows))
    told = wait_for_problem(controller, f"{LOOKED_AT + 1} more flows of others in portlb's tables were not looked at")
    assert told["severity"] == "warning"
    controller.wait_for_state("s1", "synced")
    assert value(controller, "connections_total") == 1


def test_a_datapath_that_the_configuration_contradicts_is_told(stage: Stage) -> None:
    controller = stage.start(FIG2.replace("{dpid: 1,", "{dpid: 1, datapath: kernel,"))
    stage.switch.set_controller("tr", controller.target)
    told = wait_for_problem(controller, "forwards in user space (datapath_type=netdev)")
    assert "datapath: kernel" in told["words"] and "datapath: userspace for s1" in told["to_do"]
    assert value(controller, "datapath_differs") == 1 and controller.switch("s1")["datapath"] == "userspace"
    text = controller.request("GET", "/v1/config")[1].replace("datapath: kernel", "datapath: userspace")
    assert controller.request("PUT", "/v1/config", text)[0] == 200
    wait_for("nothing is wrong", lambda: not controller.status()["problems"])
    assert value(controller, "datapath_differs") == 0
