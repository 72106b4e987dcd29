"""Heartbeats of real agents through a real switch: what they tell, what they do, and who is not believed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from portlb_app.net import heartbeat
from portlb_app.net.heartbeat import Heartbeat, State
from portlb_app.net.packets import Datagram
from tests.net.balancer import Balancer, balancer
from tests.net.network import Namespace, until

CONFIG = """
switches: {s1: {dpid: 1, network: 1}}
vips:
  web: {address: 10.0.0.100, mac: "02:00:00:00:00:64", redirect_ports: {80: {servers: [a, b], legacy: balance}}}
servers:
  a: {vip: web, connector: "s1:2", service_ports: [{port: 8001, application: 80}]}
  b: {vip: web, connector: "s1:3", service_ports: [{port: 8002, application: 80}]}
"""
VIP_MAC = 0x020000000064
PATIENCE = 20.0
_SEND = """
import socket, sys
# sends frames, one a line in hexadecimal
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
out.bind(("eth0", 0))
for line in sys.stdin:
    out.send(bytes.fromhex(line))
"""


@pytest.fixture(scope="module")
def made() -> Iterator[Balancer]:
    """Two servers with agents."""
    with balancer(CONFIG) as running:
        yield running


def counted(made: Balancer) -> dict[str, int]:
    """What became of the heartbeats that came up so far."""
    counts: dict[str, int] = made.status()["punted"]["heartbeat"]
    return counts


def forge(host: Namespace, said: Heartbeat) -> None:
    """Send a heartbeat from a host, as from the VIP's address."""
    to = heartbeat.ADDRESSES[4]
    frame = Datagram(VIP_MAC, heartbeat.MAC, ip_address("10.0.0.100"), to, 40000, heartbeat.PORT, said.pack()).pack()
    host.run(sys.executable, "-c", _SEND, input=frame.hex())


def test_agents_are_heard(made: Balancer) -> None:
    """Both, again and again, and nothing but that is counted."""
    before = counted(made)["sent"]
    until(lambda: counted(made)["sent"] >= before + 6, "six heartbeats", PATIENCE)
    assert {fate for fate, number in counted(made).items() if number} == {"sent"}


def test_nobody_is_believed_at_another_port(made: Balancer) -> None:
    """Neither a client, whose heartbeat does not come up at all, nor another server, nor a replay."""
    said = Heartbeat(1, 1, State.DRAIN, valid=heartbeat.LONGEST, name="a")
    forge(made.router, said)
    forge(made.servers["b"], said)
    until(lambda: counted(made)["misplaced"] == 1, "b's heartbeat about a is refused", PATIENCE)
    own = replace(said, state=State.READY, valid=0, name="b")
    forge(made.servers["b"], own)
    forge(made.servers["b"], own)
    until(lambda: counted(made)["replayed"] >= 1, "the second one is a replay", PATIENCE)
    forge(made.servers["b"], replace(own, name=""))
    assert counted(made)["misplaced"] == 1 and counted(made)["malformed"] == 0
