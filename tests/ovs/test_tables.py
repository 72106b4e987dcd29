"""The rows of the protocol that tables alone keep, one by one, on the worked example: flows/fig2.

Real packets go through a real switch: client on port 1; servers a, b, c, d on ports 2, 3, 4, 5. `tests.reference` and
`test_reference` cover the combinations; here each row is a story one can read.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from portlb_app import compiler
from portlb_app.config import Address, Config, load
from portlb_app.openflow import SwitchState
from portlb_app.pipeline import pin_zone
from tests.ovs import switch as ovs
from tests.ovs.bridge import Bridge
from tests.support.generate import CLIENT_MAC, checksum, frame
from tests.support.reference import ACK, ICMP, ICMPV6, LOCAL, REDIRECT, RST, SYN, TCP, UDP, Arp, Ip, Nd, Packet

FIG2 = (Path(__file__).parents[2] / "flows/fig2/lb.yaml").read_text()
CLIENT = IPv4Address("192.0.2.1")
VIP = IPv4Address("10.0.0.100")
VIP_MAC = 0x020000000064
OWN = IPv4Address("10.0.1.0")
"""Server a's own address in `pinned`."""
NETWORK = 1
SERVERS = {2: "a", 3: "b", 4: "c", 5: "d"}
PORT = {name: port for port, name in SERVERS.items()}
UNKNOWN = 9999
CONFIRM = 0x400


@pytest.fixture
def bridge(switch: ovs.Switch) -> Iterator[Bridge]:
    """A switch with the tables of FIG. 2; port 6 exists and is nobody's."""
    bridge = Bridge(switch, range(1, 7))
    install(bridge)
    yield bridge
    bridge.close()


def install(bridge: Bridge, *changes: tuple[str, str]) -> Config:
    """Put the tables of FIG. 2 into the switch, after changes to the text of its configuration."""
    text = FIG2
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    config = load(text)
    bridge.install(compiler.compile(config)["s1"])
    return config


def tcp(port: int, flags: int, source_port: int = 40000) -> bytes:
    """A client's TCP segment to a port of the VIP."""
    return down(Ip(CLIENT, VIP, TCP, source_port=source_port, destination_port=port, tcp_flags=flags))


def udp(port: int, source_port: int = 40000) -> bytes:
    """A client's datagram to a port of the VIP."""
    return down(Ip(CLIENT, VIP, UDP, source_port=source_port, destination_port=port))


def down(ip: Ip) -> bytes:
    """A client's packet."""
    return frame(Packet(NETWORK, CLIENT_MAC, ip, VIP_MAC))


def up(server: str, ip: Ip, mac: int = VIP_MAC) -> bytes:
    """A server's packet."""
    return frame(Packet(PORT[server], mac, ip, CLIENT_MAC))


def answer(port: int, protocol: int = TCP, source: IPv4Address = VIP) -> Ip:
    """What a server sends from a port of the VIP."""
    return Ip(source, CLIENT, protocol, source_port=port, destination_port=40000, tcp_flags=SYN | ACK)


def with_ttl(whole: bytes, ttl: int) -> bytes:
    """A frame with another TTL or hop limit."""
    if whole[12:14] == b"\x86\xdd":
        return whole[:21] + bytes((ttl,)) + whole[22:]
    head = whole[14:22] + bytes((ttl,)) + whole[23:24] + bytes(2) + whole[26:34]
    return whole[:14] + head[:10] + checksum(head) + head[12:] + whole[34:]


def who(bridge: Bridge, *frames: bytes) -> str:
    """The servers that got a client's packets, each all of them or none: "a", "abcd", "" for nobody."""
    gone = bridge.send(NETWORK, frames)
    assert all(sent == list(frames) for sent in gone.values()), "some of the packets, or changed ones"
    return "".join(SERVERS[port] for port in sorted(gone))


def leaves(bridge: Bridge, server: str, *frames: bytes) -> bool:
    """Whether a server's packets reach the network; wherever else they went is an error."""
    gone = bridge.send(PORT[server], frames)
    assert gone in ({}, {NETWORK: list(frames)}), gone
    return bool(gone)


def pool(bridge: Bridge, port: int, flags: int | None) -> str:
    """The servers that together get 200 different clients' packets to a port; flags None: UDP."""
    found = set()
    for source_port in range(50000, 50200):
        found.add(who(bridge, udp(port, source_port) if flags is None else tcp(port, flags, source_port)))
    assert all(len(servers) == 1 for servers in found)
    return "".join(sorted(found))


# --- the simple protocol ----------------------------------------------------------------------------------------------


def test_u1_udp_to_a_service_port_reaches_its_one_owner(bridge: Bridge) -> None:
    """U1: ports 1, 5, 9 are a's; 2, 6, 10 are b's; 3, 7, 11 are c's; 4, 8, 12 are d's."""
    for port in range(1, 13):
        assert who(bridge, udp(port)) == "abcd"[(port - 1) % 4]


def test_u1_a_service_port_comes_before_a_redirect_port(bridge: Bridge) -> None:
    """U1: for UDP a port that is both is its owner's, whatever the pool."""
    install(bridge, ("9]", "9, 21]"))
    assert pool(bridge, 21, None) == "a"


def test_u2_udp_to_a_redirect_port_reaches_one_server_of_its_set(bridge: Bridge) -> None:
    """U2: 20 is shared by a and b; 21 by b, c and d; 22 by all."""
    assert pool(bridge, 20, None) == "ab"
    assert pool(bridge, 21, None) == "bcd"
    assert pool(bridge, 22, None) == "abcd"


