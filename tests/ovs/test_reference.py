"""What a switch does with the compiled tables is what `tests.reference` says the load balancer means.

Random configurations meet random packets, by ofproto/trace and with real packets through the dummy datapath.
PORTLB_SEED=n repeats or varies the draw, PORTLB_PAIRS=n makes it longer.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from random import Random

import pytest

from portlb_app import compiler
from portlb_app.config import Config, Forwarding, load
from portlb_app.openflow import SwitchState
from portlb_app.pipeline import BY_NUMBER
from tests.ovs import switch as ovs
from tests.ovs.bridge import Bridge
from tests.ovs.terms import arriving, expected, handed_up, masks, settled, without_group_bits
from tests.support import generate
from tests.support.reference import (
    ADVERTISEMENT,
    CONFIRM,
    LOCAL,
    REDIRECT,
    SOLICITATION,
    SYN,
    TCP,
    All,
    Answer,
    AnyOf,
    Arp,
    Drop,
    Ip,
    Nd,
    Outcome,
    Packet,
    Punted,
    Reassembled,
    To,
    ToHost,
    ToNetwork,
    copied,
    deliver,
)

SEED = int(os.environ.get("PORTLB_SEED", "20261124"))
PAIRS = int(os.environ.get("PORTLB_PAIRS", "3000"))
PER_CONFIGURATION = 50
SLOTS = 256


@pytest.fixture(scope="module")
def bridge(switch: ovs.Switch) -> Iterator[Bridge]:
    """A bridge with every port a random configuration may use."""
    bridge = Bridge(switch, generate.CONNECTORS)
    yield bridge
    bridge.close()


def outcomes_by_trace(bridge: Bridge, pairs: int, seed: int) -> Counter[str]:
    """How often which outcome was agreed on; AssertionError with the seed and the packet if one was not."""
    counts: Counter[str] = Counter()
    for number in range(pairs // PER_CONFIGURATION):
        random = Random(f"{seed}/{number}")
        config = generate.configuration(random)
        for switch in config.switches:
            bridge.install(compiler.compile(config)[switch.name])
            _check_shares(bridge)
            for _ in range(PER_CONFIGURATION // len(config.switches)):
                packet = generate.packet(random, config, switch)
                outcome = deliver(config, switch, packet)
                seen = bridge.trace(packet.in_port, generate.frame(packet))
                if isinstance(outcome, Answer) and seen.ports == {packet.in_port}:
                    seen = replace(seen, deliveries=frozenset())
                what = f"seed {seed}/{number}, switch {switch.name}: {packet}\nmeans {outcome}\nwith {config}"
                want = expected(config, packet, switch, outcome)
                if copy := copied(config, switch, packet):
                    want = replace(want, copied=handed_up(config, packet, copy))
                    counts[copy.reason] += 1
                assert seen == settled(want, seen, outcome), what
                counts[type(outcome).__name__] += 1
                counts.update(names(config, packet, outcome))
    return counts


def names(config: Config, packet: Packet, outcome: Outcome) -> Iterator[str]:
    """The rows whose names a packet to or from a server had."""
    ip = packet.payload
    if not isinstance(ip, Ip) or not isinstance(outcome, (To, ToNetwork)):
        return
    for server in config.servers:
        is_its = isinstance(outcome, ToNetwork) or outcome == To(server.name)
        if is_its and {ip.source, ip.destination} & {*server.service_addresses}:
            yield "X1"
        if is_its and ip.protocol == TCP and server.service_mac in (packet.eth_src, packet.eth_dst):
            yield "X2"
        if outcome == To(server.name) and ip.tcp_flags & CONFIRM and ip.label and server.service_label == ip.label:
            yield "X3"


def _check_shares(bridge: Bridge) -> None:
    """Every pool's group has one slot per hash, and its servers' shares differ by one slot at most."""
    for slots in bridge.slots.values():
        if slots:
            assert sum(slots.values()) == SLOTS
            assert max(slots.values()) - min(slots.values()) <= 1


def test_the_switch_means_what_the_reference_means(bridge: Bridge, capsys: pytest.CaptureFixture[str]) -> None:
    """Random configurations, random packets: ofproto/trace and the reference agree, on every kind of outcome."""
    counts = outcomes_by_trace(bridge, PAIRS, SEED)
    with capsys.disabled():
        print(f" seed {SEED}, {sum(counts.values())} packets: {dict(counts)}", end=" ")
    assert all(counts[row] > 2 for row in ("X1", "X2", "X3")), "names are hardly tried"
    assert all(counts[copy] > 2 for copy in ("opening", "closing", "server_closing")), "copies are hardly tried"
    for outcome in (Drop, To, AnyOf, All, ToNetwork, ToHost, Answer, Punted, Reassembled):
        assert counts[outcome.__name__] > sum(counts.values()) // 400, "a kind of outcome is hardly tried"


def _without_given_up(gone: dict[int, list[bytes]], packet: Packet, data: bytes) -> dict[int, list[bytes]]:
    """What left the bridge, without fragments of other packets.

    Of a packet that is never whole Open vSwitch keeps fragments for 15 s, and then sends them behind whatever else it
    tracks, on any bridge.
    """
    is_whole = not isinstance(packet.payload, Ip) or packet.payload.fragment == "no"
    kept = {
        port: [each for each in frames if not _is_fragment(each) or (each.endswith(data) and not is_whole)]
        for port, frames in gone.items()
    }
    return {port: frames for port, frames in kept.items() if frames}


def _is_fragment(frame: bytes) -> bool:
    if frame[12:14] == b"\x08\x00":
        return bool(int.from_bytes(frame[20:22], "big") & 0x3FFF)
    return frame[12:14] == b"\x86\xdd" and frame[20] == 44


def test_real_packets_go_where_the_reference_says(bridge: Bridge) -> None:
    """Real packets: each leaves by the ports the reference names, as often as it names them, with the same bytes."""
    counts: Counter[str] = Counter()
    for number in range(40):
        random = Random(f"{SEED}/real/{number}")
        config = generate.configuration(random)
        switch = config.switches[-1]
        bridge.install(compiler.compile(config)[switch.name])
        for _ in range(50):
            packet = generate.packet(random, config, switch)
            if packet.in_port not in (*generate.CONNECTORS, LOCAL):
                continue
            outcome = deliver(config, switch, packet)
            is_whole = not isinstance(packet.payload, Ip) or packet.payload.fragment == "no"
            if switch.datapath is Forwarding.KERNEL and not is_whole:
                continue  # this is no kernel's datapath
            data = random.randbytes(random.choice((0, 1, 60, 1200)))
            frame = generate.frame(packet, data)
            gone = _without_given_up(bridge.send(packet.in_port, [frame]), packet, data)
            what = f"{SEED}/real/{number}: {packet}\nmeans {outcome}\nwith {config}"
            if isinstance(outcome, Answer):
                assert list(gone) == [packet.in_port], what
            else:
                arrivals = {
                    (port, generate.frame(after, data)) for port, after in arriving(config, switch, packet, outcome)
                }
                seen = [(port, each) for port, frames in gone.items() for each in frames]
                if isinstance(outcome, AnyOf):
                    assert len(seen) == 1 and set(seen) <= arrivals, what
                else:
                    assert set(seen) == arrivals and len(seen) == len(arrivals), what
            counts[type(outcome).__name__] += 1
    assert len(counts.keys() - {"OneOf"}) == 8, f"a kind of outcome is not tried: {counts}"


def test_arp_answer(bridge: Bridge, fig2: Config) -> None:
    """The switch's ARP answer, byte by byte (RFC 826): addresses swapped, the VIP's in place of the asked-for ones."""
    bridge.install(compiler.compile(fig2)["s1"])
    client, vip_mac, vip = bytes.fromhex("020000000001"), bytes.fromhex("020000000064"), bytes((10, 0, 0, 100))
    question = Packet(
        1, generate.CLIENT_MAC, Arp(1, generate.CLIENT_MAC, IPv4Address("10.0.0.1"), fig2.vips[0].address)
    )
    gone = bridge.send(1, [generate.frame(question)])
    assert set(gone) == {1}
    (answer,) = gone[1]
    assert answer[0:6] == client, "to who asked"
    assert answer[6:12] == vip_mac, "from the VIP"
    assert answer[12:14] == b"\x08\x06", "ARP"
    assert answer[14:20] == b"\x00\x01\x08\x00\x06\x04", "IPv4 over Ethernet"
    assert answer[20:22] == b"\x00\x02", "an answer"
    assert answer[22:28] == vip_mac, "sender's MAC address: the VIP's"
    assert answer[28:32] == vip, "sender's address: the VIP"
    assert answer[32:38] == client, "target's MAC address: who asked"
    assert answer[38:42] == bytes((10, 0, 0, 1)), "target's address: who asked"
    assert len(answer) == 42


@pytest.mark.parametrize("option", [True, False], ids=["with the asker's MAC address", "without"])
def test_nd_answer(bridge: Bridge, option: bool) -> None:
    """The switch's neighbour advertisement, byte by byte (RFC 4861, 4.4)."""
    config = load((Path(__file__).parents[2] / "flows/ipv6/lb.yaml").read_text())
    bridge.install(compiler.compile(config)["s1"])
    client, vip = IPv6Address("fe80::1"), IPv6Address("fd00::100")
    said = generate.CLIENT_MAC if option else None
    question = Nd(SOLICITATION, client, IPv6Address("ff02::1:ff00:100"), vip, said)
    gone = bridge.send(1, [generate.frame(Packet(1, generate.CLIENT_MAC, question, 0x3333FF000100))])
    vip_mac = 0x020000000064
    answer = Nd(ADVERTISEMENT, vip, client, vip, vip_mac if option else None)
    whole = bytearray(generate.frame(Packet(1, vip_mac, answer, generate.CLIENT_MAC)))
    icmpv6 = 14 + 40
    whole[icmpv6 + 4] = 0x60  # solicited, override
    whole[icmpv6 + 2 : icmpv6 + 4] = bytes(2)
    pseudo = bytes(whole[22:54]) + (len(whole) - icmpv6).to_bytes(4, "big") + bytes((0, 0, 0, 58))
    whole[icmpv6 + 2 : icmpv6 + 4] = generate.checksum(pseudo + bytes(whole[icmpv6:]))
    assert gone == {1: [bytes(whole)]}


