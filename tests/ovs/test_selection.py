"""How redirect ports select servers (rows L1 to L4), with packets, on one switch and through a tree.

In the tree, clients come in at s1, which has servers a and b, and c and d are at s2 behind a link.
"""

from __future__ import annotations

import random
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest

from portlb_app import compiler
from portlb_app.config import Config, Connector, load
from portlb_app.net.packets import REDIRECT, SCTP, TCP, UDP
from portlb_app.pipeline import SLOTS
from portlb_app.topology.conditions import AS_CONFIGURED, Conditions, PoolSlots
from tests.net.network import SYN
from tests.ovs.bridge import Bridge
from tests.ovs.controller import ControllerProcess, wait_for
from tests.ovs.switch import Switch
from tests.support import generate, wire

Address = IPv4Address | IPv6Address
VIPS: Mapping[int, Address] = {4: IPv4Address("10.0.0.100"), 6: IPv6Address("fd00::100")}
ENTRANCE, LINK, ACK = 1, 21, 0x10
TREE = {"a": "s1", "b": "s1", "c": "s2", "d": "s2"}


@dataclass
class Network:
    """One switch, or two that are linked, and what its servers get."""

    text: str
    config: Config
    bridges: Mapping[str, Bridge]

    def control(self, controller: ControllerProcess) -> None:
        """Let a controller bring the switches to their tables."""
        for bridge in self.bridges.values():
            bridge.switch.vsctl("set-controller", bridge.name, controller.target)
        for name in self.bridges:
            controller.wait_for_state(name, "synced")

    def install(self, conditions: Conditions = AS_CONFIGURED) -> None:
        """Give the switches their tables."""
        for name, state in compiler.compile(self.config, conditions).items():
            self.bridges[name].install(state)

    def send(self, frames: Iterable[bytes]) -> list[tuple[str, bytes]]:
        """Receive frames on the network side; which server got which."""
        name_of = {server.connector: server.name for server in self.config.servers}
        got: list[tuple[str, bytes]] = []
        sent = list(frames)
        first = self.bridges["s1"].send(ENTRANCE, sent)
        got += [(name_of[Connector("s1", port)], each) for port, some in first.items() if port != LINK for each in some]
        for name in set(self.bridges) - {"s1"}:
            for _ in range(1000):
                found = self.bridges[name].collect()
                got += [(name_of[Connector(name, port)], each) for port, some in found.items() for each in some]
                if len(got) >= len(sent):
                    break
        assert len(got) == len(sent), "each arrives once"
        return got


Make = Callable[..., Network]


@pytest.fixture(params=["one switch", "tree"])
def network(request: pytest.FixtureRequest, switch: Switch) -> Iterator[Make]:
    """Makes a network whose VIP has these redirect ports."""
    made: list[Bridge] = []
    switches = ("s1",) if request.param == "one switch" else ("s1", "s2")

    def make(ports: Mapping[int, dict[str, Any]], servers: Iterable[str] = "abcd") -> Network:
        names = list(servers)
        home = {name: TREE.get(name, "s2") if len(switches) > 1 else "s1" for name in names}
        bridges = {}
        for name in switches:
            mine = [30 + names.index(each) for each in names if home[each] == name]
            bridges[name] = Bridge(switch, [*mine, *([ENTRANCE] if name == "s1" else [])])
            made.append(bridges[name])
        data: dict[str, Any] = {
            "switches": {name: {"dpid": 0x100 + int(bridge.name[2:])} for name, bridge in bridges.items()},
            "links": [["s1:21", "s2:21"]] * (len(switches) - 1),
            "vips": {
                "web": {
                    "address": [str(each) for each in VIPS.values()],
                    "mac": "02:00:00:00:00:64",
                    "redirect_ports": dict(ports),
                }
            },
            "servers": {
                name: {"vip": "web", "connector": f"{home[name]}:{number}"} for number, name in enumerate(names, 30)
            },
        }
        data["switches"]["s1"]["network"] = ENTRANCE
        text = generate.text(data)
        if len(switches) > 1:
            ends = [f"{bridge.name}x" for bridge in bridges.values()]
            for bridge, mine_, other in zip(bridges.values(), ends, ends[::-1], strict=True):
                patch = ("type=patch", f"options:peer={other}", f"ofport_request={LINK}")
                switch.vsctl("add-port", bridge.name, mine_, "--", "set", "interface", mine_, *patch)
        return Network(text, load(text), bridges)

    yield make
    for bridge in made:
        bridge.close()