def test_u2_a_redirect_port_without_servers_is_dropped(bridge: Bridge) -> None:
    """U2: nobody is in the set, so nobody gets it; not the default server either, for the port is known."""
    install(bridge, ("20: {servers: [a, b]}", "20: {servers: []}"))
    assert who(bridge, udp(20)) == ""
    assert who(bridge, tcp(20, SYN | REDIRECT)) == ""


def test_u3_udp_to_an_unknown_port_reaches_the_default_server(bridge: Bridge) -> None:
    """U3: d is the default server; without one nobody gets it."""
    assert who(bridge, udp(UNKNOWN), udp(0), udp(65535)) == "d"
    install(bridge, ("default_server: d", ""))
    assert who(bridge, udp(UNKNOWN), udp(0), udp(65535)) == ""


# --- the complex protocol ---------------------------------------------------------------------------------------------


def test_e1_redirect_to_a_service_port_reaches_its_owner(bridge: Bridge) -> None:
    """E1: whether the client could be redirected makes no difference there, from the first packet to the last."""
    for flags in (SYN | REDIRECT, SYN, ACK | CONFIRM, ACK | REDIRECT, 0x018, 0x011, 0x004):
        assert who(bridge, tcp(9, flags)) == "a"
        assert who(bridge, tcp(7, flags)) == "c"


def test_e2_redirect_to_a_redirect_port_reaches_one_of_its_pool(bridge: Bridge) -> None:
    """E2: the SYN reaches a server of the set, and the next packet, to that server's service port, reaches the same."""
    assert pool(bridge, 21, SYN | REDIRECT) == "bcd"
    service = {"b": 6, "c": 3, "d": 4}
    for source_port in range(50000, 50050):
        server = who(bridge, tcp(21, SYN | REDIRECT, source_port))
        assert leaves(bridge, server, up(server, answer(21))), "SYN/ACK from the redirect port"
        assert who(bridge, tcp(service[server], ACK | CONFIRM, source_port)) == server
        assert leaves(bridge, server, up(server, answer(service[server]))), "data from the service port"


def test_e2_a_client_that_was_not_redirected_stays_where_it_is(bridge: Bridge) -> None:
    """E2: with the bit on all its packets, or lost on the way after the SYN, a connection keeps its server."""
    for source_port in range(50000, 50050):
        server = who(bridge, tcp(20, SYN | REDIRECT, source_port))
        for flags in (ACK | REDIRECT, 0x818, 0x811, ACK, 0x018, 0x011, 0x004):
            assert who(bridge, tcp(20, flags, source_port)) == server


def test_e3_a_plain_client_on_an_owned_redirect_port_reaches_the_owner(bridge: Bridge) -> None:
    """E3: a owns 21 as a service port, though it is not even in its pool; with REDIRECT the pool decides."""
    install(bridge, ("9]", "9, 21]"))
    for flags in (SYN, ACK, 0x018, 0x011, 0x004):
        assert pool(bridge, 21, flags) == "a"
    assert pool(bridge, 21, SYN | REDIRECT) == "bcd"
    for source_port in range(50000, 50050):
        server = who(bridge, tcp(21, SYN | REDIRECT, source_port))
        assert who(bridge, tcp(21, ACK | REDIRECT, source_port)) == server, "the bit is on every packet"


def test_e4_a_plain_client_on_a_redirect_port_of_nobody_is_dropped(bridge: Bridge) -> None:
    """E4: the first choice, and what holds without one: its SYN reaches nobody."""
    assert who(bridge, tcp(20, SYN), tcp(21, SYN), tcp(20, SYN | 0x0C0)) == ""
    assert who(bridge, tcp(20, SYN | ACK)) in ("a", "b"), "an answer is no opening"


def test_e4_or_reaches_the_default_server(bridge: Bridge) -> None:
    """E4: the second choice; the default server, which is not in the pool, may also answer."""
    install(bridge, ("20: {servers: [a, b]}", "20: {servers: [a, b], legacy: default}"))
    assert pool(bridge, 20, SYN) == "d"
    assert pool(bridge, 20, ACK) == "d"
    assert pool(bridge, 20, SYN | REDIRECT) == "ab"
    assert leaves(bridge, "d", up("d", answer(20)))


def test_e4_or_is_balanced(bridge: Bridge) -> None:
    """E4, beyond the source: the pool's slots decide, as they do for a client with REDIRECT."""
    assert pool(bridge, 22, SYN) == "abcd"
    for source_port in range(50000, 50050):
        assert who(bridge, tcp(22, SYN, source_port)) == who(bridge, tcp(22, 0x018, source_port))


def pinned(rewrite: str = "") -> dict[str, Any]:
    """FIG. 2 with a pinned port 22, in each of the ways of rewriting."""
    data: dict[str, Any] = yaml.safe_load(FIG2)
    if rewrite:
        data["vips"]["web"]["rewrite"] = rewrite
    for number, server in enumerate(data["servers"].values()):
        own = {"mac": f"02:00:00:00:01:{number:02x}", "address": f"10.0.1.{number}"}
        server |= {"": {}, "mac": {"mac": own["mac"]}, "address": own}[rewrite]
    data["vips"]["web"]["redirect_ports"][22] = {"servers": ["a", "b"], "legacy": "pin"}
    return data


