"""Shares by weight in a tree: real packets through linked switches, however the links are made and whatever they hash.

Twelve servers, weights from 1 to 256, on five switches at three levels. Every server's share of the connections is its
share of the weights, within 4.5 standard deviations and the one slot (of 256) that slots are exact to.
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from portlb_app import compiler
from portlb_app.config import Config, Connector, load
from portlb_app.net.packets import REDIRECT, TCP
from portlb_app.openflow import SwitchState
from portlb_app.pipeline import SLOTS
from tests.net.network import SYN
from tests.ovs.bridge import Bridge
from tests.ovs.switch import Switch
from tests.support import generate, wire

VIP, PORT = IPv4Address("10.0.0.100"), 80
ENTRANCE = 1
WEIGHTS = (1, 2, 3, 5, 8, 12, 20, 32, 50, 80, 128, 256)
SWITCHES = ("s4", "s4", "s2", "s4", "s5", "s1", "s4", "s3", "s4", "s2", "s4", "s3")
"""s1 has s2 and s3 below it, s2 has s4 and s5."""
LINKS = (("s1:21", "s2:21"), ("s1:22", "s3:21"), ("s2:22", "s4:21"), ("s2:23", "s5:21"))
NAMES = tuple("abcdefghijkl")


def configuration() -> Config:
    """The tree."""
    servers = {
        name: {"vip": "web", "connector": f"{switch}:{2 + number}", "weight": weight, "service_ports": [8000 + number]}
        for number, (name, switch, weight) in enumerate(zip(NAMES, SWITCHES, WEIGHTS, strict=True))
    }
    vip = {"address": str(VIP), "mac": "02:00:00:00:00:64", "redirect_ports": {PORT: {"servers": list(NAMES)}}}
    switches: dict[str, dict[str, int]] = {
        name: {"dpid": number} for number, name in enumerate(sorted(set(SWITCHES)), 1)
    }
    switches["s1"]["network"] = ENTRANCE
    links = [list(link) for link in LINKS]
    return load(generate.text({"switches": switches, "links": links, "vips": {"web": vip}, "servers": servers}))


def hashing_apart(states: Mapping[str, SwitchState]) -> dict[str, SwitchState]:
    """The tables, with another basis for the hash on every switch: as if each were of another make."""
    apart = {}
    for basis, (name, state) in enumerate(states.items(), 1):
        groups = set()
        for group in state.groups:
            assert group.selection is not None
            other = replace(group.selection, parameter=group.selection.parameter + basis)
            groups.add(replace(group, selection=other))
        apart[name] = replace(state, groups=frozenset(groups))
    return apart


@pytest.fixture
def bridges(switch: Switch) -> Iterator[dict[str, Bridge]]:
    """A bridge for every switch, with its connectors and no links."""
    config = configuration()
    ports = {each.name: {each.network} - {None} for each in config.switches}
    for server in config.servers:
        ports[server.connector.switch].add(server.connector.port)
    made = {name: Bridge(switch, sorted(numbers)) for name, numbers in ports.items()}
    yield made
    for bridge in made.values():
        bridge.close()


def link(switch: Switch, bridges: Mapping[str, Bridge], kind: str) -> None:
    """Link the bridges by patch ports, or by wires: sockets from one dummy port to another."""
    for ends in LINKS:
        (one, its), (other, theirs) = (end.split(":") for end in ends)
        names = [f"{bridges[one].name}x{its}", f"{bridges[other].name}x{theirs}"]
        socket = switch.directory / f"{names[0]}.sock"
        options = {
            "patch": [("patch", f"peer={names[1]}"), ("patch", f"peer={names[0]}")],
            "wire": [("dummy", f"pstream=punix:{socket}"), ("dummy", f"stream=unix:{socket}")],
        }[kind]
        for bridge, name, port, (kind_of_port, option) in zip((one, other), names, (its, theirs), options, strict=True):
            wanted = (f"type={kind_of_port}", f"options:{option}", f"ofport_request={port}")
            switch.vsctl("add-port", bridges[bridge].name, name, "--", "set", "interface", name, *wanted)


def syns(number: int) -> list[bytes]:
    """SYNs with REDIRECT from so many clients."""
    chance = random.Random("shares")
    frames = []
    for _ in range(number):
        client, port = IPv4Address(chance.randrange(0x0B000000, 0x0BFFFFFF)), chance.randrange(1024, 65536)
        segment = wire.tcp_segment(client, VIP, port, PORT, b"", flags=SYN | REDIRECT)
        frames.append(wire.ethernet(4, wire.ip(client, VIP, TCP, segment)))
    return frames


@pytest.mark.parametrize(
    "kind, apart, connections", [("wire", False, 20_000), ("wire", True, 5000), ("patch", False, 5000)]
)
def test_every_server_has_its_share(
    switch: Switch, bridges: dict[str, Bridge], kind: str, apart: bool, connections: int
) -> None:
    """T2: over wires, where every switch hashes anew, alike or not; over patch ports, where the first hash stays."""
    config = configuration()
    link(switch, bridges, kind)
    states = compiler.compile(config)
    for name, state in (hashing_apart(states) if apart else states).items():
        bridges[name].install(state)
    name_of = {server.connector: server.name for server in config.servers}
    counts: Counter[str] = Counter()
    entered = bridges["s1"].send(ENTRANCE, syns(connections))
    counts.update({name_of[Connector("s1", port)]: len(frames) for port, frames in entered.items()})
    deadline = time.monotonic() + 10
    while counts.total() < connections and time.monotonic() < deadline:
        for name, bridge in bridges.items():
            counts.update({name_of[Connector(name, port)]: len(frames) for port, frames in bridge.collect().items()})
    assert counts.total() == connections, "all arrive, each once"
    for name, weight in zip(NAMES, WEIGHTS, strict=True):
        share = weight / sum(WEIGHTS)
        bound = 4.5 * math.sqrt(connections * share * (1 - share)) + connections / SLOTS
        assert abs(counts[name] - connections * share) <= bound, (name, weight, counts)
