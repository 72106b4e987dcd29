"""Loading a configuration: what is right becomes values, what is wrong is named with its path, all at once."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portlb_app import compiler
from portlb_app.config import (
    ConfigError,
    Connector,
    DefaultFor,
    Fragments,
    IcmpErrors,
    IcmpPolicy,
    Legacy,
    RedirectPort,
    Rewrite,
    Server,
    ServicePort,
    Signal,
    Switch,
    UnknownErrors,
    UnknownFragments,
    Vip,
    Wanted,
    load,
)
from portlb_app.config.text import MAX_BYTES, MAX_DEPTH
from portlb_app.openflow.limits import MAX_VIPS
from tests.support import generate

FIG2 = (Path(__file__).parents[3] / "flows/fig2/lb.yaml").read_text()

SMALL: dict[str, Any] = {
    "switches": {"s1": {"dpid": 1, "network": 1}},
    "vips": {
        "web": {
            "address": "10.0.0.100",
            "mac": "02:00:00:00:00:64",
            "default_server": "a",
            "redirect_ports": {20: {"servers": ["a", "b"]}},
        }
    },
    "servers": {
        "a": {"vip": "web", "connector": "s1:2", "service_ports": [1]},
        "b": {"vip": "web", "connector": "s1:3", "service_ports": [{"port": 2, "application": 20}]},
    },
}
NOTHING = object()
"""Stands for taking an entry away."""


def errors(text: str) -> list[str]:
    """Every mistake of a text, as a user reads it."""
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.errors]
    return [str(problem) for problem in caught.value.errors]


def changed(path: str, value: Any) -> str:
    """The small configuration with one entry set, or, if value is NOTHING, taken away."""
    data = json.loads(json.dumps(SMALL))
    *way, last = path.split("/")
    place = data
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
    key: Any = int(last) if isinstance(place, list) else last
    if value is NOTHING:
        del place[key]
    else:
        place[key] = value
    return json.dumps(data)


# --- what is right ----------------------------------------------------------------------------------------------------


def test_the_worked_example() -> None:
    """FIG. 2, value by value."""
    config = load(FIG2)
    assert config.switches == (Switch("s1", 1, 1),)
    (vip,) = config.vips
    assert (vip.name, vip.address, vip.mac) == ("web", IPv4Address("10.0.0.100"), 0x020000000064)
    assert (vip.default_server, vip.default_for) == ("d", DefaultFor.UNKNOWN_PORTS)
    assert vip.redirect_ports == (
        RedirectPort(20, ("a", "b"), Legacy.DROP),
        RedirectPort(21, ("b", "c", "d"), Legacy.DROP),
        RedirectPort(22, ("a", "b", "c", "d"), Legacy.BALANCE, second_chance=86400),
    )
    assert config.servers[0] == Server(
        "a", "web", Connector("s1", 2), (ServicePort(1, 20), ServicePort(5, 22), ServicePort(9, 9))
    )
    assert [server.name for server in config.servers_of(vip)] == list("abcd")
    assert {port: server.name for port, server in config.owners(vip).items()} == {
        port: "abcd"[(port - 1) % 4] for port in range(1, 13)
    }
    assert config.server_by_name["c"].connector == Connector("s1", 4)


def test_a_load_balancer_needs_no_servers() -> None:
    """Row L5: a switch and a VIP are a configuration, and even a switch alone."""
    vip = load('switches: {s1: {dpid: 0x10, network: 3}}\nvips: {web: {address: 10.0.0.1, mac: "02:00:00:00:00:01"}}')
    alone = Vip("web", (IPv4Address("10.0.0.1"),), 0x020000000001, (), None, DefaultFor.UNKNOWN_PORTS)
    assert vip.vips == (replace(alone, icmp_rest=IcmpPolicy.DROP, number=0xc93851),)
    assert vip.switches == (Switch("s1", 16, 3),)
    assert load("switches: {}").vips == ()


@pytest.mark.parametrize(
    ("owned", "default_for", "given", "meant"),
    [
        (False, None, None, Legacy.DROP),
        (True, None, None, Legacy.OWNER),
        (True, "plain_unknown_ports", None, Legacy.OWNER),
        (False, "plain_clients", None, Legacy.DEFAULT),
        (True, "plain_clients", None, Legacy.DEFAULT),
        (True, "plain_clients", "owner", Legacy.OWNER),
        (True, None, "drop", Legacy.DROP),
        (False, None, "default", Legacy.DEFAULT),
        (True, None, "balance", Legacy.BALANCE),
    ],
)
def test_the_policy_for_plain_clients(owned: bool, default_for: str | None, given: str | None, meant: Legacy) -> None:
    """What a redirect port does with plain clients: what it says; else what the VIP says; else owner or drop."""
    data = json.loads(json.dumps(SMALL))
    data["vips"]["web"]["default_for"] = default_for
    data["vips"]["web"]["redirect_ports"]["20"]["legacy"] = given
    if owned:
        data["servers"]["a"]["service_ports"] = [20]
    assert load(json.dumps(data)).vips[0].redirect_ports[0].legacy is meant


def test_plain_words_stay_words() -> None:
    """YAML 1.1's surprises are none here: a MAC address is no sexagesimal number and a server may be called no."""
    mac = "10:20:30:40:50:59"
    assert load(changed("vips/web/mac", "@").replace('"@"', mac)).vips[0].mac == 0x102030405059
    text = yaml.safe_dump(SMALL).replace("  b:", "  no:").replace("- b\n", "- no\n")
    assert [server.name for server in load(text).servers] == ["a", "no"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32))