def tables(data: dict[str, Any]) -> SwitchState:
    """The tables of such a configuration."""
    return compiler.compile(load(yaml.safe_dump(data)))["s1"]


@pytest.mark.parametrize("rewrite", ["", "mac", "address"], ids=["N3", "N2", "N1"])
def test_e4_or_is_remembered(bridge: Bridge, rewrite: str) -> None:
    """E4, beyond the source: plain connections keep their servers when the pool, its settings, another VIP or the order
    of the servers change, and when their server moves; a SYN gets a server of the present pool.
    """
    data = pinned(rewrite)
    before = tables(data)
    bridge.install(before)
    ports = range(50000, 50040)
    first = {port: set(bridge.send(NETWORK, [tcp(22, SYN, port)])) for port in ports}
    assert set.union(*first.values()) == {PORT["a"], PORT["b"]}, "both have some"
    web = data["vips"]["web"]
    pool = web["redirect_ports"][22]
    for settings in ({"pin": {"connections": 32768}}, {"pin": {"idle": 3600}}, {"servers": ["c", "d"]}):
        pool |= settings
        after = tables(data)
        bridge.change(before, after)
        before = after
        for port, where in first.items():
            assert set(bridge.send(NETWORK, [tcp(22, ACK, port)])) == where, "who is remembered keeps its server"
    data["vips"]["other"] = {"address": "10.0.0.101", "mac": "02:00:00:00:00:65"}
    data["servers"]["aa"] = data["servers"]["a"] | {"connector": "s1:6", "service_ports": [99]}
    own = {"": {}, "mac": {"mac": "02:00:00:00:01:aa"}, "address": {"mac": "02:00:00:00:01:aa", "address": "10.0.1.99"}}
    data["servers"]["aa"] |= own[rewrite]
    data["servers"]["a"]["connector"], data["servers"]["c"]["connector"] = "s1:4", "s1:2"
    after = tables(data)
    bridge.change(before, after)
    moved = {PORT["a"]: PORT["c"], PORT["b"]: PORT["b"]}
    for port, where in first.items():
        assert set(bridge.send(NETWORK, [tcp(22, ACK, port)])) == {moved[each] for each in where}
        renewed = set(bridge.send(NETWORK, [tcp(22, SYN, port)]))
        assert renewed <= {PORT["a"], PORT["d"]}, "c is where a was, d where it was"
        assert set(bridge.send(NETWORK, [tcp(22, ACK, port)])) == renewed, "and that is remembered"


def test_e4_what_was_not_opened_is_not_remembered(bridge: Bridge, switch: ovs.Switch) -> None:
    """E4: segments of unknown connections follow the slots and leave nothing behind; a SYN that is repeated, too, stays
    with the server it is remembered with as long as that is in the pool.
    """
    data = pinned()
    before = tables(data)
    bridge.install(before)
    switch.appctl("dpctl/flush-conntrack")
    segments = [tcp(22, flags, 51000) for flags in (ACK, 0x018, ACK | 0x001, RST)]
    assert len(bridge.send(NETWORK, segments)) == 1, "one server"
    assert switch.appctl("dpctl/dump-conntrack").strip() == ""
    ports = range(51000, 51040)
    first = {port: set(bridge.send(NETWORK, [tcp(22, SYN, port)])) for port in ports}
    data["vips"]["web"]["redirect_ports"][22]["servers"] = ["a", "b", "c", "d"]
    bridge.change(before, tables(data))
    again = {port: set(bridge.send(NETWORK, [tcp(22, SYN, port)])) for port in ports}
    assert again == first
    del data["servers"]["a"], data["vips"]["web"]["redirect_ports"][20], data["vips"]["web"]["redirect_ports"][21]
    data["vips"]["web"]["redirect_ports"][22]["servers"] = ["b", "c", "d"]
    bridge.install(tables(data))
    for port, where in first.items():
        later = set(bridge.send(NETWORK, [tcp(22, ACK, port)]))
        assert later == where if where == {PORT["b"]} else len(later) == 1 and later != {PORT["a"]}


def test_e4_two_vips_in_one_zone_remember_apart(bridge: Bridge, switch: ovs.Switch) -> None:
    """E4: a zone is made of 12 bits of a VIP's number. Connections of two VIPs in one differ by the VIP's address, so
    the same client port has a server of its own in each, and a VIP never hears of the other's.
    """
    data = pinned()
    data["vips"]["web"] |= {"number": 5}
    data["vips"]["web"]["redirect_ports"] = {22: {"servers": ["a", "b"], "legacy": "pin"}}
    data["vips"]["other"] = {"address": "10.0.0.101", "mac": "02:00:00:00:00:64", "number": 5 + 4096}
    data["vips"]["other"]["redirect_ports"] = {22: {"servers": ["c", "d"], "legacy": "pin"}}
    data["servers"]["c"] |= {"vip": "other"}
    data["servers"]["d"] |= {"vip": "other"}
    data["vips"]["web"].pop("default_server", None)
    before = tables(data)
    assert pin_zone(5) == pin_zone(5 + 4096)
    bridge.install(before)
    switch.appctl("dpctl/flush-conntrack")

    def where(vip: str, flags: int, port: int) -> set[int]:
        segment = Ip(CLIENT, IPv4Address(vip), TCP, source_port=port, destination_port=22, tcp_flags=flags)
        return set(bridge.send(NETWORK, [down(segment)]))

    ports, vips = range(53000, 53030), (str(VIP), "10.0.0.101")
    first = {(vip, port): where(vip, SYN, port) for port in ports for vip in vips}
    assert set.union(*(first[str(VIP), port] for port in ports)) == {PORT["a"], PORT["b"]}
    assert set.union(*(first["10.0.0.101", port] for port in ports)) == {PORT["c"], PORT["d"]}
    data["vips"]["web"]["redirect_ports"][22]["servers"] = ["b"]
    data["vips"]["other"]["redirect_ports"][22]["servers"] = ["d"]
    bridge.change(before, tables(data))
    assert {(vip, port): where(vip, ACK, port) for port in ports for vip in vips} == first


