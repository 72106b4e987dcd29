"""What a sentence means in a network: the headers of the packet, and where it comes in."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from portlb_app.config import load
from portlb_app.explain.language import PacketError, read
from portlb_app.explain.start import CLIENT_MAC, CLIENT_PORT, EVERYBODY, ROUTER_MAC, Start, starts
from tests.support.sources import ROOT

FLOWS = ROOT.parent / "flows"


def started(network: str, text: str) -> tuple[Start, ...]:
    return starts(read(text), load((FLOWS / network / "lb.yaml").read_text()))


def fields(network: str, text: str) -> dict[str, Any]:
    (start,) = started(network, text)
    return dict(start.fields)


def test_a_client_comes_in_by_the_network_side() -> None:
    """To the VIP's MAC address, from a port of its own; what is not said is 0."""
    (start,) = started("fig2", "tcp 192.0.2.7 > web:21 syn redirect")
    assert (start.switch, start.in_port, start.size) == ("s1", 1, 54)
    assert start.fields == {
        **{"eth_src": CLIENT_MAC, "eth_dst": 0x020000000064, "eth_type": 0x800, "ip_proto": 6, "nw_ttl": 64},
        **{"ip_src": int(ip_address("192.0.2.7")), "ip_dst": int(ip_address("10.0.0.100"))},
        **{"tcp_src": CLIENT_PORT, "tcp_dst": 21, "tcp_flags": 0x802},
    }


def test_every_network_side() -> None:
    """Where there are several, all of them; one that is named alone."""
    assert [(each.switch, each.in_port) for each in started("leafspine", "udp 192.0.2.7 > web:1")] == [
        *(("spine1", 1), ("spine2", 1)),
    ]
    assert [each.switch for each in started("leafspine", "udp 192.0.2.7 > web:1 @spine2")] == ["spine2"]
    assert [each[:2] for each in [(s.switch, s.in_port) for s in started("tree", "udp 192.0.2.7 > web:1 @left:1")]] == [
        ("left", 1)
    ]


def test_a_server_sends_from_its_connector() -> None:
    """As what it answers from: the VIP, or its own addresses where these are rewritten."""
    (start,) = started("fig2", "tcp c:22 > 192.0.2.7:4000 syn ack")
    assert (start.switch, start.in_port) == ("s1", 4)
    assert (start.fields["eth_src"], start.fields["eth_dst"]) == (0x020000000064, ROUTER_MAC)
    assert start.fields["ip_src"] == int(ip_address("10.0.0.100"))
    assert fields("fig2", "tcp web:22 > 192.0.2.7:4000 syn ack @c") == start.fields
    assert fields("fig2", "tcp web:22 > 192.0.2.7:4000 syn ack @s1:4") == start.fields
    own = fields("address", "tcp a:22 > 192.0.2.7:4000")
    assert (own["ip_src"], own["eth_src"]) == (int(ip_address("10.0.0.11")), 0x02000000000A)
    assert fields("address", "tcp 192.0.2.7:4 > a:1")["eth_dst"] == 0x02000000000A


def test_versions_of_ip() -> None:
    """A name has the version of the other end, or that which is said."""
    assert fields("ipv6", "icmp fd00::1 > web echo")["icmpv6_type"] == 128
    assert fields("ipv6", "icmp fd00::1 > web too-big")["icmpv6_type"] == 2
    assert fields("fig2", "icmp 192.0.2.7 > web")["icmp_type"] == 8
    assert fields("ipv6", "tcp fd00::1 > web/6:1 label=5")["ipv6_label"] == 5


def test_arp_and_neighbour_discovery() -> None:
    """Questions go to all, or to the solicited-node group (RFC 4861, 4.3); answers to one."""
    asks = fields("fig2", "arp 10.0.0.7 > web")
    assert (asks["eth_dst"], asks["arp_op"], asks["arp_sha"]) == (EVERYBODY, 1, CLIENT_MAC)
    assert fields("fig2", "arp 10.0.0.7 > web reply")["arp_op"] == 2
    asks = fields("ipv6", "nd fd00::1 > web")
    assert asks["eth_dst"] == 0x3333FF000100 and asks["ipv6_dst"] == int(ip_address("ff02::1:ff00:100"))
    assert (asks["nd_target"], asks["nd_sll"], asks["nw_ttl"]) == (int(ip_address("fd00::100")), CLIENT_MAC, 255)
    says = fields("ipv6", "nd fd00::1 > web advert")
    assert (says["nd_target"], says["nd_tll"], says["icmpv6_type"]) == (int(ip_address("fd00::1")), CLIENT_MAC, 136)


@pytest.mark.parametrize(
    ("network", "text", "position", "message"),
    [
        ("fig2", "tcp 192.0.2.7 > x:1", 17, "there is no VIP or server x"),
        ("fig2", "tcp x:1 > web:1", 5, "there is no VIP or server x"),
        ("fig2", "tcp 192.0.2.7 > a:1", 17, "a has no address of its own: say its VIP, web"),
        ("fig2", "tcp 192.0.2.7 > web/6:1", 17, "web has no IPv6 address"),
        ("fig2", "tcp fd00::1 > web:1", 15, "web has no IPv6 address"),
        ("fig2", "tcp fd00::1 > 10.0.0.100:1", 15, "10.0.0.100 is IPv4, and fd00::1 is not"),
        ("fig2", "arp fd00::1 > fd00::2", 5, "arp needs IPv4"),
        ("fig2", "tcp web:22 > 192.0.2.7:1", 5, "a server sends what comes from VIP web: say which, such as @NAME"),
        ("fig2", "tcp 192.0.2.7 > web:1 @s9:1", 23, "there is no switch s9"),
        ("tree", "tcp 192.0.2.7 > web:1 @left", 23, "left has no network side: say @left:PORT"),
        ("fig2", "ip 192.0.2.7 > web", 19, "ip needs a protocol: say proto=NUMBER"),
        ("fig2", "icmp 192.0.2.7 > web too-big", 22, "ICMP of IPv4 has no such type"),
        ("fig2", "icmp 192.0.2.7 > web echo type=3", 22, "ICMP has one type"),
        ("fig2", "udp 192.0.2.7 > web:1 label=3", 23, "IPv4 has no flow label"),
    ],
)
def test_mistakes(network: str, text: str, position: int, message: str) -> None:
    """What a network does not have, at the character where that shows."""
    with pytest.raises(PacketError) as caught:
        started(network, text)
    assert (caught.value.position, caught.value.message) == (position, message)
