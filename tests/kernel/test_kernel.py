"""What only the kernel datapath can show: compiled tables, real frames, real TCP, in a machine of its own (`machine`).

One boot does all steps; the tests judge what it reports. Run by ``make test-kernel``.
"""

from __future__ import annotations

import itertools
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml

from portlb_app import compiler
from portlb_app.backends import Backends
from portlb_app.cli import main
from portlb_app.config import load
from portlb_app.pipeline import NO_MARK, mark
from portlb_app.topology.conditions import Conditions
from tests.kernel.frames import (
    ACK,
    CLIENT,
    CLIENT_MAC,
    FAR,
    ICMP6,
    NETWORK,
    REDIRECT,
    RST,
    SYN,
    TCP,
    UDP,
    VIP,
    VIP_MAC,
    Reports,
    arrived,
    hexed,
    segment,
)
from tests.kernel.machine import ROOT, boot
from tests.support import wire
from tests.support.wire import Address

SCENARIOS = sorted(path.parent.name for path in ROOT.glob("flows/*/lb.yaml"))
SWITCHES = sorted((path.parent.name, path.stem) for path in ROOT.glob("flows/*/*.flows"))
"""The scenarios, and each one's switches."""
SYNS, SLOTS = 1000, 256
SIZE = 3000
"""Bytes of data in a datagram that is sent in three fragments."""
TRANSFER = 300_000
REPEATS = 24


# ---- what is asked of the guest --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mode:
    """A way of rewriting: its scenario, and where a service port of two of its servers leads."""

    scenario: str
    servers: dict[int, tuple[int, int, dict[int, str]]]
    """Service port: OpenFlow port, destination MAC address, destination addresses by the version of IP."""
    hosts: tuple[dict[str, Any], ...]
    """The far ends as hosts of this mode."""


_VIP = {4: "10.0.0.100", 6: "fd00::100"}
_CLIENT_HOST = {"port": NETWORK, "mac": "02:00:00:00:00:01", "addresses": ["10.0.0.1/24", "fd00::1/64"]}
_VIP_HOST = {"mac": "02:00:00:00:00:64", "addresses": ["10.0.0.100/24", "fd00::100/64"]}
_VIP_ON_LO = {"addresses": ["fd00::100/64"], "lo": ["10.0.0.100/32"]}
MODES = {
    "nothing": Mode(
        "ipv6",
        {8001: (2, VIP_MAC, _VIP), 8002: (3, VIP_MAC, _VIP)},
        (_CLIENT_HOST, {"port": 2, **_VIP_HOST}, {"port": 3, **_VIP_HOST}),
    ),
    "mac": Mode(
        "mac",
        {8001: (2, 0x02000000000A, _VIP), 8002: (2, 0x02000000000B, _VIP), 8003: (3, 0x02000000000C, _VIP)},
        (
            _CLIENT_HOST,
            {"port": 2, "mac": "02:00:00:00:00:0a", **_VIP_ON_LO},
            {"port": 3, "mac": "02:00:00:00:00:0c", **_VIP_ON_LO},
        ),
    ),
    "address": Mode(
        "address",
        {
            8001: (2, 0x02000000000A, {4: "10.0.0.11", 6: "fd00::11"}),
            8002: (3, 0x0200000000FE, {4: "10.2.0.12", 6: "fd02::12"}),
        },
        (
            _CLIENT_HOST,
            {"port": 2, "mac": "02:00:00:00:00:0a", "addresses": ["10.0.0.11/24", "fd00::11/64"]},
            {  # the router, with the server behind it on its loopback
                "port": 3,
                "mac": "02:00:00:00:00:fe",
                "addresses": ["10.0.0.2/24", "fd00::2/64"],
                "lo": ["10.2.0.12/32", "fd02::12/128"],
            },
        ),
    ),
}
REACHED = {name: [port for port in mode.servers if (name, port) != ("mac", 8002)] for name, mode in MODES.items()}
"""Service ports with a host behind them: b of scenario mac shares a connector, and there is no switch."""