def test_e4_a_server_s_answers_keep_a_connection(bridge: Bridge, switch: ovs.Switch) -> None:
    """E4: conntrack sees both directions, so a connection is established for it, and ends."""
    for rewrite in ("", "mac", "address"):
        data = pinned(rewrite)
        data["vips"]["web"]["redirect_ports"][22]["servers"] = ["a"]
        bridge.install(tables(data))
        switch.appctl("dpctl/flush-conntrack")
        mac, source = {"": (VIP_MAC, VIP), "mac": (0x020000000100, VIP), "address": (0x020000000100, OWN)}[rewrite]
        assert set(bridge.send(NETWORK, [tcp(22, SYN, 52000)])) == {PORT["a"]}
        for flags, there in ((SYN | ACK, ACK), (ACK, ACK)):
            reply = Ip(source, CLIENT, TCP, "no", 22, 52000, flags)
            assert set(bridge.send(PORT["a"], [frame(Packet(PORT["a"], mac, reply))])) == {NETWORK}
            assert set(bridge.send(NETWORK, [tcp(22, there, 52000)])) == {PORT["a"]}
        assert "state=ESTABLISHED" in switch.appctl("dpctl/dump-conntrack"), rewrite


@pytest.mark.parametrize(
    ("default_for", "unknown_plain", "unknown_redirect", "shared_plain"),
    [
        ("unknown_ports", "d", "d", ""),
        ("plain_unknown_ports", "d", "", ""),
        ("plain_clients", "d", "", "d"),
    ],
)
def test_e5_whom_the_default_server_is_for(
    bridge: Bridge, default_for: str, unknown_plain: str, unknown_redirect: str, shared_plain: str
) -> None:
    """E5: for unknown ports / there for clients without REDIRECT / for all clients without REDIRECT."""
    install(bridge, ("default_server: d", f"default_server: d\n    default_for: {default_for}"))
    assert who(bridge, tcp(UNKNOWN, SYN)) == unknown_plain
    assert who(bridge, tcp(UNKNOWN, 0x018)) == unknown_plain
    assert who(bridge, tcp(UNKNOWN, SYN | REDIRECT)) == unknown_redirect
    assert who(bridge, tcp(20, SYN)) == shared_plain
    assert who(bridge, udp(UNKNOWN)) == "d", "UDP has no REDIRECT"
    assert pool(bridge, 20, SYN | REDIRECT) == "ab"
    assert who(bridge, tcp(1, SYN)) == "a"


def test_e5_no_default_server_drops(bridge: Bridge) -> None:
    """E5: none, so an unknown port is nobody's."""
    install(bridge, ("default_server: d", ""))
    assert who(bridge, tcp(UNKNOWN, SYN), tcp(UNKNOWN, SYN | REDIRECT), tcp(UNKNOWN, 0x018)) == ""


def test_e6_what_cannot_be_judged_reaches_the_default_server(bridge: Bridge) -> None:
    """E6, I1, F2: pings, other protocols, fragments, and a TCP header cut short; without a default server nobody."""
    whole = tcp(1, SYN)
    short = whole[:16] + b"\x00\x18" + whole[18:24] + b"\0\0" + whole[26:38]
    short = short[:24] + checksum(short[14:34]) + short[26:]
    puzzling = [
        down(Ip(CLIENT, VIP, ICMP, icmp_type=8)),
        down(Ip(CLIENT, VIP, 33, destination_port=1)),
        down(Ip(CLIENT, VIP, 47)),
        down(Ip(CLIENT, VIP, UDP, "first", destination_port=1)),
        down(Ip(CLIENT, VIP, UDP, "later", destination_port=1)),
        down(Ip(CLIENT, VIP, TCP, "first", destination_port=20, tcp_flags=SYN | REDIRECT)),
        short,
    ]
    assert who(bridge, *puzzling) == "d"
    install(bridge, ("default_server: d", "default_server: d\n    default_for: plain_clients"))
    assert who(bridge, *puzzling) == "d"
    install(bridge, ("default_server: d", ""))
    assert who(bridge, *puzzling) == ""