def test_order_means_nothing(seed: int) -> None:
    """Entries and pools in another order, as JSON or as YAML, are the same configuration and the same tables."""
    data = generate.settings(Random(seed))
    config = load(generate.text(data))
    other = load(yaml.safe_dump(generate.shuffled(Random(seed + 1), data), sort_keys=False))
    assert other == config
    assert compiler.compile(other) == compiler.compile(config)


def test_the_order_of_service_ports_is_kept() -> None:
    """Of several with one application the first is announced, so their order has a meaning."""
    ports = [{"port": 7, "application": 80}, {"port": 3, "application": 80}]
    config = load(changed("servers/a/service_ports", ports))
    assert config.servers[0].service_ports == (ServicePort(7, 80), ServicePort(3, 80))


# --- what is wrong ----------------------------------------------------------------------------------------------------


def test_ten_mistakes_are_ten_errors() -> None:
    """Nobody has to mend a file ten times to read ten errors."""
    text = """
switches:
  s1: {dpid: 1, network: 1}
  s2: {dpid: 1, network: 1}
vips:
  web:
    address: 10.0.0.256
    mac: "03:00:00:00:00:64"
    default_server: z
    redirect_ports:
      20: {servers: [a, b, a]}
      70000: {servers: [a]}
servers:
  a: {vip: web, connector: s1:1, service_ports: [1, 2]}
  c: {vip: web, connector: s3:4, service_ports: [7]}
  b: {vip: web, connector: s1:3, service_ports: [3, 4, 7, 99999]}
"""
    assert errors(text) == [
        "vips.web.address: '10.0.0.256' is not an IP address",
        "vips.web.mac: 03:00:00:00:00:64 is a multicast address; a host's is expected",
        "vips.web.redirect_ports.70000: a port is a number from 1 to 65535",
        "servers.b.service_ports[3].port: should be less than or equal to 65535",
        "switches.s2.dpid: 0x1 is already the dpid of s1",
        "servers.a.connector: s1:1 is the network side of s1, and nothing is rewritten",
        "servers.c.connector: there is no switch s3",
        "servers.b.service_ports[2]: 7 is already owned by c",
        "vips.web.default_server: there is no server z",
        "vips.web.redirect_ports.20.servers[2]: a is given twice",
    ]


def test_a_port_has_one_owner() -> None:
    """The message names who has it."""
    data = json.loads(json.dumps(SMALL))
    data["servers"]["b"]["service_ports"] = [3, 4, 7]
    data["servers"] = {"c": {"vip": "web", "connector": "s1:4", "service_ports": [7]}, **data["servers"]}
    assert errors(json.dumps(data)) == ["servers.b.service_ports[2]: 7 is already owned by c"]


ICMP_MISTAKES = [
    ("{echo: nobody}", "echo: there is no server nobody"),
    ("{echo: 5}", "echo: answer, balance, default, drop or a server's name is expected"),
    ("{other: answer}", "other: the switch answers pings only: use echo"),
    ("{types: {13: answer}}", "types.13: the switch answers pings only: use echo"),
    ("{types: {256: a}}", "types.256: an ICMP type is a number from 0 to 255"),
    ("{types: {13: 7}}", "types.13: balance, default, drop or a server's name is expected"),
    ("{types: {3: a}}", "types.3: is an error about a packet: use icmp.errors"),
    ("{types6: {135: a}}", "types6.135: is neighbour discovery"),
    ("{echo: a, types6: {128: a}}", "types6.128: is given twice: echo is this type"),
    ("{ping: a}", "ping: unknown key"),
]


@pytest.mark.parametrize(("icmp", "message"), ICMP_MISTAKES)
def test_a_mistake_about_icmp(icmp: str, message: str) -> None:
    """Row I1: one mistake, one error."""
    text = FIG2.replace("default_server: d", f"default_server: d\n    icmp: {icmp}")
    assert errors(text) == [f"vips.web.icmp.{message}"]


def test_icmp_by_type() -> None:
    """Row I1: echo is a type of each version; what is not said goes to the default server, or nowhere."""
    icmp = "icmp: {echo: answer, types: {13: b}, types6: {0x8b: balance}}"
    vip = load(FIG2.replace("default_server: d", f"default_server: d\n    {icmp}")).vips[0]
    assert {(rule.version, rule.type): rule.target for rule in vip.icmp_types} == {
        (4, 8): IcmpPolicy.ANSWER,
        (4, 13): "b",
        (6, 128): IcmpPolicy.ANSWER,
        (6, 139): IcmpPolicy.BALANCE,
    }
    assert vip.icmp_rest is IcmpPolicy.DEFAULT
    assert load(FIG2.replace("default_server: d", "")).vips[0].icmp_rest is IcmpPolicy.DROP


