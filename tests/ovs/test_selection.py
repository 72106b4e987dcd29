"""How redirect ports select servers (rows L1 to L4), with packets, on one switch and through a tree.

In the tree, clients come in at s1, which has servers a and b, and c and d are at s2 behind a link.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest

from portlb_app.net.packets import REDIRECT, SCTP, TCP, UDP
from portlb_app.pipeline import SLOTS
from portlb_app.topology.conditions import Conditions, PoolSlots
from tests.net.network import SYN
from tests.ovs.controller import ControllerProcess, wait_for
from tests.ovs.pools import ACK, Address, Make, Network, clients, networks, packet
from tests.ovs.switch import Switch


@pytest.fixture(params=["one switch", "tree"])
def network(request: pytest.FixtureRequest, switch: Switch) -> Iterator[Make]:
    """Makes a network whose VIP has these redirect ports."""
    with networks(switch, request.param == "tree") as make:
        yield make


def tagged(frame: bytes, vlan: int) -> bytes:
    """The frame in a VLAN."""
    return frame[:12] + struct.pack("!HH", 0x8100, vlan) + frame[12:]


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