def test_i1_pings_by_policy(bridge: Bridge) -> None:
    """I1: pings reach the default server, one certain server, one of all, nobody; other types have their own policy."""
    ping, timestamp = down(Ip(CLIENT, VIP, ICMP, icmp_type=8)), down(Ip(CLIENT, VIP, ICMP, icmp_type=13))
    assert who(bridge, ping, timestamp) == "d"
    rules = "default_server: d\n    icmp: {{echo: {}, types: {{13: b}}, other: drop}}"
    for policy, server in (("a", "a"), ("drop", ""), ("default", "d")):
        install(bridge, ("default_server: d", rules.format(policy)))
        assert (who(bridge, ping), who(bridge, timestamp)) == (server, "b")
        assert who(bridge, down(Ip(CLIENT, VIP, ICMP, icmp_type=17))) == ""
    assert leaves(bridge, "b", up("b", Ip(VIP, CLIENT, ICMP, icmp_type=14))), "b answers"
    assert not leaves(bridge, "a", up("a", Ip(VIP, CLIENT, ICMP, icmp_type=14))), "a was not asked"
    install(bridge, ("default_server: d", rules.format("balance")))
    clients = [IPv4Address(random) for random in Random(1).sample(range(0x0B000000, 0xDF000000), 100)]
    found = [who(bridge, down(Ip(client, VIP, ICMP, icmp_type=8))) for client in clients]
    assert all(len(server) == 1 for server in found) and set(found) == set("abcd")


@pytest.mark.parametrize(
    ("client", "vip", "protocol", "request_type", "reply_type"),
    [(CLIENT, VIP, ICMP, 8, 0), (IPv6Address("fd00::1"), IPv6Address("fd00::100"), ICMPV6, 128, 129)],
    ids=["IPv4", "IPv6"],
)
def test_i1_the_switch_answers_pings(
    bridge: Bridge, client: Address, vip: Address, protocol: int, request_type: int, reply_type: int
) -> None:
    """I1: an echo reply, byte by byte: addresses swapped, same data, checksums right; no server sees the request."""
    install(
        bridge,
        ("address: 10.0.0.100", 'address: [10.0.0.100, "fd00::100"]'),
        ("default_server: d", "icmp: {echo: answer}"),
    )
    data = Random(2).randbytes(500)
    request = Ip(client, vip, protocol, icmp_type=request_type, quoted=(vip, client))
    reply = Ip(vip, client, protocol, icmp_type=reply_type, quoted=(vip, client))
    asked = frame(Packet(NETWORK, CLIENT_MAC, request, VIP_MAC), data)
    answered = frame(Packet(NETWORK, VIP_MAC, reply, CLIENT_MAC), data)
    for left in (64, 255, 2, 1):
        assert bridge.send(NETWORK, [with_ttl(asked, left)]) == {NETWORK: [answered]}, f"{left} hops left of a request"


def test_i2_an_icmp_error_reaches_the_server_it_is_about(bridge: Bridge) -> None:
    """I2: errors quote a packet only one server sent; all get a copy, because the switch reads no quotes."""
    for icmp_type in (3, 11, 12):
        assert who(bridge, down(Ip(CLIENT, VIP, ICMP, icmp_type=icmp_type))) == "abcd"


def test_nothing_is_answered_to_a_group(bridge: Bridge) -> None:
    """A frame that a group's MAC address has sent is no host's; the switch would answer ARP and pings to many."""
    install(bridge, ("default_server: d", "default_server: d\n    icmp: {echo: answer}"))
    question = frame(Packet(NETWORK, CLIENT_MAC, Arp(1, CLIENT_MAC, CLIENT, VIP), VIP_MAC))
    for asked in (question, down(Ip(CLIENT, VIP, ICMP, icmp_type=8))):
        assert set(bridge.send(NETWORK, [asked])) == {NETWORK}
        for group in ("01005e000001", "333300000002", "ffffffffffff"):
            assert bridge.send(NETWORK, [asked[:6] + bytes.fromhex(group) + asked[12:]]) == {}
    assert bridge.send(PORT["a"], [up("a", answer(1), 0x010000000064)]) == {}


def test_a_priority_tag_is_none(bridge: Bridge) -> None:
    """IEEE 802.1Q: a tag with VID 0 says a priority only. Frames with it are judged, and leave, as those without; from
    servers, too. A tag that names a VLAN stays.
    """
    whole, tag = tcp(1, SYN), bytes.fromhex("8100a000")
    tagged = whole[:12] + tag + whole[12:]
    assert bridge.send(NETWORK, [tagged]) == {PORT["a"]: [whole]}
    back = up("a", answer(1))
    assert bridge.send(PORT["a"], [back[:12] + tag + back[12:]]) == {NETWORK: [back]}
    named = whole[:12] + bytes.fromhex("81000005") + whole[12:]
    assert bridge.send(NETWORK, [named]) == {PORT["a"]: [named]}


# --- upstream ---------------------------------------------------------------------------------------------------------


def test_a_server_answers_only_from_ports_it_has(bridge: Bridge) -> None:
    """A server may use what it owns and shares, the default server also what nobody has; TCP and UDP alike."""
    for server, own, foreign in (("a", (1, 5, 9, 20, 22), (2, 21, UNKNOWN)), ("d", (4, 21, 22, UNKNOWN), (1, 20))):
        for protocol in (TCP, UDP):
            for port in own:
                assert leaves(bridge, server, up(server, answer(port, protocol))), f"{server} from {port}"
            for port in foreign:
                assert not leaves(bridge, server, up(server, answer(port, protocol))), f"{server} from {port}"