MODES = """
switches:
  s1: {dpid: 1, network: 1}
vips:
  n1: {address: [10.0.0.101, "fd00::101"], mac: "02:00:00:00:01:01", rewrite: address}
  n2: {address: "fd00::102", mac: "02:00:00:00:01:02", rewrite: mac, gateway: "02:00:00:00:00:01"}
  n4: {address: 10.0.0.104, mac: "02:00:00:00:01:04"}
servers:
  a: {vip: n1, connector: s1:2, mac: "02:00:00:00:00:0a", address: [10.1.0.1, "fd01::1"]}
  b: {vip: n1, connector: s1:3, mac: "02:00:00:00:00:fe", address: [10.1.0.2, "fd01::2"], router: 10.2.0.1}
  c: {vip: n1, connector: s1:3, mac: "02:00:00:00:00:fe", address: [10.1.0.3, "fd01::3"], router: 10.2.0.1}
  d: {vip: n2, connector: s1:1, mac: "02:00:00:00:00:0d"}
  e: {vip: n2, connector: s1:1, mac: "02:00:00:00:00:0e"}
  f: {vip: n4, connector: s1:4, mac: "02:00:00:00:00:0f", address: 10.3.0.1}
  g: {vip: n4, connector: s1:5}
"""


def test_what_each_mode_needs() -> None:
    """Rows N1, N2, N4, N5: servers with what is theirs are accepted, addresses in the order of the families."""
    config = load(MODES)
    assert [vip.rewrite for vip in config.vips] == [Rewrite.ADDRESS, Rewrite.MAC, Rewrite.NOTHING]
    by_name = config.server_by_name
    assert [str(address) for address in by_name["a"].addresses] == ["10.1.0.1", "fd01::1"]
    assert by_name["b"].mac == by_name["c"].mac == 0x0200000000FE
    assert str(by_name["c"].routers[0]) == "10.2.0.1"
    assert config.vips[1].gateway == 0x020000000001


MODE_MISTAKES = [
    (', mac: "02:00:00:00:00:0a"', "", "servers.a.mac: is missing: VIP n1 rewrites address"),
    ('[10.1.0.1, "fd01::1"]', "10.1.0.1", "servers.a.address: an IPv6 one is missing: VIP n1 rewrites it"),
    ('[10.1.0.1, "fd01::1"]', "[]", "servers.a.address: one address of each family is expected, at least one"),
    (
        '[10.1.0.1, "fd01::1"]', "[10.1.0.1, 10.1.0.9]",
        "servers.a.address: one address of each family is expected, at least one",
    ),
    ("10.1.0.1,", "10.1.0.2,", "servers.b.address: 10.1.0.2 is already the address of a"),
    ("10.1.0.1,", "10.0.0.104,", "servers.a.address: 10.0.0.104 is the address of VIP n4"),
    ('10.1.0.1, "fd01::1"', '"::ffff:a01:1"', "servers.a.address: ::ffff:a01:1 cannot be a host's address"),
    ("00:0a", "00:0f", "servers.f.mac: is already the MAC address of a, which is elsewhere"),
    ("00:0a", "01:04", "servers.a.mac: is the MAC address of VIP n4"),
    ("00:0e", "00:0d", "servers.e.mac: is already the MAC address of d"),
    (', mac: "02:00:00:00:00:0e"', "", "servers.e.mac: is missing: VIP n2 rewrites mac"),
    (
        '00:0d"', '00:0d", address: 10.3.0.9',
        "servers.d.address: VIP n2 rewrites mac: its servers have no addresses of their own",
    ),
    (
        '00:0d"', '00:0d", router: 10.3.0.9',
        "servers.d.router: only servers of a VIP that rewrites address can be behind a router",
    ),
    (', address: 10.3.0.1', "", "servers.f: to talk to other servers it needs both an address and a mac of its own"),
    (
        "s1:2", "s1:1",
        "vips.n1.gateway: is missing: s1:1 is the network side, so servers' packets come back to be rewritten",
    ),
    ("s1:5", "s1:1", "servers.g.connector: s1:1 is the network side of s1, and nothing is rewritten"),
    ("s1:5", "s1:4", "servers.g.connector: s1:4 is already the connector of f"),
    (
        '01:04"', '01:04", gateway: "02:00:00:00:00:01"',
        "vips.n4.gateway: nothing is rewritten: servers' packets go where the servers send them",
    ),
    ("network: 1}", "network: 1, address: 10.0.0.101}", "switches.s1.address: 10.0.0.101 is the address of VIP n1"),
    ("network: 1}", "network: 1, address: 10.3.0.1}", "servers.f.address: 10.3.0.1 is already the address of s1"),
    ("rewrite: mac", "rewrite: port", "vips.n2.rewrite: should be 'nothing', 'mac' or 'address'"),
]


@pytest.mark.parametrize(("old", "new", "message"), MODE_MISTAKES)
def test_a_mistake_about_rewriting(old: str, new: str, message: str) -> None:
    """One mistake, one error."""
    assert MODES.count(old) == 1, old
    assert errors(MODES.replace(old, new)) == [message]


NAMED = """
switches: {s1: {dpid: 1, network: 1, address: 10.0.0.20}}
vips:
  web: {address: [10.0.0.100, "fd00::100"], mac: "02:00:00:00:00:64", rewrite: mac, gateway: "02:00:00:00:00:fe"}
  dns: {address: 10.0.0.101, mac: "02:00:00:00:00:65"}
servers:
  a: {vip: web, connector: s1:2, mac: "02:00:00:00:00:0a", service_address: [10.0.0.102, "fd00::102"]}
  b: {vip: web, connector: s1:2, mac: "02:00:00:00:00:0b", service_mac: "02:00:00:00:01:0b", service_label: 0x12345}
  c: {vip: dns, connector: s1:3, service_address: 10.0.0.103}
"""