def variant(scenario: str, **vip: Any) -> str:
    """A scenario's configuration for the kernel datapath, with settings of its VIP."""
    data = yaml.safe_load((ROOT / "flows" / scenario / "lb.yaml").read_text())
    data["switches"]["s1"]["datapath"] = "kernel"
    data["vips"]["web"] |= vip
    return yaml.safe_dump(data)


def datagram(source: Address, sport: int, dport: int, data: bytes) -> bytes:
    """A client's UDP datagram, whole, as a frame."""
    there = VIP[source.version]
    packet = wire.ip(source, there, UDP, wire.udp_datagram(source, there, sport, dport, data))
    return wire.ethernet(source.version, packet, source=CLIENT_MAC)


_identifiers = itertools.count(1)


def fragments(
    source: Address, destination: Address, whole: bytes, macs: tuple[int, int], protocol: int = UDP
) -> list[bytes]:
    """What a host sends where the path's MTU is 1500, with an identifier of its own; `macs`: source, destination."""
    identifier = next(_identifiers)
    step = 1480 if source.version == 4 else 1448
    parts = [(at, whole[at : at + step]) for at in range(0, len(whole), step)]
    return [
        wire.ethernet(
            source.version,
            wire.ip(source, destination, protocol, part, fragment=(identifier, at, at + step < len(whole))),
            source=macs[0],
            destination=macs[1],
        )
        for at, part in parts
    ]


def data(number: int) -> bytes:
    """What datagram `number` carries."""
    return bytes((number * 7 + at * 31 + (at >> 8)) & 0xFF for at in range(SIZE))


def split(number: int, version: int, dport: int, protocol: int = UDP) -> list[bytes]:
    """Datagram `number` to the VIP, from a client of its own, in fragments."""
    source, there = FAR[version] + number, VIP[version]
    make = wire.udp_datagram if protocol == UDP else wire.tcp_segment
    whole = make(source, there, 5000, dport, data(number))
    return fragments(source, there, whole, (CLIENT_MAC, VIP_MAC), protocol)


def solicitation(source: Address, target: Address, with_mac: bool) -> bytes:
    """A neighbour solicitation (RFC 4861, 4.3) as a frame."""
    group = IPv6Address(int(IPv6Address("ff02::1:ff00:0")) | int(target) & 0xFFFFFF)
    option = b"\1\1" + CLIENT_MAC.to_bytes(6, "big") if with_mac else b""
    body = struct.pack("!BBHI", 135, 0, 0, 0) + target.packed + option
    body = body[:2] + struct.pack("!H", wire.checksum(wire.pseudo(source, group, ICMP6, body) + body)) + body[4:]
    packet = struct.pack("!IHBB", 6 << 28, len(body), ICMP6, 255) + source.packed + group.packed + body
    return wire.ethernet(6, packet, 0x333300000000 | int(group) & 0xFFFFFFFF, CLIENT_MAC)


def arp_question(target: Address) -> bytes:
    """Who has the target? As a broadcast frame."""
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + CLIENT_MAC.to_bytes(6, "big") + CLIENT[4].packed
    head = b"\xff" * 6 + CLIENT_MAC.to_bytes(6, "big") + b"\x08\x06"
    return (head + body + bytes(6) + target.packed).ljust(60, b"\0")


SERVICE = {port: 2 + (port - 1) % 4 for port in range(1, 13)}
"""FIG. 2: service port and the OpenFlow port of its owner; a, b, c and d take turns."""
DEFAULT = 5
IN_ORDER, REVERSED, MIXED, SEGMENT, ORPHAN = range(5)
"""Number of a fragmented packet in `tracked`, but for ten times its service port's place and a hundred for IPv6."""