def test_a_server_is_nobody_but_the_vip(bridge: Bridge) -> None:
    """Neither another address, nor another MAC address, nor a false ARP question leaves a server."""
    assert leaves(bridge, "a", up("a", answer(1)))
    assert not leaves(bridge, "a", up("a", answer(1, source=IPv4Address("10.0.0.101"))))
    assert not leaves(bridge, "a", up("a", answer(1), mac=VIP_MAC + 1))
    asking = Arp(1, VIP_MAC, VIP, CLIENT)
    assert leaves(bridge, "a", frame(Packet(2, VIP_MAC, asking)))
    for false in (
        Arp(1, VIP_MAC + 1, VIP, CLIENT),
        Arp(1, VIP_MAC, IPv4Address("10.0.0.101"), CLIENT),
        Arp(2, VIP_MAC, VIP, CLIENT),
    ):
        assert not leaves(bridge, "a", frame(Packet(2, VIP_MAC, false)))
    assert not leaves(bridge, "a", frame(Packet(2, VIP_MAC + 1, asking))), "it would move the MAC table of a switch"


def test_servers_do_not_reach_each_other(bridge: Bridge) -> None:
    """What a server sends to the VIP goes to the network or nowhere; what comes in by a port of nobody goes nowhere."""
    to_the_vip = Ip(VIP, VIP, TCP, source_port=1, destination_port=2, tcp_flags=SYN)
    assert set(bridge.send(2, [up("a", to_the_vip)])) <= {NETWORK}
    assert bridge.send(2, [tcp(2, SYN)]) == {}
    assert bridge.send(6, [tcp(2, SYN), frame(Packet(6, CLIENT_MAC, Arp(1, CLIENT_MAC, CLIENT, VIP)))]) == {}


# --- the load balancer itself -----------------------------------------------------------------------------------------


def test_l5_no_server_connected(switch: ovs.Switch) -> None:
    """L5: servers come and go; the others' services are still delivered, and ARP is answered with none at all."""
    question = frame(Packet(NETWORK, CLIENT_MAC, Arp(1, CLIENT_MAC, CLIENT, VIP), 0xFFFFFFFFFFFF))
    bridge = Bridge(switch, (1, 2))
    try:
        install(bridge)
        assert bridge.send(NETWORK, [tcp(2, SYN), udp(3), tcp(4, SYN)]) == {}, "b, c and d were never there"
        assert who(bridge, tcp(1, SYN)) == "a"
        assert set(bridge.send(NETWORK, [question])) == {NETWORK}
        switch.vsctl("del-port", bridge.name, bridge.port_name(2))
        assert bridge.send(NETWORK, [tcp(1, SYN)]) == {}, "a is gone too"
        assert set(bridge.send(NETWORK, [question])) == {NETWORK}
    finally:
        bridge.close()


def test_l5_a_vip_without_servers_is_there(bridge: Bridge) -> None:
    """L5: nor does the configuration have to name a server."""
    vip = 'switches: {s1: {dpid: 1, network: 1}}\nvips: {web: {address: 10.0.0.100, mac: "02:00:00:00:00:64"}}'
    bridge.install(compiler.compile(load(vip))["s1"])
    question = frame(Packet(NETWORK, CLIENT_MAC, Arp(1, CLIENT_MAC, CLIENT, VIP)))
    assert set(bridge.send(NETWORK, [question])) == {NETWORK}
    assert who(bridge, tcp(1, SYN), udp(UNKNOWN), down(Ip(CLIENT, VIP, ICMP, icmp_type=3))) == ""


def test_n3_nothing_is_rewritten(bridge: Bridge) -> None:
    """N3: every byte arrives as it was sent, both ways, wrong checksums and rare fields included."""
    random = Random(3)
    for number in range(100):
        ip = Ip(CLIENT, VIP, random.choice((TCP, UDP)), source_port=50000 + number, destination_port=5, tcp_flags=0x802)
        sent = bytearray(frame(Packet(NETWORK, CLIENT_MAC, ip, random.getrandbits(48)), random.randbytes(1400)))
        for position in (1, 4, 5, 8, 10, 11):  # type of service, identification, time to live, checksum
            sent[14 + position] = random.randrange(256)
        assert bridge.send(NETWORK, [bytes(sent)]) == {PORT["a"]: [bytes(sent)]}
        back = bytearray(frame(Packet(2, VIP_MAC, answer(5), CLIENT_MAC), random.randbytes(1400)))
        for position in (1, 4, 5, 8, 10, 11):
            back[14 + position] = random.randrange(256)
        assert bridge.send(PORT["a"], [bytes(back)]) == {NETWORK: [bytes(back)]}


def test_c1_connections_leave_nothing_in_the_switch(bridge: Bridge, switch: ovs.Switch) -> None:
    """C1: 4000 connections opened, used and closed: the same flows, the same groups, no tracked connection, and in the
    datapath not even one flow per connection, but one per slot of a pool at most.
    """
    before = switch.dump_flows(bridge.name), switch.dump_groups(bridge.name)
    random = Random(4)
    frames = []
    for _ in range(4000):
        client = IPv4Address(random.randrange(0x0B000000, 0xDF000000))
        for port, flags in ((22, SYN | REDIRECT), (7, ACK | CONFIRM), (7, 0x018), (7, 0x011), (7, 0x004)):
            ip = Ip(client, VIP, TCP, source_port=40000, destination_port=port, tcp_flags=flags)
            frames.append(frame(Packet(NETWORK, CLIENT_MAC, ip, VIP_MAC)))
    assert sum(map(len, bridge.send(NETWORK, frames).values())) == len(frames)
    assert (switch.dump_flows(bridge.name), switch.dump_groups(bridge.name)) == before
    assert bridge.command("dpctl/dump-conntrack") == ""
    datapath = [line for line in bridge.command("dpctl/dump-flows").splitlines() if "recirc_id" in line]
    assert len(datapath) <= 256 + 16, f"{len(datapath)} datapath flows"
    assert not any(re.search(r"src=\d+\.\d+\.\d+\.\d+[,)]", line) for line in datapath), "a client's address is kept"