@pytest.mark.parametrize("port, answered", [(1, True), (2, False)], ids=["the network", "a server"])
def test_nd_probe(bridge: Bridge, port: int, answered: bool) -> None:
    """Who looks whether the VIP's address is free (RFC 4862, 5.4) hears that it is not, with all hosts, unsolicited
    (RFC 4861, 7.2.4); a server, which has the address itself, does not. What came by a router is not answered.
    """
    config = load((Path(__file__).parents[2] / "flows/ipv6/lb.yaml").read_text())
    bridge.install(compiler.compile(config)["s1"])
    group, vip = IPv6Address("ff02::1:ff00:100"), IPv6Address("fd00::100")
    probe = Nd(SOLICITATION, IPv6Address("::"), group, vip, None)
    vip_mac = 0x020000000064
    mac = vip_mac if port == 2 else generate.CLIENT_MAC
    assert bridge.send(port, [generate.frame(Packet(port, mac, replace(probe, hops=64), 0x3333FF000100))]) == {}
    gone = bridge.send(port, [generate.frame(Packet(port, mac, probe, 0x3333FF000100))])
    answer = Nd(ADVERTISEMENT, vip, IPv6Address("ff02::1"), vip, None)
    whole = bytearray(generate.frame(Packet(port, vip_mac, answer, 0x333300000001)))
    icmpv6 = 14 + 40
    whole[icmpv6 + 4] = 0x20  # override
    whole[icmpv6 + 2 : icmpv6 + 4] = bytes(2)
    pseudo = bytes(whole[22:54]) + (len(whole) - icmpv6).to_bytes(4, "big") + bytes((0, 0, 0, 58))
    whole[icmpv6 + 2 : icmpv6 + 4] = generate.checksum(pseudo + bytes(whole[icmpv6:]))
    assert gone == ({port: [bytes(whole)]} if answered else {})