def test_what_names_a_server() -> None:
    """X1, X2, X3: addresses, a MAC address and a label are the server's; who has none has none."""
    a, b, c = load(NAMED).servers
    assert [str(address) for address in a.service_addresses] == ["10.0.0.102", "fd00::102"]
    assert (a.service_mac, a.service_label) == (None, None)
    assert (b.service_addresses, b.service_mac, b.service_label) == ((), 0x02000000010B, 0x12345)
    assert [str(address) for address in c.service_addresses] == ["10.0.0.103"]


A, C = "servers.a.service_address: ", "servers.c.service_address: "
NAME_MISTAKES = [
    ("10.0.0.102", "10.0.0.100", A + "10.0.0.100 is already the address of VIP web"),
    ("10.0.0.102", "10.0.0.101", A + "10.0.0.101 is already the address of VIP dns"),
    ("10.0.0.102", "10.0.0.20", A + "10.0.0.20 is already the address of switch s1"),
    ("10.0.0.103", "10.0.0.102", C + "10.0.0.102 is already the address of a"),
    ("fd00::102", "fd00:0:0:1::102", A + "fd00:0:0:1::102 differs from fd00::100 of VIP web in its first 64 bits, "
     "which no option has room for"),
    ("fd00::102", "10.0.0.104", A + "one address of each family is expected, at least one"),
    ("fd00::102", "nonsense", A + "'nonsense' is not an IP address"),
    ("10.0.0.103", "fd00::103", C + "VIP dns has no IPv6 address"),
    ("02:00:00:00:01:0b", "02:00:00:00:00:0a", "servers.b.service_mac: is already the MAC address of server a"),
    ("02:00:00:00:01:0b", "02:00:00:00:00:0b", "servers.b.service_mac: is already the MAC address of server b"),
    ("02:00:00:00:01:0b", "02:00:00:00:00:65", "servers.b.service_mac: is already the MAC address of VIP dns"),
    ("02:00:00:00:01:0b", "02:00:00:00:00:fe",
     "servers.b.service_mac: is already the MAC address of VIP web's gateway"),
    ("02:00:00:00:01:0b", "01:00:00:00:01:0b", "servers.b.service_mac: 01:00:00:00:01:0b is a multicast address; "
     "a host's is expected"),
    ("service_address: 10.0.0.103", 'service_mac: "02:00:00:00:01:0b"',
     "servers.c.service_mac: is already the MAC address of b"),
    ("0x12345", "0", "servers.b.service_label: should be greater than or equal to 1"),
    ("0x12345", "0x100000", "servers.b.service_label: should be less than or equal to 1048575"),
    ("0x12345", '"0x12345"', "servers.b.service_label: a number is expected"),
    ("service_address: 10.0.0.103", "service_label: 7", "servers.c.service_label: VIP dns has no IPv6 address"),
    ('"fd00::102"]', '"fd00::102"], service_label: 0x12345',
     "servers.b.service_label: 0x12345 is already the label of a"),
    ("connector: s1:2, mac: \"02:00:00:00:00:0b\"", "connector: s1:1, mac: \"02:00:00:00:00:0b\"",
     "servers.b.service_mac: s1:1 is the network side: its frames would pass by the switch"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), NAME_MISTAKES)
def test_a_mistake_about_names(old: str, new: str, message: str) -> None:
    """X1, X2, X3: one mistake, one message."""
    assert NAMED.count(old) == 1
    assert errors(NAMED.replace(old, new)) == [message]


def test_a_service_mac_address_needs_the_vips_own_link() -> None:
    """X2: where IP addresses are rewritten a server may be anywhere."""
    text = NAMED.replace("rewrite: mac", "rewrite: address")
    text = text.replace('00:0a", service', '00:0a", address: [10.1.0.1, "fd01::1"], service')
    text = text.replace('00:0b", service', '00:0b", address: [10.1.0.2, "fd01::2"], service')
    message = "servers.b.service_mac: VIP web rewrites address: its servers may be behind a router"
    assert errors(text) == [message]


def test_names_that_meet_in_several_ways_are_several_mistakes() -> None:
    """X1, X2, X3: nothing hides anything else."""
    same = "service_address: 10.0.0.102, service_mac: \"02:00:00:00:00:64\", service_label: 0x12345"
    text = NAMED.replace("service_address: 10.0.0.103", same)
    assert len(errors(text)) == 3