def packet(
    client: Address, sport: int, dport: int = 80, protocol: int = TCP, flags: int = SYN | REDIRECT, dscp: int = 0
) -> bytes:
    """A client's packet to the VIP."""
    vip = VIPS[client.version]
    segment = {
        TCP: lambda: wire.tcp_segment(client, vip, sport, dport, b"", flags=flags),
        UDP: lambda: struct.pack("!HHHH", sport, dport, 8, 0),
        SCTP: lambda: struct.pack("!HHII", sport, dport, 7, 0),
    }[protocol]()
    ip = bytearray(wire.ip(client, vip, protocol, segment))
    if client.version == 4:
        ip[1] = dscp << 2
        ip[10:12] = bytes(2)
        ip[10:12] = struct.pack("!H", wire.checksum(bytes(ip[:20])))
    else:
        ip[0:2] = (6 << 12 | dscp << 6).to_bytes(2, "big")
    return wire.ethernet(client.version, bytes(ip))


def tagged(frame: bytes, vlan: int) -> bytes:
    """The frame in a VLAN."""
    return frame[:12] + struct.pack("!HH", 0x8100, vlan) + frame[12:]


def clients(number: int, version: int) -> list[Address]:
    """Clients of all kinds of networks."""
    chance = random.Random(number * version)
    if version == 4:
        return [IPv4Address(chance.randrange(0x0B000000, 0x0BFFFFFF)) for _ in range(number)]
    return [IPv6Address(0x20010DB8 << 96 | chance.getrandbits(96)) for _ in range(number)]


def ports_of(frame: bytes) -> tuple[int, int]:
    """The source port that a frame shows, and its version of IP."""
    version = frame[14] >> 4
    start = 34 if version == 4 else 54
    return int.from_bytes(frame[start : start + 2], "big"), version


def test_every_packet_finds_its_group(network: Make) -> None:
    """A pool with four groups, each of which has a server of its own: bits 1 and 2 of the source port say which.

    For TCP, plain and not, SYNs and later packets, UDP and SCTP, over both versions of IP.
    """
    made = network({80: {"servers": list("abcd"), "legacy": "balance"}})
    table = tuple(name for name in "abcd" for _ in range(SLOTS))
    made.install(Conditions(slots={("web", 80): PoolSlots(table)}))
    kinds = [(TCP, SYN | REDIRECT), (TCP, SYN), (TCP, ACK), (UDP, 0), (SCTP, 0)]
    sent = [
        packet(client, sport, protocol=protocol, flags=flags)
        for version in (4, 6)
        for client in clients(2, version)
        for sport in (*range(32768, 32784), 1025, 65535)
        for protocol, flags in kinds
    ]
    for name, frame in made.send(sent):
        port, _ = ports_of(frame)
        assert name == "abcd"[port >> 1 & 3], (port, frame.hex())


@pytest.mark.parametrize("prefixes", [{}, {"prefix4": 24, "prefix6": 64}])
def test_l1_a_client_keeps_its_server(network: Make, prefixes: dict[str, int]) -> None:
    """``source``: all connections of an address, or network, find one server; a datapath flow for each of those."""
    made = network({80: {"servers": list("abcd"), "selection": {"kind": "source"} | prefixes, "legacy": "balance"}})
    made.install()
    networks = {version: clients(150, version) for version in (4, 6)}
    sent, of = [], {}
    for version, some in networks.items():
        for client in some:
            shift = {4: 8, 6: 64}[version] if prefixes else 0
            mates = [type(client)(int(client) ^ mate) for mate in range(3 if prefixes else 1)]
            for mate in mates:
                of[mate.packed] = (version, int(client) >> shift)
                sent += [packet(mate, sport, flags=flags) for sport in (1000, 2001) for flags in (SYN | REDIRECT, ACK)]
    seen: dict[tuple[int, int], set[str]] = {}
    for name, frame in made.send(sent):
        source = frame[26:30] if frame[14] >> 4 == 4 else frame[22:38]
        seen.setdefault(of[source], set()).add(name)
    assert len(seen) == 300 and all(len(names) == 1 for names in seen.values()), "one server each"
    shares = Counter(next(iter(names)) for names in seen.values())
    assert len(shares) == 4 and max(shares.values()) < 1.5 * 300 / 4, shares
    flows = made.bridges["s1"].command("dpctl/dump-flows").count("recirc_id(")
    assert flows <= 2 * 300 * 2, "for each network at most one for each kind of flags and direction"


