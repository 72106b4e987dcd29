"""The network around a switch: what routers and bridges of real kernels know of a VIP, and learn of a change."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from portlb_app.openflow import mac_number
from tests.net.balancer import Balancer, balancer
from tests.net.network import ROOT, until
from tests.net.wiring import ROUTERS, hardware, with_prefix

TEXT = (ROOT / "flows/ipv6/lb.yaml").read_text()
VIPS = {4: "10.0.0.100", 6: "fd00::100"}
FRESH = "02:00:00:00:01:77"
OLD, NEW = "02:00:00:00:00:64", "02:00:00:00:00:65"
PORT = 8001
MEMBERSHIP = 3.0


@pytest.fixture(scope="module")
def made() -> Iterator[Balancer]:
    """Two servers, IPv4 and IPv6; nothing has an agent."""
    with balancer(TEXT, agents=frozenset()) as made:
        yield made


def neighbour(made: Balancer, family: int, interface: str = "eth0") -> str:
    """What the router knows of the VIP."""
    return made.router.run("ip", "neigh", "show", VIPS[family], "dev", interface).stdout


def asks(made: Balancer, family: int) -> str:
    """The name of the server that answers the router within 2 s."""
    host = VIPS[family] if family == 4 else f"[{VIPS[family]}]"
    done = made.router.run("curl", "-sS", "-m", "2", f"http://{host}:80/name", check=False)
    return done.stdout.strip() or done.stderr


def test_a_changed_mac_address_is_known_at_once(made: Balancer) -> None:
    """A router with fresh entries of the VIP has new ones before it could notice by itself."""
    made.put(TEXT.replace("servers: [a, b]}", "servers: [a, b], legacy: balance}"))
    for family in (4, 6):
        made.router.run("sysctl", "-qw", f"net.ipv{family}.neigh.eth0.base_reachable_time_ms=3600000")
        made.router.run("ip", f"-{family}", "neigh", "flush", "dev", "eth0")
        assert asks(made, family) in ("a", "b")
        assert OLD in neighbour(made, family)
    made.put(made_text(NEW))
    for host in made.servers.values():
        hardware(host, mac_number(NEW))
        for address in VIPS.values():
            host.run("ip", "address", "replace", with_prefix(address), "dev", "eth0")
        for router in ROUTERS:
            host.run("ip", "route", "replace", "default", "via", router, "dev", "eth0")
    for family in (4, 6):
        until(lambda family=family: NEW in neighbour(made, family), f"IPv{family}: it is announced", 3)
        assert asks(made, family) in ("a", "b")


def test_a_vip_that_appears_is_known_before_anything_is_asked(made: Balancer) -> None:
    """By a router that takes an address from whoever announces it."""
    router = made.router
    router.run("sysctl", "-qw", "net.ipv4.conf.eth0.arp_accept=1", "net.ipv6.conf.eth0.forwarding=1")
    router.run("sysctl", "-qw", "net.ipv6.conf.eth0.accept_untracked_na=1")
    before = made_text(NEW)
    server = 'x: {vip: fresh, connector: "s1:2", service_ports: [7777]}'
    vip = f'fresh: {{address: [10.0.0.177, "fd00::177"], mac: "{FRESH}"}}'
    made.put(before.replace("\nvips:\n", f"\nvips:\n  {vip}\n").replace("\nservers:\n", f"\nservers:\n  {server}\n"))
    for address in ("10.0.0.177", "fd00::177"):
        shown = ("ip", "neigh", "show", address, "dev", "eth0")
        until(lambda shown=shown: FRESH in router.run(*shown).stdout, f"{address} is announced", 3)
    made.put(before)


def made_text(mac: str) -> str:
    """The configuration with another MAC address."""
    return TEXT.replace("servers: [a, b]}", "servers: [a, b], legacy: balance}").replace(OLD, mac)


def test_a_host_finds_that_the_vip_s_address_is_taken(made: Balancer) -> None:
    """RFC 4862, 5.4: a kernel that is given the VIP's IPv6 address looks whether it is free, and does not use it."""
    router = made.router
    router.run("sysctl", "-qw", *(f"net.ipv6.conf.{each}.accept_dad=1" for each in ("all", "eth0")))
    router.run("sysctl", "-qw", "net.ipv6.conf.eth0.dad_transmits=3")
    router.run("ip", "address", "add", with_prefix(VIPS[6]), "dev", "eth0")
    until(lambda: "dadfailed" in router.run("ip", "address", "show", "dev", "eth0").stdout, "it is not free")
    router.run("ip", "address", "del", with_prefix(VIPS[6]), "dev", "eth0")