def tracked(mode: Mode) -> Iterator[tuple[int, bytes]]:
    """Fragments of packets to each service port, in any order; last, fragments whose first never comes."""
    for version in (4, 6):
        for place, port in enumerate(mode.servers):
            base = 100 * (version == 6) + 10 * place
            first, second = split(base + IN_ORDER, version, port), split(base + REVERSED, version, port)[::-1]
            third, fourth = split(base + MIXED, version, port), split(base + SEGMENT, version, port, TCP)
            for frame in (*first, *second, third[1], fourth[0], third[0], fourth[2], third[2], fourth[1]):
                yield NETWORK, frame
            for frame in split(base + ORPHAN, version, port)[1:]:
                yield NETWORK, frame


def from_servers(mode: Mode) -> Iterator[tuple[int, bytes]]:
    """A fragmented datagram of each server to a client."""
    for version in (4, 6):
        for place, (port, (where, mac, addresses)) in enumerate(mode.servers.items()):
            source, client = ip_address(addresses[version]), FAR[version] + 1
            whole = wire.udp_datagram(source, client, port, 5000, data(place))
            for frame in fragments(source, client, whole, (mac, CLIENT_MAC)):
                yield where, frame


def to_pool(version: int) -> Iterator[tuple[int, bytes]]:
    """From each of a few clients a whole datagram to a redirect port, and a fragmented one with the same ports."""
    for number in range(16):
        yield NETWORK, datagram(FAR[version] + number, 5000, 80, b"whole")
        for frame in split(number, version, 80):
            yield NETWORK, frame


def syns(flags: int) -> Iterator[tuple[int, bytes]]:
    """The same 1000 clients each time."""
    for number in range(SYNS):
        yield NETWORK, segment(FAR[4] + number % 250, 1024 + 7 * number, 22, flags)


LEFT = 5
"""The connector of d of FIG. 2, which leaves the pool of port 22."""
MOVED = 100
MARKED = mark(load((ROOT / "flows/fig2/lb.yaml").read_text()).vips[0].number, ("d",))
"""The MAC address that says: d had this slot before."""


def plain(flags: int) -> Iterator[tuple[int, bytes]]:
    """A segment of each of some plain clients to the pool."""
    for number in range(MOVED):
        yield NETWORK, segment(FAR[4] + number, 3000 + 2 * number, 22, flags)


def handed_back() -> Iterator[tuple[int, bytes]]:
    """What the servers' agents hand back of these: the same segments, from each server that the pool still has."""
    for port in (2, 3, 4):
        for _, frame in plain(ACK):
            yield port, MARKED.to_bytes(6, "big") + VIP_MAC.to_bytes(6, "big") + frame[12:]


def without_d(into: Path) -> None:
    """The tables of FIG. 2 when d has just left the pool of port 22: slots that were d's remember it."""
    text = (ROOT / "flows/fig2/lb.yaml").read_text()
    before, after = load(text), load(text.replace("22: {servers: [a, b, c, d]", "22: {servers: [a, b, c]"))
    backends = Backends(before)
    backends.adopt(after, 1.0)
    slots, closed = backends.conditions(after)
    state = compiler.compile(after, Conditions(slots=slots, closed=closed))["s1"]
    into.mkdir()
    texts = {"flows": compiler.flows_text, "groups": compiler.groups_text, "meters": compiler.meters_text}
    for kind, make in texts.items():
        (into / f"s1.{kind}").write_text(make("s1", state))


PINS = 32


def pinned(flags: int) -> Iterator[tuple[int, bytes]]:
    """A segment of each of a few plain clients to the pinned port."""
    for number in range(PINS):
        yield NETWORK, segment(FAR[4], 2000 + 2 * number, 22, flags)


def answers() -> Iterator[bytes]:
    """SYN/ACKs to these clients; whichever server sends them, they fit."""
    for number in range(PINS):
        whole = wire.tcp_segment(VIP[4], FAR[4], 22, 2000 + 2 * number, b"", SYN | ACK)
        yield wire.ethernet(4, wire.ip(VIP[4], FAR[4], TCP, whole), CLIENT_MAC, VIP_MAC)