def test_q1_packets_of_a_service_are_marked_both_ways(bridge: Bridge) -> None:
    """Q1: DSCP of a service port and of a redirect port, both ways; everything else keeps what it has."""
    install(
        bridge,
        ("{port: 1, application: 20}", "{port: 1, application: 20, quality: {dscp: 46}}"),
        ("21: {servers: [b, c, d]}", "21: {servers: [b, c, d], quality: {dscp: 10, queue: 3}}"),
    )

    def marks(port: int, *frames: bytes) -> set[int]:
        return {frame[15] >> 2 for gone in bridge.send(port, frames).values() for frame in gone}

    assert marks(NETWORK, tcp(1, ACK), udp(1)) == {46}
    assert marks(PORT["a"], up("a", answer(1)), up("a", answer(1, UDP))) == {46}
    assert marks(NETWORK, tcp(21, SYN | REDIRECT), udp(21)) == {10}
    assert marks(PORT["c"], up("c", answer(21))) == {10}
    assert marks(NETWORK, tcp(2, ACK), udp(5), tcp(22, SYN | REDIRECT)) == {0}
    assert marks(PORT["a"], up("a", answer(5))) == {0}
    install(
        bridge,
        ("{port: 1, application: 20}", "{port: 20, quality: {dscp: 46}}"),
        ("20: {servers: [a, b]}", "20: {servers: [a, b], quality: {dscp: 10}, legacy: owner}"),
    )
    assert marks(NETWORK, tcp(20, SYN)) == marks(PORT["a"], up("a", answer(20))) == {10}, "TCP: the shared port"
    assert marks(NETWORK, udp(20)) == marks(PORT["a"], up("a", answer(20, UDP))) == {46}, "UDP: the owner's"
    install(bridge, ("{port: 1, application: 20}", "{port: 1, application: 20, quality: {dscp: 46}}"))
    marked = tcp(1, ACK)
    (arrived,) = bridge.send(NETWORK, [marked])[PORT["a"]]
    assert checksum(arrived[14:34]) == b"\0\0", "the IP header's checksum is right"
    assert arrived[34:] == marked[34:]


def test_q1_a_rate_is_kept_and_concerns_nobody_else(bridge: Bridge) -> None:
    """Q1: of 400 packets at once at 800 kbit/s the first 64 kB and what a second or two bring arrive; others all."""
    install(
        bridge,
        ("{port: 1, application: 20}", "{port: 1, application: 20, quality: {rate: 800}}"),
    )
    data = bytes(958)  # 1000 bytes of IP packet and Ethernet header with UDP's 8
    frames = [frame(Packet(NETWORK, CLIENT_MAC, Ip(CLIENT, VIP, UDP, "no", 40000, 1), VIP_MAC), data)] * 400
    began = time.monotonic()
    arrived = len(bridge.send(NETWORK, frames).get(PORT["a"], ()))
    seconds = time.monotonic() - began
    least, most = 525 // 8, 588 // 8 + 100 * (seconds + 0.2)  # packets of 8 kbit each
    assert least <= arrived <= most < 400, f"{arrived} in {seconds:.2f} s"
    others = [frame(Packet(NETWORK, CLIENT_MAC, Ip(CLIENT, VIP, UDP, "no", 40000, 2), VIP_MAC), data)] * 400
    assert who(bridge, *others) == "b"


def test_a1_probes_for_the_load_balancers_own_address_reach_its_host(bridge: Bridge) -> None:
    """A1: so do all questions about it, and the host defends it (RFC 4862, 5.4.3); also where no VIP has IPv6."""
    own, client = IPv6Address("fd00::20"), IPv6Address("fd00::1")
    install(bridge, ("{dpid: 1, network: 1}", '{dpid: 1, network: 1, address: "fd00::20"}'))
    asked = frame(Packet(NETWORK, CLIENT_MAC, Nd(135, client, own, own, CLIENT_MAC), VIP_MAC))
    assert bridge.send(NETWORK, [asked]) == {LOCAL: [asked]}
    probe = frame(Packet(NETWORK, CLIENT_MAC, Nd(135, IPv6Address("::"), own, own, None), VIP_MAC))
    assert bridge.send(NETWORK, [probe]) == {LOCAL: [probe]}


# --- names beside ports -----------------------------------------------------------------------------------------------

NAMES = (Path(__file__).parents[2] / "flows/addresses/lb.yaml").read_text()
VIP6, CLIENT6 = IPv6Address("fd00::100"), IPv6Address("2001:db8::1")
SERVICE, SERVICE6 = IPv4Address("10.0.0.101"), IPv6Address("fd00::101")
B_MAC, B_LABEL = 0x02000000010B, 0x1000B


@pytest.fixture
def named(switch: ovs.Switch) -> Iterator[Bridge]:
    """A switch with the tables of flows/addresses: a named by addresses, b by a MAC address and a label."""
    bridge = Bridge(switch, range(1, 7))
    bridge.install(compiler.compile(load(NAMES))["s1"])
    yield bridge
    bridge.close()


