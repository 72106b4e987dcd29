"""Heartbeats of real agents through a real switch: what they tell, what they do, and who is not believed."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portlb_app import __version__
from portlb_app.net import heartbeat
from portlb_app.net.heartbeat import Heartbeat, State
from portlb_app.net.packets import Datagram
from tests.net.balancer import Balancer, Connections, balancer
from tests.net.network import ROOT, Namespace, end, until
from tests.support.helper import Helper

CONFIG = """
switches: {s1: {dpid: 1, network: 1}}
vips:
  web: {address: 10.0.0.100, mac: "02:00:00:00:00:64", redirect_ports: {80: {servers: [a, b], legacy: balance}}}
servers:
  a: {vip: web, connector: "s1:2", service_ports: [{port: 8001, application: 80}]}
  b: {vip: web, connector: "s1:3", service_ports: [{port: 8002, application: 80}]}
"""
TREE = """
switches: {root: {dpid: 1, network: 1}, left: {dpid: 2}, right: {dpid: 3}}
links: [[root:2, left:1], [root:3, right:1]]
vips:
  web: {address: "fd00::100", mac: "02:00:00:00:00:64", redirect_ports: {80: {servers: [a, b], legacy: balance}}}
servers:
  a: {vip: web, connector: "left:2", service_ports: [{port: 8001, application: 80}]}
  b: {vip: web, connector: "right:2", service_ports: [{port: 8002, application: 80}]}
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


@pytest.fixture(scope="module", params=["one switch over IPv4", "a tree over IPv6"])
def made(request: pytest.FixtureRequest) -> Iterator[Balancer]:
    """Two servers with agents, and a client with one."""
    is_tree = request.param == "a tree over IPv6"
    with balancer(TREE if is_tree else CONFIG) as running:
        running.speak(6 if is_tree else 4).client_agent()
        yield running


def agent(made: Balancer, name: str) -> dict[str, Any] | None:
    """What the agent of a server says, as the controller tells; None if it says nothing."""
    return next((each for each in made.status()["agents"] if each["server"] == name), None)


def slots(made: Balancer) -> dict[str, int]:
    """The slots of the servers in the pool, as the switches hold them; none while switches of a tree differ."""
    (pool,) = (each for each in made.status()["pools"] if each["port"] == 80)
    found: list[dict[str, int]] = [each["slots"] for each in pool["held"]]
    return found[0] if len(found) == 1 else {}


def start_agent(made: Balancer, name: str, *words: str, config: Path | None = None) -> Helper:
    """Start the agent of a server, with more words on its command line; with the controller's file or another one."""
    command = ("agent", "server", "--interface", "eth0", "--config", str(config or made.file), "--server", name, *words)
    made.agents[name] = made.servers[name].popen_ready(sys.executable, "-m", "portlb_app.cli", *command, cwd=ROOT)
    return made.agents[name]


def counted(made: Balancer) -> dict[str, int]:
    """What became of the heartbeats that came up so far."""
    counts: dict[str, int] = made.status()["punted"]["heartbeat"]
    return counts


def forge(made: Balancer, host: Namespace, said: Heartbeat) -> None:
    """Send a heartbeat from a host, as from the VIP's address."""
    to = heartbeat.ADDRESSES[made.family]
    frame = Datagram(VIP_MAC, heartbeat.MAC, made.address, to, 40000, heartbeat.PORT, said.pack()).pack()
    host.run(sys.executable, "-c", _SEND, input=frame.hex())


def test_agents_are_heard(made: Balancer) -> None:
    """Both, again and again, and nothing but that is counted."""
    before = counted(made)["sent"]
    until(lambda: counted(made)["sent"] >= before + 6, "six heartbeats", PATIENCE)
    assert {fate for fate, number in counted(made).items() if number} == {"sent"}


def test_connections_are_counted_by_port(made: Balancer) -> None:
    """Plain ones at the port they opened on, redirected ones at the service port; none when they are closed."""
    plain = Connections(made, made.plain)
    servers = Counter(plain.open(80) for _ in range(6))
    assert set(servers) <= {"a", "b"}

    def plainly() -> Counter[str]:
        return Counter({each["server"]: each["ports"].get("80", 0) for each in made.status()["agents"]})

    until(lambda: +plainly() == servers, "six plain connections", PATIENCE)
    bound = Connections(made, made.client)
    servers = Counter(bound.open(80) for _ in range(6))

    def redirected() -> Counter[str]:
        ports = {each["server"]: each["ports"] for each in made.status()["agents"]}
        return Counter({"a": ports["a"].get("8001", 0), "b": ports["b"].get("8002", 0)})

    until(lambda: +redirected() == servers, "six redirected connections", PATIENCE)
    plain.close()
    bound.close()
    until(lambda: not any(each["open"] for each in made.status()["agents"]), "no connection is left", PATIENCE)


