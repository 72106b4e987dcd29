"""Links that go and come back, with the whole controller and real switches: tables are those of the links that work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from portlb_app.config import Link
from portlb_app.openflow import SwitchState
from portlb_app.reconcile.rollout import DRAIN
from portlb_app.topology.damping import HOLD
from tests.ovs.controller import ControllerProcess, wait_for
from tests.ovs.switch import Switch, changes_sent
from tests.support.reconciling import Whole

TEXT = (Path(__file__).parents[2] / "flows/leafspine/lb.yaml").read_text()
WHOLE = Whole.of(TEXT)
NAMES = {switch.name: switch.dpid for switch in WHOLE.config.switches}
PORTS = {name: (1, 2, 3, 4) if name.startswith("leaf") else (1, 2, 3) for name in NAMES}
CUT, *_ = WHOLE.config.links
SOON = DRAIN + 10.0
"""Seconds in which a change has to be done, on a machine however busy: the next look by the timer is later."""


def tables(down: set[Link] | None = None) -> dict[str, SwitchState]:
    """What the switches shall hold while these links are down."""
    return {target.name: target.state for target in WHOLE.without(frozenset(down or ())).targets.values()}


class Fabric:
    """Two spines and two leaves of one Open vSwitch with dummy ports, and a controller."""

    def __init__(self, switch: Switch, controller: ControllerProcess) -> None:
        self.switch, self.controller = switch, controller

    def admin(self, port: str, state: str) -> None:
        """Set a port's state: up or down."""
        self.switch.appctl("netdev-dummy/set-admin-state", port, state)

    def connect(self, *names: str) -> None:
        for name in names:
            self.switch.set_controller(name, self.controller.target)
        for name in names:
            self.controller.wait_for_state(name, "synced")

    def holds(self, wanted: dict[str, SwitchState]) -> bool:
        """Whether every switch holds exactly this."""
        return all(
            self.switch.diff_flows(name, "\n".join(map(str, state.flows))) == ""
            and {line.split(",")[0] for line in self.switch.dump_groups(name)}
            == {f"group_id={group.number}" for group in state.groups}
            for name, state in wanted.items()
        )

    def links(self) -> dict[tuple[str, ...], bool]:
        """What the status says about links."""
        return {tuple(link["ends"]): link["up"] for link in self.controller.status()["links"]}

    def settle(self) -> None:
        for name in NAMES:
            assert self.controller.wait_for_state(name, "synced")["drift"] == 0


@pytest.fixture(scope="module")
def bridges(switch: Switch) -> Iterator[Switch]:
    for name, dpid in NAMES.items():
        switch.add_bridge(name, dpid, {f"{name}p{port}": port for port in PORTS[name]})
    yield switch
    for name in NAMES:
        switch.delete_bridge(name)


@pytest.fixture
def fabric(bridges: Switch, tmp_path: Path) -> Iterator[Fabric]:
    """All ports up; no switch connected yet, or with tables."""
    path = tmp_path / "lb.yaml"
    path.write_text(TEXT)
    fabric = Fabric(bridges, ControllerProcess(path))
    for name in NAMES:
        bridges.ofctl("del-flows", name)
        bridges.ofctl("del-groups", name)
        for number in PORTS[name]:
            fabric.admin(f"{name}p{number}", "up")
    yield fabric
    assert fabric.controller.close() == 0
    for name in NAMES:
        bridges.vsctl("del-controller", name)


def port(end: object) -> str:
    """The name of the interface at the end of a link."""
    return str(end).replace(":", "p")


def test_what_a_cut_moves() -> None:
    """So that the tests below are about something: it changes the tables of every switch."""
    moved = [name for name, state in tables({CUT}).items() if state != tables()[name]]
    assert set(moved) == set(NAMES)


@pytest.mark.parametrize("end", CUT, ids=str)
def test_a_port_that_goes_down_moves_packets_to_another_way_and_back(fabric: Fabric, end: object) -> None:
    fabric.connect(*NAMES)
    assert fabric.holds(tables())
    assert set(fabric.links().values()) == {True}
    fabric.admin(port(end), "down")
    started = time.monotonic()
    wait_for("the other way is taken", lambda: fabric.holds(tables({CUT})), SOON)
    ends = (str(CUT.one), str(CUT.other))
    assert [ends for ends, up in fabric.links().items() if not up] == [ends]
    fabric.settle()
    fabric.admin(port(end), "up")
    wait_for("it works again", lambda: fabric.holds(tables()), HOLD + SOON)
    assert time.monotonic() - started > HOLD
    assert set(fabric.links().values()) == {True}
    fabric.settle()
    assert fabric.controller.status()["generation"] == 1
    log = fabric.controller.log.read_text()
    assert log.count(f"link {CUT} is down") == log.count(f"link {CUT} works again") == 1
    assert "entries were changed by others" not in log