MISTAKES = [
    ("switches", NOTHING, "switches: is missing"),
    ("switches", 5, "switches: is a mapping from names to entries"),
    ("vips", 5, "vips: is a mapping from names to entries"),
    ("servers", [], "servers: is a mapping from names to entries"),
    ("pools", {}, "pools: unknown key"),
    ("switches/s1", [], "switches.s1: is a mapping of dpid, network, datapath, address"),
    ("switches/s1/dpid", NOTHING, "switches.s1.dpid: is missing"),
    ("switches/s1/dpid", 0, "switches.s1.dpid: a datapath id is a number of 64 bits, and not 0"),
    ("switches/s1/dpid", 1 << 64, "switches.s1.dpid: a datapath id is a number of 64 bits, and not 0"),
    ("switches/s1/dpid", (1 << 64) - 1, None),
    ("switches/s1/network", 0, "switches.s1.network: should be greater than or equal to 1"),
    ("switches/s1/dpid", "1", "switches.s1.dpid: a number is expected"),
    ("switches/s1/dpid", True, "switches.s1.dpid: a number is expected"),
    ("switches/s1/network", 0xFF00, "switches.s1.network: should be less than or equal to 65279"),
    ("switches/s1/color", 1, "switches.s1.color: unknown key"),
    ("switches/s2", {"dpid": 1, "network": 1}, "switches.s2.dpid: 0x1 is already the dpid of s1"),
    ("vips/web/address", NOTHING, "vips.web.address: is missing"),
    ("vips/web/address", None, "vips.web.address: is missing"),
    ("vips/web/address", 5, "vips.web.address: an address like 10.0.0.100 or fd00::100 is expected"),
    ("vips/web/address", "10.0.0.01", "vips.web.address: '10.0.0.01' is not an IP address"),
    ("vips/web/address", "fe80::1", "vips.web.address: fe80::1 is not an address that can be routed to"),
    ("vips/web/address", "224.0.0.1", "vips.web.address: 224.0.0.1 cannot be a host's address"),
    ("vips/web/address", "127.0.0.1", "vips.web.address: 127.0.0.1 cannot be a host's address"),
    ("vips/web/address", "0.0.0.0", "vips.web.address: 0.0.0.0 cannot be a host's address"),
    ("vips/web/address", "255.255.255.255", "vips.web.address: 255.255.255.255 cannot be a host's address"),
    ("vips/web/mac", 5, "vips.web.mac: a MAC address like 02:00:00:00:00:01 is expected"),
    ("vips/web/mac", "2:0:0:0:0:1", "vips.web.mac: '2:0:0:0:0:1' is not a MAC address like 02:00:00:00:00:01"),
    *(
        ("vips/web/mac", mac, f"vips.web.mac: {mac!r} is not a MAC address like 02:00:00:00:00:01")
        for mac in (
            "-2:00:00:00:00:01",
            "+2:00:00:00:00:01",
            " 2:00:00:00:00:01",
            "0_:00:00:00:00:01",
            "٠٢:00:00:00:00:01",
        )
    ),
    ("vips/web/mac", "00:00:00:00:00:00", "vips.web.mac: 00:00:00:00:00:00 is no host's address"),
    (
        "vips/web/mac",
        "ff:ff:ff:ff:ff:ff",
        "vips.web.mac: ff:ff:ff:ff:ff:ff is a multicast address; a host's is expected",
    ),
    ("switches/s1/datapath", "kernel", None),
    ("switches/s1/datapath", "dpdk", "switches.s1.datapath: should be 'userspace' or 'kernel'"),
    ("vips/web/icmp", 5, "vips.web.icmp: should be a valid dictionary"),
    ("vips/web/icmp", {"errors": "owner", "unknown": "any"}, None),
    ("vips/web/icmp/error", "owner", "vips.web.icmp.error: unknown key"),
    ("vips/web/icmp/errors", "all", "vips.web.icmp.errors: should be 'owner', 'replicate', 'default' or 'drop'"),
    ("vips/web/icmp/unknown", "any", "vips.web.icmp.unknown: needs errors: owner"),
    ("vips/web/fragments", "replicate", None),
    ("vips/web/fragments", "keep", "vips.web.fragments: should be 'track', 'replicate', 'default' or 'drop'"),
    ("vips/web/log", True, None),
    ("vips/web/log", False, None),
    ("vips/web/log", 1, "vips.web.log: true or false is expected"),
    ("vips/web/log", "yes", "vips.web.log: true or false is expected"),
    ("vips/web/unknown_fragments", "drop", "vips.web.unknown_fragments: needs fragments: track"),
    ("vips/web/redirect_ports/20/signal", "option", None),
    *(("vips/web/redirect_ports/20/second_chance", value, None) for value in (True, False, 60, 2592000)),
    *(
        (
            "vips/web/redirect_ports/20/second_chance",
            value,
            "vips.web.redirect_ports.20.second_chance: true, false or a number of seconds from 60 to 2592000 is "
            "expected",
        )
        for value in (0, 59, 2592001, 60.0, "on")
    ),
    (
        "vips/web/mac",
        "52:4C:00:00:00:01",
        "vips.web.mac: 52:4C:00:00:00:01 is one of portlb's own (docs/second-chance.md); a host's is expected",
    ),
    ("vips/web/redirect_ports/20/signal", "bit", "vips.web.redirect_ports.20.signal: should be 'flag' or 'option'"),
    (
        "vips/web/redirect_ports/20",
        {"servers": ["a", "b"], "signal": "option", "legacy": "default"},
        "vips.web.redirect_ports.20.signal: a cannot redirect from 20: it needs a service port whose application is "
        "20, or the port legacy: balance or drop",
    ),
    (
        "vips/web/redirect_ports/20",
        {"servers": ["b"], "signal": "option", "legacy": "default"},
        None,
    ),
    ("vips/web/default_server", "z", "vips.web.default_server: there is no server z"),
    ("vips/web/default_server", NOTHING, None),
    (
        "vips/web/default_for",
        "all",
        "vips.web.default_for: should be 'unknown_ports', 'plain_unknown_ports' or 'plain_clients'",
    ),
    ("vips/web/redirect_ports", [], "vips.web.redirect_ports: should be a valid dictionary"),
    ("vips/web/redirect_ports/0", {"servers": []}, "vips.web.redirect_ports.0: a port is a number from 1 to 65535"),
    ("vips/web/redirect_ports/x", {"servers": []}, "vips.web.redirect_ports.x: a port is a number from 1 to 65535"),
    ("vips/web/redirect_ports/20", {}, "vips.web.redirect_ports.20.servers: is missing"),
    (
        "vips/web/redirect_ports/20",
        ["a"],
        "vips.web.redirect_ports.20: is a mapping of servers, legacy, signal, pin, quality, selection, moves, "
        "slow_start, when, check, fail_open, second_chance",
    ),
    ("vips/web/redirect_ports/20/servers", "a", "vips.web.redirect_ports.20.servers: should be a valid list"),
    ("vips/web/redirect_ports/20/servers", ["a", 5], "vips.web.redirect_ports.20.servers[1]: should be a valid string"),
    (
        "vips/web/redirect_ports/20/servers",
        [f"n{number}" for number in range(1025)],
        "vips.web.redirect_ports.20.servers: List should have at most 1024 items after validation, not 1025",
    ),
    ("vips/web/redirect_ports/20/servers", ["z"], "vips.web.redirect_ports.20.servers[0]: there is no server z"),
    ("vips/web/redirect_ports/20/servers", ["b", "b"], "vips.web.redirect_ports.20.servers[1]: b is given twice"),
    (
        "vips/web/redirect_ports/20/legacy",
        "all",
        "vips.web.redirect_ports.20.legacy: should be 'owner', 'default', 'balance', 'pin' or 'drop'",
    ),
    (
        "vips/web/redirect_ports/20/legacy",
        "owner",
        "vips.web.redirect_ports.20.legacy: no server owns 20 as a service port",
    ),
    ("servers/a/vip", NOTHING, "servers.a.vip: is missing"),
    ("servers/a/vip", "wep", "servers.a.vip: there is no VIP wep"),
    ("servers/a/connector", NOTHING, "servers.a.connector: is missing"),
    ("servers/a/connector", "s1", "servers.a.connector: a connector is written switch:port, like s1:2"),
    ("servers/a/connector", "s1:0", "servers.a.connector: a connector is written switch:port, like s1:2"),
    ("servers/a/connector", "s1:65280", "servers.a.connector: OpenFlow ports go from 1 to 65279"),
    ("servers/a/connector", "s9:2", "servers.a.connector: there is no switch s9"),
    ("servers/a/connector", "s1:1", "servers.a.connector: s1:1 is the network side of s1, and nothing is rewritten"),
    ("servers/b/connector", "s1:2", "servers.b.connector: s1:2 is already the connector of a"),
    ("servers/a/service_ports/0", 0, "servers.a.service_ports[0].port: should be greater than or equal to 1"),
    ("servers/a/service_ports/0", "1_0", "servers.a.service_ports[0].port: a number is expected"),
    ("servers/a/service_ports/0", None, "servers.a.service_ports[0].port: is missing"),
    ("servers/a/service_ports/0", {"application": 1}, "servers.a.service_ports[0].port: is missing"),
    ("servers/a/service_ports/0", {"port": 1, "x": 1}, "servers.a.service_ports[0].x: unknown key"),
    (
        "servers/a/service_ports/0",
        {"port": 1, "application": 65536},
        "servers.a.service_ports[0].application: should be less than or equal to 65535",
    ),
    ("servers/a/service_ports", [5, 5], "servers.a.service_ports[1]: 5 is given twice"),
    ("servers/b/service_ports", [1], "servers.b.service_ports[0]: 1 is already owned by a"),
    (
        "servers/a/service_ports",
        [{"port": 5, "application": 6}, 6],
        None,
    ),
    (
        "servers/a/service_ports",
        [{"port": 5, "application": 6}, {"port": 6, "application": 7}],
        "servers.a.service_ports[1]: nothing can listen on 6: it stands for 7",
    ),
    ("servers/a/weight", 0, None),
    ("servers/a/weight", 256, None),
    ("servers/a/weight", -1, "servers.a.weight: should be greater than or equal to 0"),
    ("servers/a/weight", 257, "servers.a.weight: should be less than or equal to 256"),
    ("servers/a/weight", False, "servers.a.weight: a number is expected"),
    ("servers/a/state", "drain", None),
    ("servers/a/state", "down", "servers.a.state: should be 'ready', 'drain' or 'maint'"),
    ("servers/a/state", True, "servers.a.state: should be 'ready', 'drain' or 'maint'"),
    (
        "servers/-a",
        {},
        "servers.-a: a name is up to 63 letters, digits, '.', '_' or '-', the first a letter or digit",
    ),
]


