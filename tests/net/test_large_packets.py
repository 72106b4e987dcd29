"""Packets that are large for a wire or for a meter, between real hosts: pings in fragments, datagrams above a rate."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import pytest

from tests.net.balancer import BRIDGE, Balancer, balancer
from tests.net.network import Namespace, until

TEXT = """
switches: {s1: {dpid: 1, network: 1}}
vips:
  web:
    address: [10.0.0.100, "fd00::100"]
    mac: "02:00:00:00:00:64"
    default_server: a
servers:
  a: {vip: web, connector: s1:2, service_ports: [8001]}
  b: {vip: web, connector: s1:3, service_ports: [8002, {port: 53, quality: {rate: 100}}]}
  c: {vip: web, connector: s1:4, service_ports: [8003]}
"""
VIPS = {4: "10.0.0.100", 6: "fd00::100"}
ALL = frozenset("abc")


@pytest.fixture(scope="module")
def made() -> Iterator[Balancer]:
    """Three servers, IPv4 and IPv6, without agents."""
    with balancer(TEXT, agents=frozenset()) as made:
        for family in (4, 6):
            until(lambda family=family: "a" in ping(made, family, 56)[1], f"the first ping over IPv{family}")
        yield made


def echoes(host: Namespace) -> dict[int, int]:
    """Echo requests that a host's kernel has put together and taken, by version of IP."""
    names, numbers = [
        line.split() for line in host.run("cat", "/proc/net/snmp").stdout.splitlines() if line.startswith("Icmp:")
    ]
    (over_6,) = re.findall(r"Icmp6InEchos\s+(\d+)", host.run("cat", "/proc/net/snmp6").stdout)
    return {4: int(dict(zip(names, numbers, strict=True))["InEchos"]), 6: int(over_6)}


def ping(made: Balancer, family: int, size: int) -> tuple[bool, frozenset[str]]:
    """Whether a ping with so many bytes of data is answered, and the servers that got it."""
    before = {name: echoes(host)[family] for name, host in made.servers.items()}
    words = ("ping", f"-{family}", "-n", "-c", "1", "-W", "1", "-s", str(size), VIPS[family])
    answered = made.router.run(*words, check=False).returncode == 0
    return answered, frozenset(name for name, host in made.servers.items() if echoes(host)[family] > before[name])


@pytest.mark.parametrize("fragments", [None, "track", "drop", "default", "replicate"])
@pytest.mark.parametrize(
    "icmp, wanted",
    [("{echo: answer}", {"a"}), ("{other: b}", {"b"}), ("{other: balance}", ALL), ("{other: drop}", set())],
)
def test_pings_in_fragments_are_answered_as_small_ones(
    made: Balancer, fragments: str | None, icmp: str, wanted: set[str]
) -> None:
    """2,000 bytes reach the server that 56 reach, or, where the switch itself answers or a hash chooses, one of these.

    IPv6's go where fragments go if these go anywhere without being looked at: no flow sees their protocol.
    """
    keys = f"    icmp: {icmp}\n" + (f"    fragments: {fragments}\n" if fragments else "")
    made.put(TEXT.replace("    default_server: a\n", "    default_server: a\n" + keys))
    for family in (4, 6):
        large = wanted
        if family == 6 and fragments in (None, "default"):
            large = {"a"}
        if family == 6 and fragments == "replicate":
            large = set(ALL)
        answered, got = ping(made, family, 2000)
        assert answered == bool(large), f"IPv{family}"
        assert got == large or (large is ALL and len(got) == 1), f"IPv{family}: {got}"


def test_a_datagram_larger_than_a_tenth_of_a_second_of_its_rate_passes(made: Balancer) -> None:
    """At 100 kbit/s: what fits into a frame of the ports' MTU arrives, and not what comes too fast after it."""
    made.put(TEXT)
    for interface in made.ports[BRIDGE]:
        made.lb.run("ip", "link", "set", interface, "mtu", "9000")
        made.switch.vsctl("set", "interface", interface, "mtu_request=9000")
    for host in (made.router, *made.servers.values()):
        host.run("ip", "link", "set", "eth0", "mtu", "9000")
    made.servers["b"].popen_ready(sys.executable, "-c", COUNTS, VIPS[4])
    sent = made.router.run(sys.executable, "-c", SENDS, VIPS[4]).stdout
    assert sent == "".join(f"{size}\n" for size in (500, 2050, 3000, 8900)), "all arrive"


COUNTS = """
import socket, sys
# answers a datagram with how many bytes it has
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.bind((sys.argv[1], 53))
print("ready", flush=True)
while True:
    data, sender = one.recvfrom(65536)
    one.sendto(str(len(data)).encode(), sender)
"""
SENDS = """
import socket, sys
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.settimeout(3)
for size in (500, 2050, 3000, 8900):
    one.sendto(bytes(size), (sys.argv[1], 53))
    print(one.recv(99).decode())
"""