def labelled(port: int, flags: int, label: int = B_LABEL, source_port: int = 40000) -> bytes:
    """A client's TCP segment over IPv6 with a flow label."""
    ip = Ip(CLIENT6, VIP6, TCP, source_port=source_port, destination_port=port, tcp_flags=flags, label=label)
    return down(ip)


def test_x1_a_service_address_is_its_servers(named: Bridge) -> None:
    """X1: whatever the port, protocol or fragment; the switch answers for it; nobody else sends from it."""
    for client, address, protocol in ((CLIENT, SERVICE, ICMP), (CLIENT6, SERVICE6, ICMPV6)):
        packets = [Ip(client, address, TCP, destination_port=port, tcp_flags=ACK) for port in (80, 8002, UNKNOWN)]
        packets += [Ip(client, address, kind, part) for kind in (UDP, TCP) for part in ("first", "later")]
        packets += [Ip(client, address, protocol, icmp_type=8), Ip(client, address, 47)]
        assert who(named, *map(down, packets)) == "a"
        answers = Ip(address, client, TCP, source_port=80, destination_port=40000, tcp_flags=SYN | ACK)
        assert leaves(named, "a", up("a", answers))
        assert not leaves(named, "b", up("b", answers)), "an address of another server's"
        assert not leaves(named, "a", up("a", answers, mac=B_MAC))
    question = frame(Packet(NETWORK, CLIENT_MAC, Arp(1, CLIENT_MAC, CLIENT, SERVICE)))
    ((answer,),) = named.send(NETWORK, [question]).values()
    assert answer[:6] == CLIENT_MAC.to_bytes(6, "big") and answer[22:28] == VIP_MAC.to_bytes(6, "big")
    assert answer[28:32] == SERVICE.packed


def test_x2_a_service_mac_address_is_its_servers(named: Bridge) -> None:
    """X2: TCP to it is its server's whatever the port, and UDP is judged by its port; nobody else sends from it."""
    for client, vip in ((CLIENT, VIP), (CLIENT6, VIP6)):
        for port in (80, 8001, UNKNOWN):
            packet = Ip(client, vip, TCP, destination_port=port, tcp_flags=ACK)
            assert who(named, frame(Packet(NETWORK, CLIENT_MAC, packet, B_MAC))) == "b"
        datagram = Ip(client, vip, UDP, destination_port=8001)
        assert who(named, frame(Packet(NETWORK, CLIENT_MAC, datagram, B_MAC))) == "a"
        answers = Ip(vip, client, TCP, source_port=80, destination_port=40000, tcp_flags=ACK)
        assert leaves(named, "b", up("b", answers, mac=B_MAC))
        assert not leaves(named, "a", up("a", answers, mac=B_MAC))
        foreign = Ip(vip, client, TCP, source_port=8001, destination_port=40000, tcp_flags=ACK)
        assert not leaves(named, "b", up("b", foreign, mac=B_MAC)), "a port of another server's"


def test_x3_a_service_label_is_its_servers(named: Bridge) -> None:
    """X3: with CONFIRM, on a redirect port or one of nobody; no SYN, no plain client, and on no service port."""
    for flags in (ACK | CONFIRM, ACK | CONFIRM | REDIRECT, 0x018 | CONFIRM, 0x004 | CONFIRM, 0x011 | CONFIRM):
        assert who(named, labelled(80, flags), labelled(UNKNOWN, flags)) == "b"
        assert who(named, labelled(8001, flags)) == "a"
        assert who(named, labelled(UNKNOWN, flags, label=B_LABEL ^ 1)) == ""
    assert who(named, labelled(UNKNOWN, ACK), labelled(UNKNOWN, SYN | REDIRECT | CONFIRM)) == ""
    found = set()
    for source_port in range(50000, 50050):
        found.add(who(named, labelled(80, ACK | REDIRECT, source_port=source_port)))
    assert found == {"a", "b"}, "not redirected: the pool's rows"


def test_x2_x3_outlive_a_servers_time_in_the_pool(named: Bridge) -> None:
    """X2, X3: a server that has left the pool still answers its connections, from the port they opened on."""
    named.install(compiler.compile(load(NAMES.replace("[a, b]}", "[a]}")))["s1"])
    for client, vip in ((CLIENT, VIP), (CLIENT6, VIP6)):
        answers = Ip(vip, client, TCP, source_port=80, destination_port=40000, tcp_flags=ACK)
        assert leaves(named, "b", up("b", answers)) and leaves(named, "b", up("b", answers, mac=B_MAC))
    assert who(named, labelled(80, ACK | CONFIRM)) == "b"


def test_x3_labels_of_plain_connections_make_no_datapath_flows(named: Bridge) -> None:
    """X3: 300 connections with a random label each, as Linux makes them, need no more datapath flows for that."""
    random = Random(3)
    for source_port in range(50000, 50300):
        for flags in (SYN | REDIRECT, ACK | REDIRECT, SYN):
            who(named, labelled(80, flags, random.randrange(1 << 20), source_port))
    flows = named.command("dpctl/dump-flows").splitlines()
    assert not [line for line in flows if "label=" in line.replace("label=0/0", "")]
    for source_port in range(50000, 50300):
        who(named, labelled(80, ACK | CONFIRM, source_port=source_port))
    with_labels = [line for line in named.command("dpctl/dump-flows").splitlines() if f"label={B_LABEL:#x}" in line]
    assert len(with_labels) == 1, "one for all connections of a label"
