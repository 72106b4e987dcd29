"""What a server's agent announces, as the configuration has it."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from portlb_app.agent import client
from portlb_app.agent.errors import AgentError
from portlb_app.agent.locator import MacPrefix, mac_prefix
from portlb_app.agent.mapping import ServerMapping, mapping_of
from portlb_app.config import load

FIG2 = (Path(__file__).parents[3] / "flows/fig2/lb.yaml").read_text()


def test_a_server_announces_the_service_ports_behind_redirect_ports() -> None:
    """E2: 20 and 22 are answered by 1 and 5; 9 is a service port of its own (E1)."""
    mapping = mapping_of(load(FIG2), "a")
    assert [str(vip) for vip in mapping.vips] == ["10.0.0.100"]
    assert dict(mapping.announced_ports) == {20: 1, 22: 5}
    assert dict(mapping.applications) == {1: 20, 5: 22, 9: 9}


@pytest.mark.parametrize(("policy", "announced"), [("owner", {20: 21}), ("balance", {}), ("drop", {})])
def test_a_shared_service_port_is_announced_only_where_plain_packets_reach_its_owner(
    policy: str, announced: dict[int, int]
) -> None:
    """E2, D1: packets of a redirected connection carry no REDIRECT, so the policy of the port they go to decides."""
    config = load(
        "switches: {s1: {dpid: 1, network: 1}}\n"
        "vips: {web: {address: 10.0.0.100, mac: 02:00:00:00:00:64, redirect_ports: {"
        f"20: {{servers: [a]}}, 21: {{servers: [a], legacy: {policy}}}}}}}}}\n"
        "servers: {a: {vip: web, connector: s1:2, service_ports: [{port: 21, application: 20}]}}\n"
    )
    assert dict(mapping_of(config, "a").announced_ports) == announced


def test_a_server_nobody_configured_is_an_error() -> None:
    """The message says which there are."""
    with pytest.raises(AgentError, match="no server z.*a, b, c, d"):
        mapping_of(load(FIG2), "z")


NAMED = """
switches: {s1: {dpid: 1, network: 1}}
vips: {web: {address: [10.0.0.100, "fd00::100"], mac: "02:00:00:00:00:64", rewrite: address, redirect_ports: {
  20: {servers: [a]}, 21: {servers: [b]}}}}
servers:
  a: {vip: web, connector: s1:2, mac: "02:00:00:00:00:0a", address: [10.1.0.1, "fd01::1"],
      service_ports: [{port: 1, application: 20}], service_address: [10.0.0.101, "fd00::101"]}
  b: {vip: web, connector: s1:3, mac: "02:00:00:00:00:0b", address: [10.1.0.2, "fd01::2"], service_label: 7}
  c: {vip: web, connector: s1:4, mac: "02:00:00:00:00:0c", address: [10.1.0.3, "fd01::3"], service_ports: [9]}
"""


def test_a_name_is_announced_where_there_is_no_service_port() -> None:
    """X1, X2, X3: port 20 has one on a; a's service addresses stand for the addresses a itself has."""
    a, b, c = (mapping_of(load(NAMED), name) for name in "abc")
    assert (dict(a.announced_ports), a.locator_ports) == ({20: 1}, {21})
    stand_for = {"10.0.0.101": "10.1.0.1", "fd00::101": "fd01::1"}
    assert {str(name): str(own) for name, own in a.service_addresses.items()} == stand_for
    assert (b.locator_ports, b.service_label, b.service_mac, dict(b.service_addresses)) == ({20, 21}, 7, None, {})
    assert c.locator_ports == frozenset()


V4, V6, NAME = ip_address("10.0.0.100"), ip_address("fd00::100"), ip_address("10.0.0.101")
BAD_NAMES: list[tuple[dict[str, Any], str]] = [
    ({"locator_ports": frozenset({0}), "service_mac": 1}, "a port is a number from 1 to 65535, not 0"),
    ({"locator_ports": frozenset({20})}, "port 20 has nothing to announce"),
    (
        {"locator_ports": frozenset({9}), "announced_ports": {9: 9}, "applications": {9: 9}, "service_mac": 1},
        "and a locator: choose one",
    ),
    ({"service_addresses": {NAME: V4, ip_address("10.0.0.102"): V4}}, "one service address of each family"),
    ({"service_addresses": {NAME: V6}}, "must stand for a served address"),
    ({"service_addresses": {V4: V4}}, "must stand for a served address"),
    ({"service_addresses": {NAME: ip_address("10.9.9.9")}}, "must stand for a served address"),
    ({"service_label": 1 << 20}, "a label is a number from 1 to 0xfffff, not 0x100000"),
    ({"service_label": 0}, "a label is a number from 1 to 0xfffff, not 0x0"),
]


@pytest.mark.parametrize(("settings", "reason"), BAD_NAMES, ids=[reason for _, reason in BAD_NAMES])
def test_a_faulty_name_is_an_error(settings: dict[str, Any], reason: str) -> None:
    """X1, X2, X3: whatever the source, an agent never starts with one."""
    with pytest.raises(AgentError, match=reason):
        ServerMapping((V4, V6), **settings)


@pytest.mark.parametrize(
    ("text", "address", "bits"),
    [
        ("02:00:00:00:01:0b", 0x02000000010B, 48),
        ("02:0:0:0:1:0/40", 0x020000000100, 40),
        ("02:00:00:00:00:00/7", 2 << 40, 7),
    ],
)
def test_beginnings_of_mac_addresses(text: str, address: int, bits: int) -> None:
    """X2: all of one, or its first bits."""
    assert mac_prefix(text) == MacPrefix(address, bits)


@pytest.mark.parametrize(
    "text",
    ["", "02:00:00:00:01", "02:00:00:00:01:0b:0c", "02:00:00:00:01:0g", "02:00:00:00:01:0b/40", "02:00:00:00:01:0b/",
     "02:00:00:00:01:0b/0", "02:00:00:00:01:0b/49", "02:00:00:00:01:0b/x", "02-00-00-00-01-0b", "02:00:00:00:01:00b"],
)  # fmt: skip
def test_what_is_no_mac_address(text: str) -> None:
    """X2: an error that names the text."""
    with pytest.raises(AgentError, match=re.escape(repr(text))):
        mac_prefix(text)


def test_how_much_a_client_may_be_allowed() -> None:
    """X1, X2: 16 networks of each family, 16 beginnings of MAC addresses; a VIP is no service address."""
    networks = [ip_network(f"192.0.2.{number}") for number in range(17)]
    macs = [MacPrefix(number + 1) for number in range(17)]
    assert client.settings([V4], services=networks[1:], macs=macs[1:])
    for settings in ({"services": networks}, {"macs": macs}, {"services": [ip_network("10.0.0.100")]}):
        with pytest.raises(AgentError):
            client.settings([V4], **settings)  # type: ignore[arg-type]
