"""What servers hand back reaches the server that has the connection, and nothing else (docs/second-chance.md).

Real frames go through real switches, from link to link; the agents are three lines of Python here. `tests/net` has the
agents' own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest

from portlb_app import compiler, topology
from portlb_app.backends.formers import Formers
from portlb_app.config import Address, Config, Connector, Server, load
from portlb_app.openflow import SwitchState
from portlb_app.pipeline import NO_MARK, is_mark, mark
from portlb_app.selection import slots
from portlb_app.topology.conditions import AS_CONFIGURED, Conditions, PoolSlots
from tests.ovs import switch as ovs
from tests.ovs.bridge import Bridge
from tests.support import generate, trees
from tests.support.generate import CLIENT_MAC, frame
from tests.support.reference import ACK, FIN, RST, SYN, TCP, UDP, Ip, Packet

FLOWS = Path(__file__).parents[2] / "flows"
CLIENTS: tuple[Address, ...] = (IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1"))
CONNECTIONS = 12


def example(name: str) -> str:
    """An example whose plain clients follow the slots, with both versions of IP."""
    text = (FLOWS / name / "lb.yaml").read_text()
    text = text.replace("address: 10.0.0.100\n", 'address: [10.0.0.100, "fd00::100"]\n')
    for pool in ("[a, b, c]", "[a, b]", "[c, d]"):
        text = text.replace(f"80: {{servers: {pool}}}", f"80: {{servers: {pool}, legacy: balance}}")
    return text


def three(text: str) -> str:
    """The example for servers with addresses of their own, without the router."""
    return (
        text.replace("    router: [10.0.0.2, \"fd00::2\"]\n", "")
        .replace('connector: s1:3\n    mac: "02:00:00:00:00:fe"\n    address: [10.2.0.12, "fd02::12"]',
                 'connector: s1:3\n    mac: "02:00:00:00:00:0b"\n    address: [10.0.0.12, "fd00::12"]')
        .replace('connector: s1:3\n    mac: "02:00:00:00:00:fe"\n    address: [10.2.0.13, "fd02::13"]',
                 'connector: s1:4\n    mac: "02:00:00:00:00:0c"\n    address: [10.0.0.13, "fd00::13"]')
    )  # fmt: skip


TEXTS = {
    "one switch": example("fig2"),
    "tree": trees.shaped(example("fig2"), "tree"),
    "deep": trees.shaped(example("fig2"), "deep"),
    "two entrances": example("leafspine"),
    "mac": example("mac"),
    "mac, tree": trees.shaped(example("mac"), "tree"),
    "address": three(example("address")),
    "address, deep": trees.shaped(three(example("address")), "deep"),
    "one-armed": example("one-armed"),
}


@dataclass
class World:
    """The switches of a configuration."""

    config: Config
    bridges: Mapping[str, Bridge]

    def install(self, states: Mapping[str, SwitchState]) -> None:
        for name, state in states.items():
            self.bridges[name].install(state)

    def travel(self, switch: str, port: int, given: bytes, hops: int = 8) -> list[tuple[str, int, bytes]]:
        """Where a frame comes out that comes in there: switches, ports and frames."""
        assert hops, "in a circle"
        others = trees.across(self.config)
        found = []
        for out, frames in self.bridges[switch].send(port, [given]).items():
            for each in frames:
                there = others.get(Connector(switch, out))
                found += [(switch, out, each)] if there is None else self.travel(*there, each, hops - 1)
        return found

    def server(self, switch: str, port: int, given: bytes) -> Server:
        """The server that gets a frame that comes out there."""
        here = [server for server in self.config.servers if server.connector == Connector(switch, port)]
        if len(here) > 1:
            here = [server for server in here if server.mac == int.from_bytes(given[:6], "big")]
        (only,) = here
        return only


@pytest.fixture(params=TEXTS)
def world(request: pytest.FixtureRequest, switch: ovs.Switch) -> Iterator[World]:
    config = load(TEXTS[request.param])
    ports = (*generate.CONNECTORS, *trees.LINK_PORTS)
    bridges = {each.name: Bridge(switch, ports) for each in config.switches}
    yield World(config, bridges)
    for bridge in bridges.values():
        bridge.close()


def changed(config: Config, port: int, *gone: str) -> tuple[PoolSlots, Conditions]:
    """The slots of the first VIP's pool after these servers have left it, one after the other, and come back."""
    vip = config.vips[0]
    pool = vip.pool_on(port)
    assert pool is not None
    formers, table = Formers(), slots(pool.servers)
    for name in gone:
        after = slots(tuple(each for each in pool.servers if each != name))
        formers.move(table, after, pool.servers, 0.0)
        table = after
    made = PoolSlots(table, formers.slots)
    return made, Conditions(slots={(vip.name, port): made})


