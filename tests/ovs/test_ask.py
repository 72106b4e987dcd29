"""What the data path is asked, and what it then does: the answer is where the packet itself goes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest

from portlb_app.net.packets import REDIRECT, TCP, UDP
from portlb_app.pipeline import Reason
from tests.net.network import SYN
from tests.ovs.bridge import Bridge
from tests.ovs.controller import ControllerProcess, wait_for
from tests.ovs.switch import Switch, changes_sent
from tests.support import wire

VIPS = {4: IPv4Address("10.0.0.100"), 6: IPv6Address("fd00::100")}
HASHED, LARGE, BY_SOURCE, LED = 80, 81, 82, 83
LED_FROM = IPv4Address("11.0.0.0")
"""Clients of 11.0.0.0/9 are led to another pool on this port."""
SERVERS = [f"s{number}" for number in range(40)]
ASKED = 250


def mac(server: str) -> str:
    """The MAC address of a server."""
    return f"02:00:00:00:01:{int(server[1:]):02x}"


BY_MAC = {mac(server): server for server in SERVERS}


def text(dpids: Mapping[str, int], links: str, connectors: list[str]) -> str:
    """A configuration on these switches, whose servers are told apart by their MAC addresses."""
    entries = ", ".join(f"{name}: {{dpid: {dpid}{', network: 1' * (at == 0)}}}" for at, (name, dpid) in
                        enumerate(dpids.items()))
    lines = [f"switches: {{{entries}}}", f"links: [{links}]" if links else "", "vips:", "  web:"]
    lines += [f'    address: ["{VIPS[4]}", "{VIPS[6]}"]', '    mac: "02:00:00:00:00:64"', "    rewrite: mac"]
    few, every = ", ".join(SERVERS[:5]), ", ".join(SERVERS)
    lines += ["    redirect_ports:", f"      {HASHED}: {{servers: [{few}]}}", f"      {LARGE}: {{servers: [{every}]}}"]
    lines += [f"      {BY_SOURCE}: {{servers: [{few}], selection: {{kind: source, prefix4: 24, prefix6: 64}}}}"]
    lines += [f"      {LED}: {{servers: [{few}], when: [{{pool: {LARGE}, source: {LED_FROM}/9}}]}}", "servers:"]
    for at, server in enumerate(SERVERS):
        lines.append(f'  {server}: {{vip: web, connector: {connectors[at % len(connectors)]}, mac: "{mac(server)}"}}')
    return "\n".join(lines)


class Network:
    """Bridges, the wires between them, and a controller."""

    def __init__(self, switch: Switch, path: Path, ports: Mapping[str, int], links: list[tuple[str, int, str, int]],
                 connectors: list[str]) -> None:
        self.bridges = {name: Bridge(switch, range(1, 1 + count)) for name, count in ports.items()}
        self.wires = {(one, port): (other, there) for one, port, other, there in links}
        dpids = {name: 0x100 + int(bridge.name[2:]) for name, bridge in self.bridges.items()}
        named = ", ".join(f"[{one}:{port}, {other}:{there}]" for one, port, other, there in links)
        path.write_text(text(dpids, named, connectors))
        self.controller = ControllerProcess(path)
        for bridge in self.bridges.values():
            switch.set_controller(bridge.name, self.controller.target)
        for name in self.bridges:
            self.controller.wait_for_state(name, "synced")

    def close(self) -> None:
        self.controller.close()
        for bridge in self.bridges.values():
            bridge.close()

    def ask(self, query: str) -> tuple[int, dict[str, Any]]:
        """What the controller answers."""
        status, body = self.controller.request("GET", f"/v1/ask?{query}")
        return status, json.loads(body)

    def receivers(self, frames: list[bytes], name: str, in_port: int = 1) -> list[tuple[bytes, str]]:
        """Each frame, less its MAC addresses, and the server that it reaches over all switches."""
        found = []
        for port, left in self.bridges[name].send(in_port, frames).items():
            if (name, port) in self.wires:
                found += self.receivers(left, *self.wires[name, port])
            else:
                found += [(frame[12:], BY_MAC[frame[:6].hex(":")]) for frame in left]
        return found


@pytest.fixture(params=["one switch", "a tree"])
def network(request: pytest.FixtureRequest, switch: Switch, tmp_path: Path) -> Iterator[Network]:
    """One switch with all servers, or a root and two leaves with half of them each."""
    if request.param == "one switch":
        made = Network(switch, tmp_path / "lb.yaml", {"s1": 3}, [], ["s1:2", "s1:3"])
    else:
        links = [("root", 2, "left", 1), ("root", 3, "right", 1)]
        made = Network(switch, tmp_path / "lb.yaml", {"root": 3, "left": 3, "right": 2}, links,
                       ["left:2", "left:3", "right:2"])
    yield made
    made.close()


def drawn(chance: random.Random) -> tuple[str, bytes]:
    """A packet of any kind to any of the ports: the question about it, and itself."""
    version, protocol = chance.choice((4, 6)), chance.choice((TCP, UDP))
    port, source_port = chance.choice((HASHED, LARGE, BY_SOURCE, LED)), chance.randrange(1024, 65536)
    source: IPv4Address | IPv6Address = IPv4Address(chance.randrange(0x0B000000, 0x0C000000))
    if version == 6:
        source = IPv6Address(0xFD01 << 112 | chance.getrandbits(72))
    make: Callable[..., bytes] = wire.udp_datagram
    arguments = source, VIPS[version], source_port, port, chance.randbytes(chance.randrange(64))
    payload = wire.tcp_segment(*arguments, flags=SYN | REDIRECT) if protocol == TCP else make(*arguments)
    query = f"vip=web&port={port}&protocol={'tcp' if protocol == TCP else 'udp'}&source={source}"
    frame = wire.ethernet(version, wire.ip(source, VIPS[version], protocol, payload))
    return f"{query}&source_port={source_port}", frame


def test_the_answer_is_where_the_packet_goes(network: Network) -> None:
    """Of both versions of IP and both transports, to pools of all kinds; whatever was asked, nothing was sent."""
    chance = random.Random("ask")
    entrance = next(iter(network.bridges))
    packets = [drawn(chance) for _ in range(ASKED)]
    for bridge in network.bridges.values():
        bridge.collect()
    sent = changes_sent(network.bridges[entrance].switch)
    answers, asked = {}, 0
    with ThreadPoolExecutor(8) as clients:
        replies = list(clients.map(network.ask, [query for query, _ in packets]))
    for (_, frame), (status, answer) in zip(packets, replies, strict=True):
        assert status == 200, answer
        assert {each["switch"] for each in answer["switches"]} <= set(network.bridges)
        answered = [each for each in answer["switches"] if each["slot"] is not None]
        assert len(answered) == len(answer["switches"])
        for each in answered:
            assert each["certain"] and each["slot"] == answered[0]["slot"] and each["held"] == answer["server"]
        answers[frame[12:]] = answer["server"]
        asked += len(answered)
    assert not any(bridge.collect() for bridge in network.bridges.values())
    assert changes_sent(network.bridges[entrance].switch) == sent

    reached = network.receivers([frame for _, frame in packets], entrance)
    assert len(reached) == ASKED
    assert dict(reached) == answers
    assert len(set(answers.values())) > len(SERVERS) // 2
    counted = network.controller.status()["punted"][Reason.ASKED.name.lower()]
    assert {key: number for key, number in counted.items() if number} == {"sent": asked}


@pytest.mark.parametrize("network", ["one switch"], indirect=True)
def test_bad_and_unanswerable_questions(network: Network) -> None:
    """Each is refused in words; without a switch there is no answer."""
    good = f"vip=web&port={HASHED}&source=11.0.0.1&source_port=4000"
    assert network.ask(good)[0] == 200
    for query, status, word in (
        ("", 400, "vip is missing"),
        (good + "&color=red", 400, "color"),
        (good.replace("web", "none"), 404, "VIP none"),
        (good.replace(f"={HASHED}", "=22"), 404, "redirect port"),
        (good.replace(f"={HASHED}", "=65536"), 400, "port is a number"),
        (good.replace("4000", "4e3"), 400, "source_port"),
        (good.replace("11.0.0.1", "eleven"), 400, "IP address"),
        (good + "&protocol=icmp", 400, "protocol"),
        (good + "&dscp=64", 400, "dscp"),
    ):
        found, answer = network.ask(query)
        assert (found, word in answer["error"]) == (status, True), answer
    (bridge,) = network.bridges.values()
    bridge.switch.vsctl("del-controller", bridge.name)
    wait_for("it is gone", lambda: network.controller.switch("s1")["state"] == "absent")
    status, answer = network.ask(good)
    assert status == 409 and "connected" in answer["error"]