def test_an_advertisement_from_beyond_a_router_is_nobody_s(bridge: Bridge) -> None:
    """RFC 4861, 7.1.2: hop limit 255, or it came by a router. Else anybody in the world could have it copied to all."""
    config = load((Path(__file__).parents[2] / "flows/ipv6/lb.yaml").read_text())
    bridge.install(compiler.compile(config)["s1"])
    vip, router = IPv6Address("fd00::100"), IPv6Address("fd00::1")
    told = Packet(1, generate.CLIENT_MAC, Nd(ADVERTISEMENT, router, vip, router, generate.CLIENT_MAC), 0x020000000064)
    assert set(bridge.send(1, [generate.frame(told)])) == {2, 3}
    for hops in (0, 1, 64, 254):
        far = replace(told, payload=replace(told.payload, hops=hops))  # type: ignore[type-var]
        assert bridge.send(1, [generate.frame(far)]) == {}


def test_a_connection_stays_on_its_server(bridge: Bridge, fig2: Config) -> None:
    """Every packet of a connection on a redirect port reaches one server, SYN or not, with the bit or without."""
    bridge.install(compiler.compile(fig2)["s1"])
    client, port = IPv4Address("192.0.2.1"), 22
    for source_port in Random(SEED).sample(range(1024, 65536), 200):
        segments = [
            Ip(client, fig2.vips[0].address, TCP, source_port=source_port, destination_port=port, tcp_flags=flags)
            for flags in (SYN | REDIRECT, SYN | REDIRECT, 0x810, 0x818, 0x010, 0x018, 0x811, 0x004)
        ]
        gone = bridge.send(1, [generate.frame(Packet(1, generate.CLIENT_MAC, segment)) for segment in segments])
        assert [len(frames) for frames in gone.values()] == [len(segments)], f"from port {source_port}: {gone}"


