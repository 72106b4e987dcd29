"""Slots on a real switch: a controller takes over those that are there; a server whose port is down loses its own."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from portlb_app import compiler
from portlb_app.config import Config, load
from portlb_app.net.packets import REDIRECT, TCP, UDP
from portlb_app.pipeline import SLOTS
from portlb_app.selection import slots
from portlb_app.topology.conditions import Conditions, PoolKey, PoolSlots
from tests.net.network import SYN
from tests.ovs.bridge import Bridge
from tests.ovs.controller import ControllerProcess, free_port, wait_for
from tests.ovs.switch import Switch, changes_sent
from tests.support import wire

FIG2 = (Path(__file__).parents[2] / "flows/fig2/lb.yaml").read_text()
PORTS = range(1, 6)
VIP, PORT = IPv4Address("10.0.0.100"), 22
Start = Callable[..., ControllerProcess]


@pytest.fixture
def bridge(switch: Switch) -> Iterator[Bridge]:
    """A bridge with FIG. 2's ports, all up."""
    made = Bridge(switch, PORTS)
    yield made
    made.close()


@pytest.fixture
def start(tmp_path: Path, bridge: Bridge) -> Iterator[Start]:
    """Starts a controller for FIG. 2 on this bridge, and waits until the bridge has its tables."""
    started: list[ControllerProcess] = []
    path = tmp_path / "lb.yaml"
    path.write_text(text(bridge))

    port = free_port()
    bridge.switch.set_controller(bridge.name, f"tcp:127.0.0.1:{port}")  # the first one: the bridge loses its tables

    def start() -> ControllerProcess:
        started.append(ControllerProcess(path, openflow_port=port, resync=0.5))
        started[-1].wait_for_state("s1", "synced")
        return started[-1]

    yield start
    for controller in started:
        controller.close()


def text(bridge: Bridge) -> str:
    """FIG. 2 on a bridge."""
    return FIG2.replace("{dpid: 1,", f"{{dpid: {0x100 + int(bridge.name[2:])},")


def shuffled(config: Config) -> dict[PoolKey, PoolSlots]:
    """For each pool other slots than it begins with; the same shares."""
    chance = random.Random("slots")
    return {
        (vip.name, pool.port): PoolSlots(tuple(chance.sample(slots(pool.servers), SLOTS)))
        for vip in config.vips
        for pool in vip.redirect_ports
    }


def groups(bridge: Bridge) -> list[str]:
    """What the switch holds of pools."""
    return sorted(bridge.switch.dump_groups(bridge.name))


def set_port(bridge: Bridge, port: int, state: str) -> None:
    """Set a port up or down, as by the host at its other end."""
    bridge.command("netdev-dummy/set-admin-state", bridge.port_name(port), state)


def pool(controller: ControllerProcess, port: int = PORT) -> dict[str, Any]:
    """What the status says about a pool."""
    found: dict[str, Any] = next(each for each in controller.status()["pools"] if each["port"] == port)
    return found


def is_as_wanted(controller: ControllerProcess) -> bool:
    """Whether the switch was read to hold what it should."""
    return controller.switch("s1")["state"] == "synced" and all(
        each["differ"] == 0 for known in controller.status()["pools"] for each in known["held"]
    )


