"""The switches of a configuration as bridges of one Open vSwitch with its dummy datapath, and a real controller."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from portlb_app import compiler
from portlb_app.config import Config, Link, load
from portlb_app.openflow import SwitchState
from portlb_app.topology.conditions import Conditions
from tests.ovs.controller import ControllerProcess, wait_for
from tests.ovs.switch import Switch

_LEFT = re.compile(r"(\S+)<->\S+: no response to inactivity probe")
_DROPPED = re.compile(r"(\S+) is disconnected")


def tables(text: str, down: frozenset[Link] = frozenset()) -> Mapping[str, SwitchState]:
    """What the switches shall hold, by their names."""
    return compiler.compile(load(text), Conditions(links_down=down))


def port_name(switch: str, port: int) -> str:
    """The interface behind a port."""
    return f"{switch}p{port}"


class Fleet:
    """Bridges with the ports that a configuration names, all up, and ``portlb controller`` for that configuration."""

    def __init__(self, directory: Path, text: str, *flags: str, resync: float = 30.0) -> None:
        """`flags` are more words for the controller. `close()` ends all of it."""
        self.config = load(text)
        self.switch = Switch(directory)
        try:
            for name, dpid, numbers in _ports(self.config):
                self.switch.add_bridge(name, dpid, {port_name(name, number): number for number in numbers})
            self.switch.appctl("netdev-dummy/set-admin-state", "up")
            path = directory / "lb.yaml"
            path.write_text(text)
            self.controller = ControllerProcess(path, *flags, resync=resync)
        except BaseException:
            self.switch.close()
            raise
        self._log = directory / "ovs-vswitchd.log"

    def close(self) -> None:
        """End the controller and Open vSwitch."""
        self.controller.close()
        self.switch.close()

    def connect(self) -> None:
        """Give every bridge its controller."""
        self.switch.set_controllers((each.name for each in self.config.switches), self.controller.target)

    def admin(self, end: object, state: str) -> None:
        """Set the port of a link's end: up or down."""
        self.switch.appctl("netdev-dummy/set-admin-state", str(end).replace(":", "p"), state)

    def unsynced(self) -> dict[str, str]:
        """The switches that are not synced, and what they are."""
        switches = self.controller.status()["switches"]
        return {each["name"]: each["state"] for each in switches if each["state"] != "synced"}

    def settle(self, seconds: float) -> float:
        """Wait until all switches are synced; the seconds it took. `seconds`: in which at least one more must be."""
        began = time.monotonic()
        while left := len(self.unsynced()):
            wait_for(f"{left} switches are not synced: another one", self._are_fewer_than(left), seconds)
        return time.monotonic() - began

    def _are_fewer_than(self, number: int) -> Callable[[], bool]:
        return lambda: len(self.unsynced()) < number

    def differing(self, wanted: Mapping[str, SwitchState]) -> list[str]:
        """The switches that hold other flows or groups than these."""
        return [name for name, state in wanted.items() if not self._holds(name, state)]

    def _holds(self, name: str, state: SwitchState) -> bool:
        groups = {int(line.split(",")[0].removeprefix("group_id=")) for line in self.switch.dump_groups(name)}
        same = groups == {group.number for group in state.groups}
        return same and self.switch.diff_flows(name, "\n".join(map(str, state.flows))) == ""

    def mark(self) -> tuple[int, int]:
        """Where the logs of Open vSwitch and of the controller end now."""
        return self._log.stat().st_size, self.controller.log.stat().st_size

    def left(self, since: tuple[int, int]) -> tuple[int, int]:
        """How often switches have left by Open vSwitch's inactivity probe, and been disconnected for the controller."""
        here, there = since
        return (
            len(_LEFT.findall(_rest(self._log, here))),
            len(_DROPPED.findall(_rest(self.controller.log, there))),
        )


def _rest(path: Path, since: int) -> str:
    with path.open("rb") as file:
        file.seek(since)
        return file.read().decode(errors="replace")


def _ports(config: Config) -> list[tuple[str, int, list[int]]]:
    """Every switch's name, datapath id and ports."""
    numbers: dict[str, set[int]] = {each.name: set() for each in config.switches}
    for each in config.switches:
        if each.network is not None:
            numbers[each.name].add(each.network)
    for end in [*(end for link in config.links for end in link), *(server.connector for server in config.servers)]:
        numbers[end.switch].add(end.port)
    return [(each.name, each.dpid, sorted(numbers[each.name])) for each in config.switches]