@pytest.mark.parametrize(("path", "value", "message"), MISTAKES)
def test_a_mistake_is_one_error(path: str, value: Any, message: str | None) -> None:
    """One mistake, one message, at its place; None marks what looks like one and is none."""
    text = changed(path, value)
    if message is None:
        load(text)
    else:
        assert errors(text) == [message]


def test_what_is_wanted_of_a_server() -> None:
    """Its state; one without weight drains."""
    assert load(changed("servers/a/state", "maint")).server_by_name["a"].wanted is Wanted.MAINT
    assert load(changed("servers/a/state", "ready")).server_by_name["a"].wanted is Wanted.READY
    without = load(changed("servers/a/weight", 0)).server_by_name["a"]
    assert (without.weight, without.state, without.wanted) == (0, Wanted.READY, Wanted.DRAIN)


def test_a_default_policy_needs_a_default_server() -> None:
    """Without one, each entry that counts on it is a mistake."""
    data = json.loads(json.dumps(SMALL))
    del data["vips"]["web"]["default_server"]
    data["vips"]["web"]["default_for"] = "plain_clients"
    data["vips"]["web"]["redirect_ports"]["20"]["legacy"] = "default"
    assert errors(json.dumps(data)) == [
        "vips.web.default_for: there is no default_server",
        "vips.web.redirect_ports.20.legacy: there is no default_server",
    ]