def test_successors_send_nothing(bridge: Bridge, start: Start) -> None:
    """Whatever slots the switch holds; also while a server is down, which is back for the last of them."""
    config = load(text(bridge))
    bridge.install(compiler.compile(config, Conditions(slots=shuffled(config)))["s1"])
    first = groups(bridge)
    (connector,) = (each.connector.port for each in config.servers if each.name == "b")
    sent = changes_sent(bridge.switch)
    controller = start()
    assert (groups(bridge), changes_sent(bridge.switch)) == (first, sent)
    assert is_as_wanted(controller) and pool(controller)["missing"] == {}

    set_port(bridge, connector, "down")
    wait_for("b has no slots", lambda: "b" not in pool(controller)["held"][0]["slots"] and is_as_wanted(controller))
    assert pool(controller)["missing"]["b"]["reason"] == f"port s1:{connector} is set down"
    without, sent = groups(bridge), changes_sent(bridge.switch)
    assert without != first
    controller.kill()

    successor = start()
    wait_for("it was read again", lambda: successor.switch("s1")["read_age_seconds"] and is_as_wanted(successor))
    assert (groups(bridge), changes_sent(bridge.switch)) == (without, sent)
    assert pool(successor)["missing"]["b"]["seen"] == "down"
    successor.kill()

    set_port(bridge, connector, "up")
    last = start()
    wait_for("b has slots", lambda: pool(last)["held"][0]["slots"].get("b") == SLOTS // 4 and is_as_wanted(last))
    log = last.log.read_text()
    assert "entries were changed by others" not in log and "server b is up again" in log


def test_successors_go_on_where_slots_are_on_their_way(bridge: Bridge, start: Start, tmp_path: Path) -> None:
    """In the middle of a slow start, and with shares that load has made: nothing is sent by one, nor by the next."""
    port = {"20: {servers: [a, b]": ", selection: least", "22: {servers: [a, b, c, d]": ", slow_start: 3600"}
    changed = text(bridge)
    for before, more in port.items():
        assert before in changed
        changed = changed.replace(before, before + more)
    (tmp_path / "lb.yaml").write_text(changed)
    config = load(changed)
    by_load = ("a",) * 56 + ("b",) * 200
    d_is_new = tuple("d" if slot < 5 else "abc"[slot % 3] for slot in range(SLOTS))
    held = shuffled(config) | {("web", 20): PoolSlots(by_load), ("web", PORT): PoolSlots(d_is_new)}
    bridge.install(compiler.compile(config, Conditions(slots=held))["s1"])
    first, sent = groups(bridge), changes_sent(bridge.switch)
    for _ in range(2):
        controller = start()
        read = controller.status()["switches"][0]["read_age_seconds"]
        wait_for("it was read again", lambda: controller.switch("s1")["read_age_seconds"] < read)  # noqa: B023
        assert (groups(bridge), changes_sent(bridge.switch)) == (first, sent)
        assert pool(controller, 20)["slots"] == {"a": 56, "b": 200} and pool(controller)["slots"]["d"] == 5
        controller.kill()


def openings(number: int) -> list[bytes]:
    """A SYN with REDIRECT and a UDP datagram from each of so many clients."""
    chance = random.Random("slots")
    frames = []
    for _ in range(number):
        client, port = IPv4Address(chance.randrange(0x0B000000, 0x0BFFFFFF)), chance.randrange(1024, 65536)
        segment = wire.tcp_segment(client, VIP, port, PORT, b"", flags=SYN | REDIRECT)
        datagram = wire.udp_datagram(client, VIP, port, PORT, b"")
        frames += [wire.ethernet(4, wire.ip(client, VIP, *each)) for each in ((TCP, segment), (UDP, datagram))]
    return frames


def servers_of(bridge: Bridge, frames: list[bytes]) -> dict[bytes, int]:
    """The port by which each frame leaves."""
    return {frame: port for port, left in bridge.send(1, frames).items() for frame in left}


def test_without_a_controller_only_the_dead_server_s_slots_move(bridge: Bridge) -> None:
    """Its buckets watch its port; others take its packets, and it has the same again when the port is back. UDP leaves
    it at once, too.
    """
    config = load(text(bridge))
    bridge.install(compiler.compile(config)["s1"])
    (connector,) = (each.connector.port for each in config.servers if each.name == "b")
    frames = openings(500)
    before = servers_of(bridge, frames)
    assert len(before) == len(frames) and connector in before.values()
    set_port(bridge, connector, "down")
    without: dict[bytes, int] = {}

    def has_left() -> bool:
        without.update(servers_of(bridge, frames))
        return connector not in without.values()

    wait_for("the switch has seen it, and its datapath", has_left)
    assert len(without) == len(frames)
    assert {frame for frame in frames if without[frame] != before[frame]} == {
        frame for frame in frames if before[frame] == connector
    }
    set_port(bridge, connector, "up")
    wait_for("the switch has seen that, too", lambda: servers_of(bridge, frames) == before)
