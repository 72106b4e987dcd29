"""What the hosts of a network are told of VIPs unasked, by real switches and a real controller."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.ovs.bridge import Bridge
from tests.ovs.controller import ControllerProcess, wait_for
from tests.ovs.switch import Switch

NETWORK, SERVER = 1, 2
ARP, ICMP6 = 0x0806, 0x86DD
ADVERTISEMENT = 136
CONFIG = """
switches:
  s1: {{dpid: {dpids[0]}, network: 1}}
  s2: {{dpid: {dpids[1]}, network: 1}}
vips:
  web: {{address: [10.0.0.100, "fd00::100"], mac: "{mac}"}}
  db: {{address: 10.0.0.101, mac: "02:00:00:00:00:65"}}
servers:
  a: {{vip: web, connector: "{switch}:2", service_ports: [80]}}
  b: {{vip: db, connector: "s1:2", service_ports: [5432]}}
{more}
"""
MORE = """  c: {vip: late, connector: "s1:2", service_ports: [22]}"""
LATE = """  late: {address: [10.0.0.102, "fd00::102"], mac: "02:00:00:00:00:66"}"""


class Stage:
    """Two switches with a network side and a server each, and a controller."""

    def __init__(self, switch: Switch, directory: Path) -> None:
        self.bridges = {name: Bridge(switch, (NETWORK, SERVER)) for name in ("s1", "s2")}
        self.dpids = [0x100 + int(bridge.name[2:]) for bridge in self.bridges.values()]
        (directory / "lb.yaml").write_text(self.text())
        self.controller = ControllerProcess(directory / "lb.yaml")
        for name, bridge in self.bridges.items():
            switch.set_controller(bridge.name, self.controller.target)
            self.controller.wait_for_state(name, "synced")

    def text(self, mac: str = "02:00:00:00:00:64", switch: str = "s1", with_late: bool = False) -> str:
        """The configuration: the MAC address of a VIP, where its server is, and whether there is one VIP more."""
        text = CONFIG.format(dpids=self.dpids, mac=mac, switch=switch, more=MORE if with_late else "")
        return text.replace("\nservers:", f"\n{LATE}\nservers:") if with_late else text

    def put(self, text: str) -> None:
        """Have a configuration, on both switches."""
        assert self.controller.request("PUT", "/v1/config", text)[0] == 200

    def told(self, name: str) -> set[tuple[str, str]]:
        """The addresses that a switch has announced to its network, each with its MAC address."""
        return {found for frame in self.bridges[name].announced(NETWORK) if (found := claim(frame))}

    def wait_for(self, name: str, *claims: tuple[str, str]) -> None:
        """Wait until a switch has announced these."""
        wait_for(f"{name} announces {claims}", lambda: set(claims) <= self.told(name))

    def close(self) -> None:
        """End it."""
        for bridge in self.bridges.values():
            bridge.close()
        assert self.controller.close() == 0


def claim(frame: bytes) -> tuple[str, str] | None:
    """What a frame says where an address is: a request for the sender's own (RFC 5227, 3), or an advertisement to all
    that overrides what was known (RFC 4861, 7.2.6).
    """
    kind = int.from_bytes(frame[12:14], "big")
    if kind == ARP and frame[28:32] == frame[38:42] and frame[6:12] == frame[22:28]:
        return str(ip_address(frame[28:32])), frame[22:28].hex(":")
    if kind == ICMP6 and frame[54] == ADVERTISEMENT and frame[58] & 0x20:
        return str(ip_address(frame[62:78])), frame[80:86].hex(":")
    return None


@pytest.fixture(scope="module")
def stage(switch: Switch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """See `Stage`."""
    made = Stage(switch, tmp_path_factory.mktemp("announcements"))
    yield made
    made.close()


def test_vips_are_announced_when_they_appear_move_and_change_their_mac_address(stage: Stage) -> None:
    """Each where it is then, and nothing else is."""
    old, new = "02:00:00:00:00:64", "02:00:00:00:00:99"
    web = [("10.0.0.100", old), ("fd00::100", old)]
    stage.wait_for("s1", *web, ("10.0.0.101", "02:00:00:00:00:65"))
    assert stage.told("s2") == set()

    stage.put(stage.text(with_late=True))
    late = {("10.0.0.102", "02:00:00:00:00:66"), ("fd00::102", "02:00:00:00:00:66")}
    stage.wait_for("s1", *late)

    stage.put(stage.text(switch="s2"))
    stage.wait_for("s2", *web)
    assert stage.told("s2") == set(web)

    known = stage.told("s1")
    stage.put(stage.text(mac=new, switch="s2"))
    stage.wait_for("s2", ("10.0.0.100", new), ("fd00::100", new))
    assert stage.told("s1") == known, "nothing has changed there"