def test_l4_data_in_the_packet(network: Make) -> None:
    """``when``: source network, code point and VLAN lead to other pools, the first one that matches first."""
    when = [
        {"source": "192.0.2.0/24", "pool": 81},
        {"source": "2001:db8:1::/48", "pool": 81},
        {"dscp": 46, "pool": 82},
        {"vlan": 12, "pool": 82},
    ]
    pools: dict[int, dict[str, Any]] = {
        80: {"servers": ["a"], "when": when, "legacy": "balance"},
        81: {"servers": ["b", "c"]},
        82: {"servers": ["d"]},
    }
    made = network(pools)
    made.install()
    kinds = [(TCP, SYN | REDIRECT), (TCP, ACK | REDIRECT), (TCP, SYN), (UDP, 0), (SCTP, 0)]
    near = (IPv4Address("192.0.2.9"), IPv6Address("2001:db8:1::9"))
    far = (IPv4Address("192.0.3.9"), IPv6Address("2001:db8:2::9"))

    def to(senders: Iterable[Address], dscp: int = 0, vlan: int = 0, dport: int = 80) -> set[str]:
        frames = [
            packet(sender, sport, dport, protocol, flags, dscp)
            for sender in senders
            for sport in range(1000, 1020)
            for protocol, flags in kinds
        ]
        return {name for name, _ in made.send([tagged(each, vlan) for each in frames] if vlan else frames)}

    assert to(near) == {"b", "c"} == to(near, dscp=46), "the first one decides"
    assert to(far, dscp=46) == {"d"} == to(far, vlan=12)
    assert to(far) == {"a"} == to(far, dscp=45) == to(far, vlan=13)


@pytest.fixture
def controlled(network: Make, tmp_path: Path) -> Iterator[Callable[[Mapping[int, dict[str, Any]]], Network]]:
    """Makes a network whose redirect ports say this, and a controller for it."""
    running: list[ControllerProcess] = []

    def make(ports: Mapping[int, dict[str, Any]]) -> Network:
        made = network({port: {"servers": list("abcd"), "legacy": "drop"} | says for port, says in ports.items()})
        path = tmp_path / "lb.yaml"
        path.write_text(made.text)
        running.append(ControllerProcess(path, resync=0.5))
        made.control(running[0])
        return made

    yield make
    for each in running:
        assert "Traceback" not in each.log.read_text()
        assert each.close() == 0


def connections(port: int) -> list[bytes]:
    """SYNs of some connections to a redirect port, over both versions of IP."""
    several = [*clients(10, 4), *clients(10, 6)]
    return [packet(client, sport, port) for client in several for sport in (4000, 4002, 4004)]


def spread(made: Network, port: int) -> tuple[str, ...]:
    """Which server each of them gets now."""
    sample = connections(port)
    found = {frame: name for name, frame in made.send(sample)}
    return tuple(found[frame] for frame in sample)


def test_l1_connections_get_other_servers_every_period(
    controlled: Callable[[Mapping[int, dict[str, Any]]], Network],
) -> None:
    """Every period all slots get other servers, by lot or in turn; all servers have a share at any time."""
    kinds = {80: "random", 81: "round-robin", 82: "elevator"}
    made = controlled({port: {"selection": {"kind": kind, "period": 3}} for port, kind in kinds.items()})
    seen: dict[int, list[tuple[str, ...]]] = {port: [] for port in kinds}

    def all_have_had_several() -> bool:
        for port, tables in seen.items():
            tables.append(spread(made, port))
            assert len(set(tables[-1])) == 4
        return all(len(set(had)) > 1 for tables in seen.values() for had in zip(*tables, strict=True))

    wait_for("every connection would have got several servers", all_have_had_several, 60)


def test_l3_slots_leave_the_server_with_most_packets(
    controlled: Callable[[Mapping[int, dict[str, Any]]], Network],
) -> None:
    """The switch counts the packets of each slot; slots of the server that gets most move until all get as many."""
    made = controlled({80: {"selection": "least-packets", "moves": "free"}})
    first = spread(made, 80)
    heavy = [frame for frame, name in zip(connections(80), first, strict=True) if name == first[0]]
    assert 5 < len(heavy) < 40

    def share() -> float:
        """The part of the packets that the fullest server gets."""
        got = Counter(name for name, _ in made.send(heavy * 8))
        return max(got.values()) / got.total()

    assert share() == 1.0
    wait_for("their slots are on all servers", lambda: share() < 0.45, 60)