def test_a_silent_agent_is_unknown_and_its_server_not_down(made: Balancer) -> None:
    """Its process is killed: after three heartbeats nothing is known, and no slot moves."""
    before = slots(made)
    end(made.agents["a"], signal.SIGKILL)
    until(lambda: agent(made, "a") is None, "nothing is known of a", PATIENCE)
    assert slots(made) == before and agent(made, "b") is not None
    assert "its agent is not heard any more" in next(
        each["words"] for each in made.status()["problems"] if each["name"] == "a"
    )
    assert all(not each["missing"] for each in made.status()["pools"])
    start_agent(made, "a")
    until(lambda: agent(made, "a"), "a's agent is heard again", PATIENCE)


def test_an_agent_drains_its_server_before_it_ends(made: Balancer) -> None:
    """SIGTERM with --drain: no new connections, the open one goes on, the process ends with its end; another start
    brings the server back.
    """
    end(made.agents["a"], signal.SIGQUIT)
    before = slots(made)
    process = start_agent(made, "a", "--drain", "60")
    kept = Connections(made, made.client)
    kept.open_to("a", 80)
    process.send_signal(signal.SIGTERM)
    until(lambda: slots(made) == {"b": 256}, "a has no slot", PATIENCE)
    said = agent(made, "a")
    assert said is not None and said["state"] == "drain" and process.poll() is None
    assert not any(each["missing"].get("a", {}).get("seen") == "down" for each in made.status()["pools"])
    assert {made.curl(made.url(80)) for _ in range(10)} == {"b\n"}
    assert all(kept.ask()), "an open connection goes on"
    kept.close()
    until(lambda: process.poll() == 0, "the agent ends with the last connection", PATIENCE)
    assert "drained: no connection is left" in process.complaint()
    assert slots(made) == {"b": 256}, "its last word counts for longer"
    start_agent(made, "a")
    until(lambda: slots(made) == before, "a has its slots again", PATIENCE)


def test_nobody_is_believed_at_another_port(made: Balancer) -> None:
    """Neither a client, whose heartbeat does not come up at all, nor another server, nor a replay."""
    said, before = Heartbeat(1, 1, State.DRAIN, valid=heartbeat.LONGEST, name="a"), slots(made)
    forge(made, made.router, said)
    forge(made, made.servers["b"], said)
    until(lambda: counted(made)["misplaced"] == 1, "b's heartbeat about a is refused", PATIENCE)
    own = replace(said, state=State.READY, valid=0, name="b")
    forge(made, made.servers["b"], own)
    forge(made, made.servers["b"], own)
    until(lambda: counted(made)["replayed"] >= 1, "the second one is a replay", PATIENCE)
    forge(made, made.servers["b"], replace(own, name=""))
    assert counted(made)["misplaced"] == 1 and counted(made)["malformed"] == 0
    told = agent(made, "a")
    assert told is not None and told["state"] == "ready" and slots(made) == before


def test_agents_tell_their_version_clock_and_what_they_serve(made: Balancer) -> None:
    """All as the controller has it; one that reads another file than the controller is told, and healed by the same."""
    until(lambda: all(each["version"] for each in made.status()["agents"]), "both tell their version", PATIENCE)
    for each in made.status()["agents"]:
        assert (each["version"], each["differs"]) == (__version__, []) and abs(each["clock_offset_seconds"]) < 2
    other = made.file.with_name("other.yaml")
    other.write_text(made.file.read_text().replace("8001", "8009"))
    end(made.agents["a"], signal.SIGTERM)
    start_agent(made, "a", config=other)

    def problem() -> list[str]:
        return [each["words"] for each in made.status()["problems"] if each["name"] == "a"]

    until(problem, "the agent differs", PATIENCE)
    assert problem() == [
        "its agent differs from lb.yaml in its service ports or its programs' ports, "
        "the service ports that it announces for redirect ports"
    ]
    end(made.agents["a"], signal.SIGTERM)
    start_agent(made, "a")
    until(lambda: not problem(), "it does not differ any more", PATIENCE)


def test_heartbeats_of_an_earlier_version_are_understood(made: Balancer) -> None:
    """They say nothing of their agent."""
    end(made.agents["b"], signal.SIGQUIT)
    until(lambda: agent(made, "b") is None, "the agent is silent", PATIENCE)
    forge(made, made.servers["b"], Heartbeat(77, 1, valid=heartbeat.LONGEST, name="b", open=5))
    until(lambda: agent(made, "b"), "the old one is heard", PATIENCE)
    told = agent(made, "b")
    assert told is not None and (told["open"], told["version"], told["differs"]) == (5, None, None)
    start_agent(made, "b")
    until(lambda: (agent(made, "b") or {}).get("version") == __version__, "the new one is heard", PATIENCE)
