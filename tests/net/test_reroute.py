"""Packets of real hosts over several real switches while links between these go and come back.

::

                 ┌─ s2 ─┐
    client ─ s1 ─┤      ├─ s4 ─ server        all links are veth pairs; datagrams go to and fro, 500 a second
                 └─ s3 ─┘
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from portlb_app import topology
from portlb_app.config import Link, load
from portlb_app.topology.damping import HOLD
from tests.net.network import PATIENCE, ROOT, Namespace, Network, end, until
from tests.ovs.switch import Switch

TEXT = """
switches:
  s1: {dpid: 1, network: 1}
  s2: {dpid: 2}
  s3: {dpid: 3}
  s4: {dpid: 4}
links:
  - [s1:2, s2:1]
  - [s1:3, s3:1]
  - [s2:2, s4:1]
  - [s3:2, s4:2]
vips:
  dns: {address: 10.0.0.100, mac: "02:00:00:00:00:64"}
servers:
  a: {vip: dns, connector: s4:3, service_ports: [53]}
"""
CONFIG = load(TEXT)
VIP, CLIENT = "10.0.0.100/24", "10.0.0.7/24"
WAY = "s2" if topology.of(CONFIG).next_hop("s1", "s4") == 2 else "s3"
"""The switch the datagrams take."""
UPPER = next(link for link in CONFIG.links if link.one.switch == "s1" and link.other.switch == WAY)
LOWER = next(link for link in CONFIG.links if link.one.switch == WAY and link.other.switch == "s4")
REST = "http://127.0.0.1:8080/v1/status"
EVERY = 0.004
"""Seconds between two datagrams."""
OUTAGE = 5.0
"""Seconds in which the other way is found, on a machine however slow; without it nothing comes back any more."""
A_WHILE = 0.3
"""Seconds in which some datagrams go to and fro: they are what is tested, and nothing is waited for."""

ECHO = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.setsockopt(socket.SOL_SOCKET, 33, 1 << 23)  # SO_RCVBUFFORCE: what comes while others run is not lost
    one.bind(("10.0.0.100", 53))
    print("ready", flush=True)
    while True:
        data, address = one.recvfrom(100)
        one.sendto(data, address)
"""
TALK = """
import json, select, socket, sys, time
# sends numbered datagrams until told to stop; then the numbers that did not come back, and those that came twice
every = float(sys.argv[1])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.setsockopt(socket.SOL_SOCKET, 33, 1 << 23)
    one.connect(("10.0.0.100", 53))
    one.setblocking(False)
    print("ready", flush=True)
    start, sent, seen, twice, stop = time.monotonic(), 0, set(), 0, None
    while stop is None or time.monotonic() < stop + (0.5 if len(seen) < sent else 0.1):
        if stop is None and sent < (time.monotonic() - start) / every:
            try:
                one.send(b"%d" % sent)
            except OSError:
                pass
            sent += 1
        ready, _, _ = select.select([one, sys.stdin] if stop is None else [one], [], [], every)
        if one in ready:
            try:
                number = int(one.recv(100))
            except OSError:
                continue
            twice += number in seen
            seen.add(number)
        elif ready:
            stop = time.monotonic()
    print(json.dumps({"sent": sent, "lost": sorted(set(range(sent)) - seen), "twice": twice}), flush=True)
"""


@dataclass
class Diamond:
    """The four switches, the controller and the two hosts."""

    lb: Namespace
    client: Namespace
    switch: Switch

    def status(self) -> Any:
        return json.loads(self.lb.run("curl", "--silent", "--fail", REST).stdout)

    def settled(self, up: int) -> bool:
        """Whether so many links are used, and all switches have their tables."""
        status = self.status()
        synced = all(each["state"] == "synced" for each in status["switches"])
        return synced and sum(link["up"] for link in status["links"]) == up

    def set(self, interface: str, state: str) -> None:
        self.lb.run("ip", "link", "set", interface, state)

    @contextlib.contextmanager
    def talk(self) -> Iterator[dict[str, Any]]:
        """Datagrams go to and fro in the block; what became of them is in the dictionary afterwards."""
        process = self.client.popen_ready(sys.executable, "-c", TALK, str(EVERY))
        told: dict[str, Any] = {}
        try:
            yield told
            told.update(json.loads(process.tell()))
        finally:
            end(process)


@pytest.fixture(scope="module")
def diamond() -> Iterator[Diamond]:
    with Network() as network, contextlib.ExitStack() as stack:
        lb, client, server = map(network.host, ("lb", "client", "server"))
        network.link(client, lb, (CLIENT, "10.9.9.9/32"), ("eth0", "s1p1"))
        network.link(server, lb, (VIP, "10.9.9.8/32"), ("eth0", "s4p3"))
        for host in (client, server):
            host.offloads("eth0", False)
        server.run("ip", "link", "set", "eth0", "address", "02:00:00:00:00:64")
        for link in CONFIG.links:
            network.link(lb, lb, None, (port(link, 0), port(link, 1)))
        file = network.directory / "lb.yaml"
        file.write_text(TEXT)
        directory = network.directory / "ovs"
        directory.mkdir()
        switch = Switch(directory, within=lb.command(), options=())
        stack.callback(switch.close)
        lb.popen_ready(sys.executable, "-m", "portlb_app.cli", "controller", str(file), cwd=ROOT)
        ends = [("s1", 1), ("s4", 3), *(tuple(end) for link in CONFIG.links for end in link)]
        for each in CONFIG.switches:
            ports = {f"{name}p{number}": number for name, number in ends if name == each.name}
            switch.add_bridge(each.name, each.dpid, ports, "tcp:127.0.0.1:6653", "netdev", "system")
        server.popen_ready(sys.executable, "-c", ECHO)
        made = Diamond(lb, client, switch)
        until(lambda: made.settled(len(CONFIG.links)), "all switches are synced")
        with made.talk() as told:
            time.sleep(5 * A_WHILE)
        assert told["sent"] - len(told["lost"]) > 100, told
        yield made


def port(link: Link, side: int) -> str:
    """The interface at one end of a link."""
    return str(link[side]).replace(":", "p")


@pytest.mark.parametrize("side", [0, 1], ids=["above", "below"])
@pytest.mark.parametrize("link", [UPPER, LOWER], ids=["upper", "lower"])
def test_datagrams_take_another_way_and_none_is_lost_on_the_way_back(diamond: Diamond, link: Link, side: int) -> None:
    """A link that is cut costs what is lost until it is left; one that is used again costs nothing."""
    with diamond.talk() as cut:
        time.sleep(A_WHILE)
        diamond.set(port(link, side), "down")
        until(lambda: diamond.settled(len(CONFIG.links) - 1), "the other way is taken")
        time.sleep(A_WHILE)
    with diamond.talk() as back:
        time.sleep(A_WHILE)
        diamond.set(port(link, side), "up")
        until(lambda: diamond.settled(len(CONFIG.links)), "the link is used again", HOLD + PATIENCE)
        time.sleep(A_WHILE)
    assert 0 < len(cut["lost"]) * EVERY < OUTAGE, cut
    assert back["lost"] == [] and back["twice"] == 0, back