def transfers(mode: str) -> list[dict[str, Any]]:
    """TCP from a client to each service port that has a host."""
    found = []
    for version in (4, 6):
        for port in REACHED[mode]:
            where, _, addresses = MODES[mode].servers[port]
            servers = [(where, addresses[version])]
            found.append({"address": _VIP[version], "port": port, "servers": servers, "size": TRANSFER})
    return found


def the_plan() -> Iterator[dict[str, Any]]:
    """All steps; one without tables goes on with those of the one before it."""
    for scenario, switch in SWITCHES:
        if scenario != "fig2":
            yield {"name": f"install {scenario} {switch}", "tables": scenario, "switch": switch}
    services = [(NETWORK, segment(FAR[4], 5000, port, REDIRECT | ACK)) for port in SERVICE]
    services += [(NETWORK, datagram(FAR[4], 5000, port, b"")) for port in SERVICE]
    others = [(NETWORK, segment(FAR[4], 5000, port, SYN)) for port in (20, 99)]
    yield {"name": "install fig2 s1", "tables": "fig2"}
    yield {"name": "service ports", "frames": hexed(services)}
    yield {"name": "other ports", "frames": hexed(others)}
    yield {"name": "arp", "frames": hexed([(NETWORK, arp_question(VIP[4])), (NETWORK, arp_question(CLIENT[4] + 1))])}
    yield {"name": "redirect", "frames": hexed(syns(REDIRECT | SYN)), "slots": True}
    yield {"name": "later packets", "frames": hexed(syns(REDIRECT | ACK)), "slots": True}
    yield {"name": "second chance, opened", "tables": "fig2", "frames": hexed(plain(ACK))}
    yield {"name": "second chance, moved", "tables": "without d", "frames": hexed(plain(ACK))}
    yield {"name": "second chance, handed back", "frames": hexed(handed_back())}
    for name, tables, rehash in (("kept", None, 0), ("drawn anew", None, 1), ("pinned", "pin", 1)):
        repeats = {"address": _VIP[4], "port": 22, "count": REPEATS, "seconds": 4.0, "txrehash": rehash}
        yield {"name": f"repeated SYNs, {name}", "tables": tables, "hosts": [_CLIENT_HOST], "connects": repeats}
    opened = hexed(pinned(SYN))
    answered = [(port, frame.hex()) for port in (2, 3) for frame in answers()]
    yield {"name": "pins, opened", "frames": opened}
    yield {"name": "pins, answered", "frames": answered}
    for name, flags in (("kept", ACK), ("anew", SYN), ("closed", ACK | RST), ("again", SYN)):
        tables = "pin elsewhere" if name == "kept" else None
        yield {"name": f"pins, {name}", "tables": tables, "frames": hexed(pinned(flags))}
    for name, mode in MODES.items():
        yield {"name": f"track {name}", "tables": f"track {name}", "frames": hexed(tracked(mode))}
        yield {"name": f"pool {name}", "frames": hexed([*to_pool(4), *to_pool(6)])}
        yield {"name": f"from servers {name}", "frames": hexed(from_servers(mode))}
        for offload in (True, False):
            words = {"hosts": mode.hosts, "offload": offload, "transfers": transfers(name)}
            yield {"name": f"transfer {name} {offload}", **words}
        if name == "nothing":
            asked = [solicitation(CLIENT[6], VIP[6], True), solicitation(CLIENT[6], VIP[6], False)]
            asked += [solicitation(IPv6Address("::"), VIP[6], False), solicitation(CLIENT[6], CLIENT[6] + 1, True)]
            yield {"name": "nd", "frames": hexed((NETWORK, frame) for frame in asked)}
    for version in (4, 6):
        frames = [(NETWORK, frame) for frame in split(version, version, 8002)]
        yield {"name": f"default {version}", "tables": "default", "frames": hexed(frames)}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Reports:
    """What the guest saw in each step."""
    directory = tmp_path_factory.mktemp("kernel")
    configurations = {scenario: (ROOT / "flows" / scenario / "lb.yaml").read_text() for scenario in SCENARIOS}
    configurations["default"] = variant("address", fragments="default")
    for name, servers in (("pin", ["a", "b", "c", "d"]), ("pin elsewhere", ["c", "d"])):
        configurations[name] = variant("fig2", redirect_ports={22: {"servers": servers, "legacy": "pin"}})
    tables = directory / "tables"
    for name, text in configurations.items():
        compiled(text, tables / name)
    for name, mode in MODES.items():
        compiled(variant(mode.scenario, fragments="track"), tables / f"track {name}")
    without_d(tables / "without d")
    return boot(directory, list(the_plan()), tables)


