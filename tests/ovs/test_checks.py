"""The tables of health checks: what the controller sends, and what servers answer, by a real switch.

`flows/checks`: clients on port 1; web's servers a, b, c on ports 2, 3, 4, name's servers d and e on ports 5 and 6.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from portlb_app import compiler
from portlb_app.compiler.vips_by_switch import VipsBySwitch
from portlb_app.config import CheckKind, Config, load
from portlb_app.health.datagrams import DatagramProbe
from portlb_app.health.probe import Probe
from portlb_app.health.targets import Line, Way, lines
from portlb_app.health.tcp import TcpProbe
from portlb_app.openflow import actions_text
from portlb_app.pipeline import Reason, check_mac, parse_cookie
from portlb_app.topology.conditions import AS_CONFIGURED
from tests.ovs import switch as ovs
from tests.ovs.bridge import Bridge
from tests.support.generate import CLIENT_MAC, frame
from tests.support.reference import ACK, SYN, TCP, UDP, Arp, Ip, Nd, Packet

TEXT = (Path(__file__).parents[2] / "flows/checks/lb.yaml").read_text()
CHECKER, CHECKER6 = IPv4Address("192.0.0.8"), IPv6Address("100::8")
VIP, VIP6, VIP_MAC = IPv4Address("10.0.0.100"), IPv6Address("fd00::100"), 0x020000000064
CLIENT, ROUTER_MAC = IPv4Address("192.0.2.1"), 0x020000000001
SOLICITATION, ADVERTISEMENT = 135, 136


@pytest.fixture(scope="module")
def config() -> Config:
    """The configuration."""
    return load(TEXT)


@pytest.fixture(scope="module")
def bridge(switch: ovs.Switch, config: Config) -> Iterator[Bridge]:
    """A switch with its tables; port 7 exists and is nobody's."""
    bridge = Bridge(switch, range(1, 8))
    bridge.install(compiler.compile(config)["s1"])
    yield bridge
    bridge.close()


def of(config: Config) -> dict[tuple[str, int], Line]:
    """The line of every server and version of IP."""
    found = lines(1, VipsBySwitch(config, AS_CONFIGURED).on(1))
    return {(line.server, line.version): line for line in found}


def sent(bridge: Bridge, line: Line, way: Way) -> dict[int, list[bytes]]:
    """Have the switch send the first packet of a check, as the controller does; what leaves it."""
    kind = TcpProbe if line.check.kind is CheckKind.HTTP else DatagramProbe
    probe: Probe = kind(line.check, way.target, lambda: 7, lambda _: False)
    (first,) = probe.begin(0.0)
    side = "" if way.side is None else f"reg0={int(way.side)},"
    bridge.collect()
    text = f"in_port={way.in_port},{side}packet={first.hex()},actions={actions_text(way.actions)}"
    bridge.switch.ofctl("packet-out", bridge.name, text)
    return bridge.collect()


def test_a_check_reaches_its_server_by_the_tables(bridge: Bridge, config: Config) -> None:
    """The owner of the service port gets it as it is, over both versions of IP, and nobody else anything."""
    for name, port in (("a", 2), ("b", 3)):
        for version in (4, 6):
            line = of(config)[name, version]
            assert (line.way.name, line.way.side is None) == (f"port {8000 + port - 1}", False)
            gone = sent(bridge, line, line.way)
            assert set(gone) == {port}
            (arrived,) = gone[port]
            assert int.from_bytes(arrived[:6], "big") == VIP_MAC
            assert int.from_bytes(arrived[6:12], "big") == check_mac(CHECKER if version == 4 else CHECKER6)


def test_a_check_reaches_its_server_by_the_connector(bridge: Bridge, config: Config) -> None:
    """To the VIP's port, with what the switch rewrites for a server."""
    for name, port in (("a", 2), ("b", 3), ("c", 4)):
        for version in (4, 6):
            line = of(config)[name, version]
            assert set(sent(bridge, line, line.direct or line.way)) == {port}
    line = of(config)["d", 4]
    gone = sent(bridge, line, line.way)
    assert set(gone) == {5}
    (arrived,) = gone[5]
    assert (arrived[:6], arrived[30:34]) == (bytes.fromhex("02000000000d"), bytes((10, 0, 0, 14)))