def test_a_bridge_that_snoops_lets_solicitations_through(made: Balancer) -> None:
    """With a querier and short times: the groups of the VIP stay known when they would have aged twice."""
    router = made.router
    mac = re.findall(r"link/ether (\S+)", router.run("ip", "link", "show", "eth0").stdout)[0]
    times = {"query_interval": 100, "startup_query_interval": 100, "query_response_interval": 10}
    times |= {"membership_interval": 150, "snooping": 1, "querier": 1, "mld_version": 2}
    words = [word for name, value in times.items() for word in (f"mcast_{name}", str(value))]
    router.run("ip", "link", "add", "br0", "address", mac, "type", "bridge", *words)
    router.run("ip", "address", "flush", "dev", "eth0")
    router.run("ip", "link", "set", "eth0", "master", "br0")
    router.run("ip", "link", "set", "br0", "up")
    for address in ROUTERS:
        router.run("ip", "address", "add", with_prefix(address), "dev", "br0")
    router.run("ethtool", "-K", "br0", "tx", "off")
    started = time.monotonic()
    until(lambda: "ff02::1:ff00:100" in router.run("bridge", "mdb", "show").stdout, "the group is reported")
    until(lambda: time.monotonic() > started + MEMBERSHIP, "a group would have aged twice")
    for family in (4, 6):
        router.run("ip", "neigh", "flush", "dev", "br0")
        assert asks(made, family) in ("a", "b")
    groups = router.run("bridge", "mdb", "show").stdout
    assert "ff02::1:ff00:100" in groups, groups


def test_a_server_whose_link_local_address_is_not_made_of_its_mac_address() -> None:
    """As NetworkManager has it (RFC 7217): a kernel with the VIP on its loopback asks by such an address, and is found,
    also when its neighbours check whether it is still there.
    """
    text = (ROOT / "flows/mac/lb.yaml").read_text()
    text = text.replace("servers: [a, b, c]}", "servers: [a, b, c], legacy: balance}")
    with balancer(text, agents=frozenset()) as made:
        host, server = made.servers["a"], made.config.server_by_name["a"]
        secret = ("net.ipv6.conf.eth0.stable_secret=2001:db8::1234", "net.ipv6.conf.eth0.addr_gen_mode=2")
        host.run("sysctl", "-qw", *secret)
        assert server.mac is not None
        hardware(host, server.mac)
        host.run("ip", "route", "replace", "fd00::/64", "dev", "eth0")
        host.run("ip", "route", "replace", "default", "via", ROUTERS[1], "dev", "eth0")
        times = ("base_reachable_time_ms=200", "delay_first_probe_time=1")
        host.run("sysctl", "-qw", *(f"net.ipv6.neigh.eth0.{each}" for each in times))
        assert "fe80::d820" in host.run("ip", "address", "show", "dev", "eth0").stdout
        found = [asks(made, 6) for _ in range(24)]
        assert set(found) == {"a", "b", "c"}, found
        local = re.findall(r"inet6 (fe80::\S+)/64", host.run("ip", "address", "show", "dev", "eth0").stdout)[0]
        made.router.run("ping", "-6", "-c", "1", "-W", "2", f"{local}%eth0", check=False)
        until(lambda: "REACHABLE" in made.router.run("ip", "neigh", "show", local).stdout, "the server is found by it")


TWO_VIPS = """
switches: {s1: {dpid: 1, network: 1}}
vips:
  web: {address: [10.0.0.100, "fd00::100"], mac: "02:00:00:00:00:64", default_server: w}
  db: {address: [10.0.0.101, "fd00::101"], mac: "02:00:00:00:00:65", rewrite: address, default_server: p}
servers:
  w: {vip: web, connector: s1:2, service_ports: [80]}
  p: {vip: db, connector: s1:3, address: [10.0.0.11, "fd00::11"], mac: "02:00:00:00:00:0b", service_ports: [5432]}
"""
_CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"


def test_a_server_that_connects_to_a_vip_is_refused_at_once() -> None:
    """To another VIP of its switch, or to its own where that is not the host's; not after seconds of silence."""
    with balancer(TWO_VIPS, agents=frozenset()) as made:
        for server, address, port in (
            ("w", "10.0.0.101", 5432),
            ("w", "fd00::101", 5432),
            ("p", "10.0.0.100", 80),
            ("p", "fd00::100", 80),
            ("p", "10.0.0.101", 5432),
            ("p", "fd00::101", 5432),
        ):
            host = made.servers[server]
            until(lambda host=host: "tentative" not in host.run("ip", "address").stdout, "its addresses are ready")
            done = host.run("python3", "-c", _CONNECT, address, str(port), check=False)
            assert "ConnectionRefusedError" in done.stderr, f"{server} to {address}: {done.stderr}"
        for server, address in (("w", "10.0.0.101"), ("p", "fd00::100")):
            done = made.servers[server].run("ping", "-c", "1", "-W", "2", address, check=False)
            assert "filtered" in done.stdout or "prohibited" in done.stdout, done.stdout
        assert made.router.run("curl", "-sS", "-m", "5", "http://10.0.0.100/name").stdout.strip() == "w"