def compiled(configuration: str, into: Path) -> None:
    """The tables of a configuration, as the command writes them."""
    source = into.parent.parent / f"{into.name}.yaml"
    source.write_text(configuration)
    assert main(["compile", str(source), "-o", str(into)]) == 0


# ---- what it reported ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scenario", "switch"), SWITCHES)
def test_tables_install(reports: Reports, scenario: str, switch: str) -> None:
    """Meters, groups and flows, all of them, as their files say."""
    report = reports[f"install {scenario} {switch}"]
    assert "failed" not in report, report["failed"]
    kinds = ("meters", "groups", "flows")
    files = {kind: (ROOT / "flows" / scenario / f"{switch}.{kind}").read_text() for kind in kinds}
    assert report["installed"] == {
        kind: sum(bool(line) and not line.startswith("#") for line in text.splitlines()) for kind, text in files.items()
    }


def test_nothing_is_refused(reports: Reports) -> None:
    """Open vSwitch logs no warning: no flow or datapath flow that the kernel does not take."""
    assert reports["log"]["lines"] == []
    assert not [name for name, report in reports.items() if "failed" in report]


def test_a_service_port_reaches_its_owner(reports: Reports) -> None:
    """TCP and UDP, unchanged."""
    seen = arrived(reports["service ports"])
    assert all(packet.sums_up and packet.macs == (CLIENT_MAC, VIP_MAC) for packet in seen)
    expected = Counter((port, protocol, where) for port, where in SERVICE.items() for protocol in (TCP, UDP))
    assert Counter((packet.ports[1], packet.protocol, packet.port) for packet in seen) == expected


def test_other_ports(reports: Reports) -> None:
    """A plain client's SYN to a redirect port is dropped, one to a port of nobody reaches the default server."""
    assert [(packet.ports[1], packet.port) for packet in arrived(reports["other ports"])] == [(99, DEFAULT)]


def test_redirected_syns_spread_without_a_flow_each(reports: Reports) -> None:
    """Four servers share 1000 SYNs, later packets find theirs; the datapath has a flow per slot, not per client."""
    servers = {(packet.source, packet.ports[0]): packet.port for packet in arrived(reports["redirect"])}
    assert len(servers) == SYNS
    shares = Counter(servers.values())
    print(dict(shares), "datapath flows:", reports["redirect"]["datapath"], reports["later packets"]["datapath"])
    assert shares.keys() == {2, 3, 4, 5} and min(shares.values()) > SYNS / 4 * 0.7
    later = {(packet.source, packet.ports[0]): packet.port for packet in arrived(reports["later packets"])}
    assert later == servers
    assert reports["later packets"]["datapath"] < SLOTS + 64