def handed_back(given: bytes) -> bytes | None:
    """What an agent does with a segment that has no socket."""
    source = int.from_bytes(given[6:12], "big")
    return given[6:12] + given[:6] + given[12:] if is_mark(source) and source != NO_MARK else None


def segments(config: Config, port: int, flags: int) -> Iterator[bytes]:
    """Segments of many clients to the first VIP."""
    vip = config.vips[0]
    for address in vip.addresses:
        client = next(each for each in CLIENTS if each.version == address.version)
        for number in range(CONNECTIONS):
            ip = Ip(client, address, TCP, source_port=40000 + 2 * number, destination_port=port, tcp_flags=flags)
            yield frame(Packet(1, CLIENT_MAC, ip, vip.mac))


def test_a_segment_finds_its_server_again(world: World) -> None:
    """Five changes of the pool later; what it gets is what it got before, but for the source."""
    config = world.config
    port = config.vips[0].redirect_ports[-1].port
    entrances = [each.name for each in config.switches if each.network is not None]
    world.install(compiler.compile(config))
    sent = [(entrances[number % len(entrances)], each) for number, each in enumerate(segments(config, port, ACK))]
    before = {}
    for entrance, each in sent:
        ((switch, out, got),) = world.travel(entrance, 1, each)
        before[each] = world.server(switch, out, got), got
    names = [name for name in config.vips[0].redirect_ports[-1].servers]
    _, conditions = changed(config, port, names[-1], names[0], names[1], names[-1], names[0])
    world.install(compiler.compile(config, conditions))
    hops = []
    for entrance, each in sent:
        owner, got_before = before[each]
        ((switch, out, got),) = world.travel(entrance, 1, each)
        passed = []
        while (server := world.server(switch, out, got)) != owner:
            passed.append(server)
            given = handed_back(got)
            assert given is not None, "no server is left to try"
            ((switch, out, got),) = world.travel(server.connector.switch, server.connector.port, given)
        assert (got[:6], got[12:]) == (got_before[:6], got_before[12:])
        hops.append(len(passed))
    assert set(hops) >= {0, 1} and max(hops) < len(names), hops


def test_what_opens_a_connection_goes_to_the_new_server_alone(world: World) -> None:
    """A SYN is never handed back: switches drop it."""
    config = world.config
    port = config.vips[0].redirect_ports[-1].port
    names = config.vips[0].redirect_ports[-1].servers
    _, conditions = changed(config, port, names[-1])
    world.install(compiler.compile(config, conditions))
    entrance = next(each.name for each in config.switches if each.network is not None)
    tried = 0
    for each in segments(config, port, SYN):
        ((switch, out, got),) = world.travel(entrance, 1, each)
        server = world.server(switch, out, got)
        assert server.name != names[-1]
        given = handed_back(got)
        if given is not None:
            assert world.travel(server.connector.switch, server.connector.port, given) == []
            tried += 1
    assert tried


@pytest.mark.parametrize("world", ["deep", "two entrances"], indirect=True)
def test_while_a_change_goes_from_switch_to_switch(world: World) -> None:
    """The deepest have it first. A segment may be lost on its way then, but no server is left with it as the last."""
    config = world.config
    port = config.vips[0].redirect_ports[-1].port
    names = config.vips[0].redirect_ports[-1].servers
    graph = topology.of(config)
    entrances = [each.name for each in config.switches if each.network is not None]
    sent = [(entrances[number % len(entrances)], each) for number, each in enumerate(segments(config, port, ACK))]
    sent = sent[:CONNECTIONS]
    world.install(compiler.compile(config))
    owners = {each: world.server(*world.travel(entrance, 1, each)[0]) for entrance, each in sent}
    lost = 0
    for gone in ((names[-1],), (names[-1], names[0]), (names[-1], names[0], names[1])):
        _, conditions = changed(config, port, *gone)
        states = compiler.compile(config, conditions)
        for name in sorted(states, key=lambda each: (-graph.depth(each), each)):
            world.install({name: states[name]})
            for entrance, each in sent:
                came = world.travel(entrance, 1, each)
                while came and (server := world.server(*came[0])) != owners[each]:
                    given = handed_back(came[0][2])
                    assert given is not None, f"{server.name} resets a connection of {owners[each].name}"
                    came = world.travel(server.connector.switch, server.connector.port, given)
                lost += not came
    assert lost < len(sent) * len(states), "most arrive"