def test_connections_spread_evenly(bridge: Bridge, fig2: Config) -> None:
    """2000 connections, four servers: each gets a quarter within five standard deviations, 97 connections."""
    bridge.install(compiler.compile(fig2)["s1"])
    random, total = Random(SEED), 2000
    frames = []
    for _ in range(total):
        source = IPv4Address(random.randrange(0x0B000000, 0xDF000000))
        segment = Ip(source, fig2.vips[0].address, TCP, "no", random.randrange(1024, 65536), 22, SYN | REDIRECT)
        frames.append(generate.frame(Packet(1, generate.CLIENT_MAC, segment)))
    share = {port: len(arrived) for port, arrived in bridge.send(1, frames).items()}
    deviation = (total * 0.25 * 0.75) ** 0.5
    assert set(share) == {2, 3, 4, 5} and sum(share.values()) == total
    assert all(abs(count - total / 4) < 5 * deviation for count in share.values()), share


def test_what_the_switch_holds_is_what_was_compiled(bridge: Bridge, switch: ovs.Switch) -> None:
    """ovs-ofctl diff-flows finds no difference between the text and the switch, and a changed flow is one."""
    for number in range(10):
        config = generate.configuration(Random(f"{SEED}/diff/{number}"))
        for name, state in compiler.compile(config).items():
            bridge.install(state)
            assert switch.diff_flows(bridge.name, compiler.flows_text(name, state)) == ""
            assert len(switch.dump_flows(bridge.name)) == len(state.flows)
            first = state.ordered_flows[0]
            other = SwitchState(state.flows - {first} | {replace(first, actions=())})
            assert switch.diff_flows(bridge.name, compiler.flows_text(name, other)) != ""


def test_look_ups_do_not_get_slower_with_servers_and_ports(bridge: Bridge, switch: ovs.Switch) -> None:
    """60 servers with 600 service ports and 20 pools need the masks that 4 need, with the bits that choose a group."""

    def large(servers: int, owned: int, pools: int) -> Config:
        names = [f"n{number}" for number in range(servers)]
        shared = {
            40000 + port: {"servers": names, "legacy": "drop" if port % 2 else "balance"} for port in range(pools)
        }
        data = {
            "switches": {"s1": {"dpid": 1, "network": 1}},
            "vips": {
                "web": {
                    "address": "10.0.0.100",
                    "mac": "02:00:00:00:00:64",
                    "default_server": names[0],
                    "default_for": "plain_unknown_ports",
                    "redirect_ports": shared,
                }
            },
            "servers": {
                name: {
                    "vip": "web",
                    "connector": f"s1:{number + 2}",
                    "service_ports": list(range(1 + number * owned, 1 + (number + 1) * owned)),
                }
                for number, name in enumerate(names)
            },
        }
        return load(generate.text(data))

    bridge.install(compiler.compile(large(4, 3, 2))["s1"])
    small = masks(switch, bridge)
    flows = len(switch.dump_flows(bridge.name))
    bridge.install(compiler.compile(large(60, 10, 20))["s1"])
    assert without_group_bits(masks(switch, bridge)) == small
    assert len(switch.dump_flows(bridge.name)) > 20 * flows
    assert all(len(shapes) <= 8 for shapes in small.values()), small


def test_look_ups_do_not_get_slower_with_names(bridge: Bridge, switch: ovs.Switch) -> None:
    """X1, X2, X3: 60 servers with a service address of each family, MAC address and label need the masks of 3.

    In SERVICE one for each family and kind, and one for the bits that lead to LABEL.
    """

    def named(servers: int) -> Config:
        data = {
            "switches": {"s1": {"dpid": 1, "network": 1}},
            "vips": {
                "web": {
                    "address": ["10.0.0.100", "fd00::100"],
                    "mac": "02:00:00:00:00:64",
                    "redirect_ports": {80: {"servers": [f"n{number}" for number in range(servers)]}},
                }
            },
            "servers": {
                f"n{number}": {
                    "vip": "web",
                    "connector": f"s1:{number + 2}",
                    "service_ports": [8000 + number],
                    "service_address": [f"10.0.1.{number + 1}", f"fd00::1:{number + 1}"],
                    "service_mac": f"02:00:00:01:00:{number:02x}",
                    "service_label": number + 1,
                }
                for number in range(servers)
            },
        }
        return load(generate.text(data))

    bridge.install(compiler.compile(named(3))["s1"])
    few = masks(switch, bridge)
    bridge.install(compiler.compile(named(60))["s1"])
    assert without_group_bits(masks(switch, bridge)) == few
    by_table = {BY_NUMBER[int(table.removeprefix("table="))].name: len(shapes) for table, shapes in few.items()}
    assert by_table["LABEL"] == 2  # its own, and the miss
    assert by_table["SERVICE"] == 5 + 4 + 1 + 1  # ports, as they are written; addresses and MAC addresses; bits; miss


@pytest.fixture(scope="module")
def fig2() -> Config:
    """The worked example of the repository."""
    return load((Path(__file__).parents[2] / "flows/fig2/lb.yaml").read_text())