def test_repeated_syns_of_a_host_on_the_same_kernel(reports: Reports) -> None:
    """The kernel hashes a local socket's packets by a number that the socket draws anew when it repeats one, unless
    net.core.txrehash is 0: then a SYN that is repeated goes elsewhere. Under ``pin`` it does not.
    """
    moved = {}
    for name in ("kept", "drawn anew", "pinned"):
        where: dict[int, set[int]] = {}
        packets = [packet for packet in arrived(reports[f"repeated SYNs, {name}"]) if packet.protocol == TCP]
        for packet in packets:
            where.setdefault(packet.ports[0], set()).add(packet.port)
        assert len(where) == REPEATS and len(packets) >= 2 * REPEATS
        moved[name] = sum(len(ports) > 1 for ports in where.values())
    print("connections whose repeated SYN went elsewhere:", moved)
    assert moved["kept"] == moved["pinned"] == 0 < moved["drawn anew"]


def test_a_moved_slot_gives_its_connections_a_second_chance(reports: Reports) -> None:
    """Segments of d's connections come to another server with d's mark, and go on to d when that hands them back."""
    opened, moved, back = ({} for _ in range(3))
    for name, found in (("opened", opened), ("moved", moved), ("handed back", back)):
        for packet in arrived(reports[f"second chance, {name}"]):
            assert packet.sums_up
            found.setdefault(packet.ports[0], set()).add((packet.port, packet.macs))
    of_d = {client for client, where in opened.items() if where == {(LEFT, (CLIENT_MAC, VIP_MAC))}}
    assert len(opened) == len(moved) == MOVED and MOVED / 8 < len(of_d) < MOVED / 2
    for client, ((port, macs),) in moved.items():
        assert port != LEFT and macs == (MARKED if client in of_d else CLIENT_MAC, VIP_MAC)
        assert client in of_d or opened[client] == {(port, macs)}, "no other slot has moved"
    assert {where for each in back.values() for where in each} == {(LEFT, (NO_MARK, VIP_MAC))} and of_d <= back.keys()


def test_pins(reports: Reports) -> None:
    """A remembered connection keeps its server when another pool comes; SYNs from the same ports start anew, in
    whatever state conntrack of the kernel has the old connection.
    """
    where = {
        name: {packet.ports[0]: packet.port for packet in arrived(reports[f"pins, {name}"])}
        for name in ("opened", "kept", "anew", "closed", "again")
    }
    assert len(where["opened"]) == PINS and set(where["opened"].values()) == {2, 3, 4, 5}
    assert where["kept"] == where["opened"], "the old pool's servers"
    assert len(where["anew"]) == PINS and set(where["anew"].values()) == {4, 5}
    assert where["closed"] == where["anew"] and set(where["again"].values()) == {4, 5}


def test_the_switch_answers_arp(reports: Reports) -> None:
    """With the VIP's MAC address, to who asked, and for nobody else."""
    (port, text), *others = reports["arp"]["frames"]
    frame = bytes.fromhex(text)
    mac, client = VIP_MAC.to_bytes(6, "big"), CLIENT_MAC.to_bytes(6, "big")
    assert (port, frame[:14], others) == (NETWORK, client + mac + b"\x08\x06", [])
    assert frame[20:42] == b"\0\2" + mac + VIP[4].packed + client + CLIENT[4].packed