def test_vips_against_each_other() -> None:
    """Addresses are unique, servers belong to one VIP; their ports and connectors are separate matters."""
    data = json.loads(json.dumps(SMALL))
    data["vips"]["dns"] = {"address": "10.0.0.101", "mac": "02:00:00:00:00:64"}
    data["servers"]["c"] = {"vip": "dns", "connector": "s1:2", "service_ports": [1]}
    assert len(load(json.dumps(data)).vips) == 2, "another VIP may use the same connector and the same port"
    data["vips"]["dns"] |= {"address": "10.0.0.100", "default_server": "a", "redirect_ports": {"9": {"servers": ["b"]}}}
    assert errors(json.dumps(data)) == [
        "vips.dns.address: 10.0.0.100 is already the address of web",
        "vips.dns.default_server: a is a server of VIP web",
        "vips.dns.redirect_ports.9.servers[0]: b is a server of VIP web",
    ]


def test_links_lead_to_every_server_of_a_vip() -> None:
    """Without one, no client could reach both."""
    data = json.loads(json.dumps(SMALL))
    data["switches"]["s2"] = {"dpid": 2, "network": 1}
    data["servers"]["b"]["connector"] = "s2:3"
    assert errors(json.dumps(data)) == [
        "servers.b.connector: a of the same VIP is on s1, and no links lead from there"
    ]


def test_more_vips_than_numbers() -> None:
    """Every VIP has a number in cookies and group ids; what has none is refused before it is compiled."""
    data: dict[str, dict[str, Any]] = {
        "switches": {"s1": {"dpid": 1, "network": 1}},
        "vips": {
            f"v{number}": {"address": str(IPv4Address(0x0A000000 + number)), "mac": "02:00:00:00:00:01"}
            for number in range(1, MAX_VIPS + 2)
        },
    }
    assert errors(json.dumps(data)) == ["vips: has 4097 entries; 4096 are the most"]
    del data["vips"]["v1"]
    assert len(load(json.dumps(data)).vips) == MAX_VIPS


def test_a_key_given_twice() -> None:
    """YAML libraries keep the last one in silence."""
    text = yaml.safe_dump(SMALL)
    assert errors(text + "switches: {s1: {dpid: 1, network: 1}}\n") == ["switches: is given twice"]
    twice = text.replace("      20:", '      "20": {servers: [a]}\n      20:')
    assert errors(twice) == ["vips.web.redirect_ports.20: is given twice"]
    assert errors(FIG2.replace("dpid: 1,", "dpid: 1, dpid: 2,")) == ["switches.s1.dpid: is given twice"]


# --- what is hostile --------------------------------------------------------------------------------------------------

HOSTILE = {
    "": "the configuration is a mapping",
    "- 1": "the configuration is a mapping",
    "5": "the configuration is a mapping",
    "[" * 500: f"line 1, column {MAX_DEPTH + 1}: nested deeper than {MAX_DEPTH} levels",
    "[" * 100_000: "nest",  # libyaml 0.2.6 gives up by itself where the scanner is 1,000 levels deep
    '{"a":' * 100_000: f"nested deeper than {MAX_DEPTH} levels",
    "- " * 100_000: f"nested deeper than {MAX_DEPTH} levels",
    "a" * (MAX_BYTES + 1): f"the configuration is larger than {MAX_BYTES} bytes",
    "\N{SNOWMAN}" * (MAX_BYTES // 3 + 1): f"the configuration is larger than {MAX_BYTES} bytes",
    "a: &x 1\nb: *x": "line 1, column 4: anchors and aliases are not supported",
    "a: &x [*x, *x]": "anchors and aliases are not supported",
    "a: *x": "line 1, column 4: anchors and aliases are not supported",
    "a: !!python/object/apply:os.system [id]": "line 1, column 4: tags are not supported",
    "a: !!int 5": "tags are not supported",
    "a: 1\n---\nb: 1": "line 2, column 1: one document is expected",
    "? [a]\n: b": "line 1, column 3: a key is a plain word or number",
    "a: \0": "not YAML",
    "a: \x01": "not YAML",
    "a: \ud800": "not YAML",
    "\udcff": "not YAML",
    "a: [1": "not YAML",
    "a: 'b": "not YAML",
    "%YAML 9.9\n---\na: 1": "directives (lines that begin with %) are not supported",
    "\t- a": "not YAML",
    "a: b: c": "line 1, column 5: not YAML",
}


@pytest.mark.parametrize("text", HOSTILE, ids=[repr(text[:24]) for text in HOSTILE])
def test_hostile_text(text: str) -> None:
    """A configuration also comes over REST: whatever it is, the answer is one ConfigError that says why."""
    (error,) = errors(text)
    assert HOSTILE[text] in error


def test_large_but_sound() -> None:
    """1000 servers with ten service ports each load."""
    data = json.loads(json.dumps(SMALL))
    data["servers"] = {
        f"n{number}": {
            "vip": "web",
            "connector": f"s1:{number + 2}",
            "service_ports": list(range(100 + 10 * number, 110 + 10 * number)),
        }
        for number in range(1000)
    }
    data["vips"]["web"]["default_server"] = "n1"
    data["vips"]["web"]["redirect_ports"]["20"]["servers"] = [f"n{number}" for number in range(256)]
    assert len(load(json.dumps(data)).owners(load(json.dumps(data)).vips[0])) == 10_000


def only_config_errors(text: str) -> None:
    try:
        config = load(text)
    except ConfigError as error:
        assert error.errors
        assert all(problem.message for problem in error.errors)
    else:
        compiler.compile(config)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=())))
