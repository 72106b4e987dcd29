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


def made_text(mac: str) -> str:
    """The configuration with another MAC address."""
    return TEXT.replace("servers: [a, b]}", "servers: [a, b], legacy: balance}").replace(OLD, mac)


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