def up(port: int, ip: Ip, mac: int = VIP_MAC) -> bytes:
    """A server's packet, to whichever router it has."""
    return frame(Packet(port, mac, ip, ROUTER_MAC))


def reason(bridge: Bridge, port: int, data: bytes) -> tuple[Reason | None, int] | None:
    """Why a packet is handed up, and the port in its cookie; None if it is not."""
    seen = bridge.trace(port, data)
    if seen.cookie is None:
        return None
    why, _, of_port = parse_cookie(seen.cookie)
    return why, of_port


@pytest.mark.parametrize(("source", "destination"), [(VIP, CHECKER), (VIP6, CHECKER6)])
def test_answers_go_to_the_controller(bridge: Bridge, source: IPv4Address, destination: IPv4Address) -> None:
    """From any port, of any protocol, with the connector in the cookie; and nowhere else."""
    for protocol, sport in ((TCP, 8001), (TCP, 80), (UDP, 9999)):
        answer = Ip(source, destination, protocol, source_port=sport, destination_port=40000, tcp_flags=SYN | ACK)
        assert reason(bridge, 2, up(2, answer)) == (Reason.TO_CHECKER, 2)
        assert bridge.send(2, [up(2, answer)]) == {}


def test_nothing_else_is_allowed_by_it(bridge: Bridge) -> None:
    """A server's packets to others go on as they did; a client's to where checks come from are dropped."""
    foreign = Ip(VIP, CLIENT, TCP, source_port=8002, destination_port=40000, tcp_flags=ACK)
    assert bridge.send(2, [up(2, foreign)]) == {}
    own = Ip(VIP, CLIENT, TCP, source_port=8001, destination_port=40000, tcp_flags=ACK)
    assert set(bridge.send(2, [up(2, own)])) == {1}
    beside = Ip(VIP, IPv4Address("192.0.0.9"), TCP, source_port=9999, destination_port=40000, tcp_flags=ACK)
    assert bridge.send(2, [up(2, beside)]) == {}
    asked = Ip(CLIENT, CHECKER, TCP, source_port=40000, destination_port=80, tcp_flags=SYN)
    assert reason(bridge, 1, frame(Packet(1, CLIENT_MAC, asked, check_mac(CHECKER)))) is None
    assert bridge.send(1, [frame(Packet(1, CLIENT_MAC, asked, check_mac(CHECKER)))]) == {}
    assert bridge.send(7, [frame(Packet(7, CLIENT_MAC, asked, check_mac(CHECKER)))]) == {}


def test_the_switch_tells_servers_where_checks_come_from(bridge: Bridge) -> None:
    """By ARP and neighbour discovery, at their connectors; it tells no client."""
    question = Packet(2, VIP_MAC, Arp(1, VIP_MAC, VIP, CHECKER))
    (answer,) = bridge.send(2, [frame(question)])[2]
    assert answer[20:32] == b"\0\2" + check_mac(CHECKER).to_bytes(6, "big") + CHECKER.packed
    assert bridge.send(1, [frame(Packet(1, CLIENT_MAC, Arp(1, CLIENT_MAC, CLIENT, CHECKER)))]) == {}
    asked = Nd(SOLICITATION, VIP6, IPv6Address("ff02::1:ff00:8"), CHECKER6, VIP_MAC)
    (advertised,) = bridge.send(3, [frame(Packet(3, VIP_MAC, asked, 0x3333FF000008))])[3]
    assert advertised[54] == ADVERTISEMENT and advertised[62:78] == CHECKER6.packed
    assert advertised[80:86] == check_mac(CHECKER6).to_bytes(6, "big")


def test_without_checks_there_is_none_of_this(switch: ovs.Switch) -> None:
    """The same configuration, unchecked."""
    text = "\n".join(line for line in TEXT.splitlines() if "kind: http" not in line)
    config = load(text.replace(", check: {kind: udp, send: \"0x0001\", expect: \"0x0001\"}, fail_open: 1", ""))
    state = compiler.compile(config)["s1"]
    assert not [flow for flow in state.flows if parse_cookie(flow.cookie)[0] in (Reason.CHECK, Reason.TO_CHECKER)]
    assert not [meter for meter in state.meters if meter.number < 0x5000]