def test_the_switch_answers_neighbour_solicitations(reports: Reports) -> None:
    """Solicited and overriding, with a target option if there was a source option; probes to all hosts, unsolicited."""
    with_option, without, probed = arrived(reports["nd"])
    assert probed.port == NETWORK and probed.macs == (VIP_MAC, 0x333300000001) and probed.sums_up
    assert (probed.source, probed.destination) == (VIP[6], IPv6Address("ff02::1"))
    assert probed.body == b"\x88\0" + probed.body[2:4] + b"\x20\0\0\0" + VIP[6].packed
    for answer in (with_option, without):
        assert answer.port == NETWORK and answer.macs == (VIP_MAC, CLIENT_MAC)
        assert (answer.source, answer.destination) == (VIP[6], CLIENT[6])
        assert answer.sums_up
        assert answer.body[:2] == b"\x88\0" and answer.body[4:24] == b"\x60\0\0\0" + VIP[6].packed
    assert with_option.body[24:] == b"\2\1" + VIP_MAC.to_bytes(6, "big") and without.body[24:] == b""


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("name", MODES)
def test_fragments_reach_the_owner(reports: Reports, name: str, version: int) -> None:
    """Rows F1 and F2: in order, reversed, two packets mixed, a TCP segment; as many fragments, all that is in them, the
    server's addresses and right checksums. Fragments without a first reach nobody.
    """
    mode = MODES[name]
    seen = {packet.source: packet for packet in arrived(reports[f"track {name}"]) if packet.source.version == version}
    expected = 0
    for place, (port, (where, mac, addresses)) in enumerate(mode.servers.items()):
        for kind in (IN_ORDER, REVERSED, MIXED, SEGMENT):
            number = 100 * (version == 6) + 10 * place + kind
            packet = seen[FAR[version] + number]
            assert (packet.port, packet.macs) == (where, (CLIENT_MAC, mac)), number
            assert packet.destination == ip_address(addresses[version])
            assert packet.ports == (5000, port) and packet.body.endswith(data(number))
            assert packet.sums_up and packet.parts == 3
            expected += 1
    assert len(seen) == expected


@pytest.mark.parametrize("name", MODES)
def test_fragments_to_a_redirect_port(reports: Reports, name: str) -> None:
    """A sender's fragmented datagrams reach the server that its whole ones reach, and all servers have some."""
    seen = arrived(reports[f"pool {name}"])
    assert all(packet.sums_up for packet in seen)
    whole = {packet.source: (packet.port, packet.macs, packet.destination) for packet in seen if packet.parts == 1}
    parts = {packet.source: (packet.port, packet.macs, packet.destination) for packet in seen if packet.parts == 3}
    assert len(whole) == 32 and len(set(whole.values())) >= 4
    assert parts == whole


@pytest.mark.parametrize("name", MODES)
def test_fragments_from_servers(reports: Reports, name: str) -> None:
    """They leave as the VIP's, with right checksums and all that is in them, rewritten addresses or not."""
    mode, seen = MODES[name], arrived(reports[f"from servers {name}"])
    assert len(seen) == 2 * len(mode.servers)
    for packet in seen:
        assert (packet.port, packet.macs, packet.parts) == (NETWORK, (VIP_MAC, CLIENT_MAC), 3)
        assert packet.source == VIP[packet.source.version] and packet.sums_up
        assert packet.body.endswith(data(list(mode.servers).index(packet.ports[0])))


@pytest.mark.parametrize("version", [4, 6])
def test_fragments_to_a_default_server_with_another_address(reports: Reports, version: int) -> None:
    """Under ``default`` fragments are rewritten one by one, and the kernel spoils none."""
    (packet,) = arrived(reports[f"default {version}"])
    where, mac, addresses = MODES["address"].servers[8001]
    assert (packet.port, packet.macs[1], packet.destination) == (where, mac, ip_address(addresses[version]))
    assert packet.sums_up and packet.body.endswith(data(version)) and packet.parts == 3


@pytest.mark.parametrize("offload", [True, False], ids=["offload", "checksums"])
@pytest.mark.parametrize("name", MODES)
def test_a_transfer(reports: Reports, name: str, offload: bool) -> None:
    """A real TCP connection each way through the switch, also where hosts compute and verify checksums themselves."""
    report = reports[f"transfer {name} {offload}"]
    assert "failed" not in report, report["failed"]
    for wanted, done in zip(transfers(name), report["transfers"], strict=True):
        assert done == {"error": "", "same": True, "server": wanted["servers"][0][0], "from": wanted["address"]}
    print(report["counters"])
    assert all(counted["InCsumErrors"] == 0 and counted["InSegs"] > 0 for counted in report["counters"].values())