@example("{null: 1, true: 2, 1: 3}")
@example("{switches: {null: 1}, vips: {5: {}}, servers: {[]: 1}}")
def test_any_text(text: str) -> None:
    """load() raises nothing but ConfigError."""
    only_config_errors(text)


def test_what_is_handed_up_by_default() -> None:
    """Nothing: errors go to every server, fragments to the default server; the policies for the unknown follow it."""
    (vip,) = load(json.dumps(SMALL)).vips
    assert (vip.icmp_errors, vip.unknown_errors) == (IcmpErrors.REPLICATE, UnknownErrors.DEFAULT)
    assert (vip.fragments, vip.unknown_fragments) == (Fragments.DEFAULT, UnknownFragments.DEFAULT)
    assert [pool.signal for pool in vip.redirect_ports] == [Signal.FLAG]
    (vip,) = load(changed("vips/web/default_server", NOTHING)).vips
    assert (vip.unknown_errors, vip.fragments) == (UnknownErrors.DROP, Fragments.DROP)
    assert vip.unknown_fragments is UnknownFragments.DROP


def test_a_default_that_is_asked_for_must_be_there() -> None:
    """Without a default server nothing can go to it by name; where addresses are rewritten errors need their owner."""
    vip = {
        "address": "10.0.0.100",
        "mac": "02:00:00:00:00:64",
        "icmp": {"errors": "default"},
        "fragments": "track",
        "unknown_fragments": "default",
    }
    data = {"switches": {"s1": {"dpid": 1, "network": 1}}, "vips": {"web": vip}}
    missing = "there is no default_server"
    assert errors(json.dumps(data)) == [f"vips.web.icmp.errors: {missing}", f"vips.web.unknown_fragments: {missing}"]
    vip |= {"icmp": {"errors": "owner", "unknown": "default"}, "fragments": "default", "unknown_fragments": None}
    assert errors(json.dumps(data)) == [f"vips.web.icmp.unknown: {missing}", f"vips.web.fragments: {missing}"]
    vip |= {"icmp": {"errors": "replicate"}, "fragments": "drop", "rewrite": "address"}
    own = "servers know their packets by their own addresses: owner or drop"
    assert errors(json.dumps(data)) == [f"vips.web.icmp.errors: {own}"]
    vip |= {"icmp": {"unknown": "drop"}}
    (made,) = load(json.dumps(data)).vips
    assert made.icmp_errors is IcmpErrors.OWNER


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 70000),
    st.integers(),
    st.sampled_from(("a", "b", "web", "s1", "s1:2", "10.0.0.1", "02:00:00:00:00:01", "20", "drop", "owner", "")),
    st.sampled_from(("track", "option", "kernel", "default", "any")),
    st.text(max_size=5),
)
KEYS = st.sampled_from(
    "switches vips servers s1 web a b dpid network address mac default_server default_for redirect_ports legacy vip "
    "connector service_ports port application 20 icmp errors unknown fragments unknown_fragments signal "
    "datapath".split()
)
DATA = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=25
)


@settings(max_examples=300, deadline=None)
@given(DATA)
def test_any_data(data: Any) -> None:
    """load() raises nothing but ConfigError, also for well-formed nonsense in the words of a configuration."""
    only_config_errors(json.dumps(data))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1 << 32), SCALARS | DATA)
def test_any_single_fault(seed: int, value: Any) -> None:
    """A sound configuration with one entry replaced by anything loads and compiles, or is a ConfigError."""
    random = Random(seed)
    data = generate.settings(random)
    place: Any = data
    while True:
        key = random.choice(list(place)) if isinstance(place, dict) else random.randrange(len(place))
        if not isinstance(place[key], (dict, list)) or not place[key] or random.random() < 0.2:
            break
        place = place[key]
    place[key] = value
    only_config_errors(json.dumps(data))