def test_a_port_that_is_removed_is_down(fabric: Fabric) -> None:
    fabric.connect(*NAMES)
    name = port(CUT.one)
    fabric.switch.vsctl("del-port", name)
    wait_for("the other way is taken", lambda: fabric.holds(tables({CUT})), SOON)
    settings = ("set", "interface", name, "type=dummy", f"ofport_request={CUT.one.port}")
    fabric.switch.vsctl("add-port", CUT.one.switch, name, "--", *settings)
    fabric.admin(name, "up")
    wait_for("it works again", lambda: fabric.holds(tables()), HOLD + SOON)


def test_a_switch_that_loses_all_links_is_left_alone_and_the_others_go_on(fabric: Fabric) -> None:
    """As when it dies: its neighbours' ports say so. What had its place there waits; all else is as without it."""
    fabric.connect(*NAMES)
    dead = {link for link in WHOLE.config.links if link.one.switch == "leaf1"}
    for link in dead:
        fabric.admin(port(link.other), "down")
    wait_for("nothing goes there", lambda: fabric.holds(tables(dead)), SOON)
    fabric.settle()
    assert list(fabric.links().values()).count(False) == len(dead) == 2


def test_a_port_that_was_down_before_the_controller_came(fabric: Fabric) -> None:
    fabric.admin(port(CUT.other), "down")
    fabric.connect(*NAMES)
    wait_for("installed without the link", lambda: fabric.holds(tables({CUT})), SOON)
    fabric.settle()


def test_a_controller_that_starts_again_while_a_link_is_down_changes_nothing(fabric: Fabric) -> None:
    """Even if the switch that knows of it connects last."""
    fabric.connect(*NAMES)
    fabric.switch.appctl("vlog/set", "vconn:file:dbg")
    fabric.switch.appctl("vlog/disable-rate-limit", "vconn")
    before = changes_sent(fabric.switch)
    fabric.admin(port(CUT.one), "down")
    wait_for("the other way is taken", lambda: fabric.holds(tables({CUT})), SOON)
    fabric.settle()
    fabric.controller.kill()
    sent = changes_sent(fabric.switch)
    assert sent > before, "the log must show changes, or the last assertion proves nothing"
    fabric.controller = ControllerProcess(fabric.controller.log.with_suffix(".yaml"))
    first = [name for name in NAMES if name != CUT.one.switch]
    for name in first:
        fabric.switch.set_controller(name, fabric.controller.target)
    for name in first:
        wait_for("it was read", lambda name=name: fabric.controller.switch(name)["read_age_seconds"])
    assert all(fabric.links().values())
    fabric.connect(CUT.one.switch)
    fabric.settle()
    fabric.switch.appctl("vlog/set", "vconn:file:info")
    assert not all(fabric.links().values())
    assert fabric.holds(tables({CUT}))
    assert changes_sent(fabric.switch) == sent


def test_a_new_configuration_is_for_the_links_that_work(fabric: Fabric) -> None:
    fabric.connect(*NAMES)
    fabric.admin(port(CUT.one), "down")
    wait_for("the link is down", lambda: not all(fabric.links().values()))
    text = TEXT.replace("[a, b, c, d]", "[a, b, c], second_chance: false")
    code, body = fabric.controller.request("PUT", "/v1/config", text)
    assert code == 200, body
    wanted = Whole.of(text).without(frozenset({CUT})).targets.values()
    assert fabric.holds({target.name: target.state for target in wanted})


def test_ports_that_flap_cost_one_change(fabric: Fabric) -> None:
    fabric.connect(*NAMES)
    fabric.admin(port(CUT.one), "down")
    wait_for("the link is down", lambda: not all(fabric.links().values()))
    for state in ("up", "down") * 4:
        fabric.admin(port(CUT.one), state)
        time.sleep(HOLD / 3)  # it never stays up for as long as it would have to
    fabric.settle()
    assert fabric.controller.log.read_text().count(" is down") == 1