# ---- who may not -----------------------------------------------------------------------------------------------------

CONFIG = load(TEXTS["one switch"])
VIP, MAC = IPv4Address("10.0.0.100"), 0x020000000064
PORTS = {"a": 2, "b": 3, "c": 4, "d": 5}


@pytest.fixture
def one(switch: ovs.Switch) -> Iterator[tuple[Bridge, int]]:
    """FIG. 2 after d has left port 22's pool, and the mark that names d."""
    bridge = Bridge(switch, range(1, 7))
    made, conditions = changed(CONFIG, 22, "c", "d")
    assert {("d",), ("d", "c")} <= set(made.formers)
    bridge.install(compiler.compile(CONFIG, conditions)["s1"])
    yield bridge, mark(CONFIG.vips[0].number, ("d",))
    bridge.close()


def given(number: int, port: int, to: int, flags: int = ACK, mac: int = MAC, **more: Any) -> tuple[int, bytes]:
    """A frame with a mark as its destination, and where it comes in."""
    ip = Ip(CLIENTS[0], VIP, TCP, source_port=40000, destination_port=port, tcp_flags=flags)
    return number, frame(Packet(number, mac, replace(ip, **more) if more else ip, to))


@pytest.mark.parametrize("flags", [ACK, ACK | FIN, RST, RST | ACK, 0])
def test_a_server_of_the_pool_hands_back(one: tuple[Bridge, int], flags: int) -> None:
    bridge, to_d = one
    number, whole = given(PORTS["a"], 22, to_d, flags)
    expected = MAC.to_bytes(6, "big") + NO_MARK.to_bytes(6, "big") + whole[12:]
    assert bridge.send(number, [whole]) == {PORTS["d"]: [expected]}


def test_the_rest_of_the_mark_is_passed_on(one: tuple[Bridge, int]) -> None:
    bridge, _ = one
    vip = CONFIG.vips[0].number
    number, whole = given(PORTS["a"], 22, mark(vip, ("d", "c")))
    expected = MAC.to_bytes(6, "big") + mark(vip, ("c",)).to_bytes(6, "big") + whole[12:]
    assert bridge.send(number, [whole]) == {PORTS["d"]: [expected]}


def test_nobody_reaches_more_than_that(one: tuple[Bridge, int]) -> None:
    """Other flags, ports, addresses, senders and numbers lead nowhere, and nothing is handed up."""
    bridge, to_d = one
    to_a = mark(CONFIG.vips[0].number + 1, ("d",))
    other = ip_address("10.0.0.99")
    for number, whole in (
        given(PORTS["a"], 22, to_d, SYN),
        given(PORTS["a"], 22, to_d, SYN | ACK),
        given(PORTS["a"], 20, to_d),
        given(PORTS["a"], 1, to_d),
        given(PORTS["a"], 22, to_d, destination=other),
        given(PORTS["a"], 22, to_d, protocol=UDP),
        given(PORTS["a"], 22, to_d, fragment="first"),
        given(PORTS["a"], 22, to_d, mac=CLIENT_MAC),
        given(PORTS["a"], 22, to_a),
        given(PORTS["a"], 22, NO_MARK),
        given(6, 22, to_d),
    ):
        assert bridge.send(number, [whole]) == {}
        assert bridge.trace(number, whole).cookie is None


def test_a_mark_from_the_network_means_nothing(one: tuple[Bridge, int]) -> None:
    """As a destination it is dropped; as a source it is taken off."""
    bridge, to_d = one
    number, whole = given(1, 22, to_d, mac=CLIENT_MAC)
    assert bridge.send(number, [whole]) == {}
    number, whole = given(1, 1, MAC, mac=to_d)
    assert bridge.send(number, [whole]) == {PORTS["a"]: [whole[:6] + NO_MARK.to_bytes(6, "big") + whole[12:]]}


def test_without_former_servers_nothing_is_there() -> None:
    """No flow, group or meter is another than without the whole thing."""
    for text in TEXTS.values():
        config = load(text)
        states = compiler.compile(config, AS_CONFIGURED)
        tables = {flow.table for state in states.values() for flow in state.flows if flow.match.fields}
        assert 95 not in tables
        lines = [line for state in states.values() for line in map(str, (*state.flows, *state.groups))]
        assert not [line for line in lines if "52:4c" in line]
