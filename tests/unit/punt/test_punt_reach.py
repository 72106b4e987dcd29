"""What is handed up while nobody of a pool can be reached, or that no message has room for, is dropped and counted."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from random import Random

import pytest

from portlb_app.config import Config, load
from portlb_app.openflow import Output
from portlb_app.openflow.limits import LARGEST_FRAME, MESSAGE, OUTPUTS
from portlb_app.pipeline import SLOTS, Reason, make_cookie, vip_number
from portlb_app.punt.disposition import Disposition
from portlb_app.punt.handlers import Punt
from portlb_app.punt.packet import PacketIn
from portlb_app.topology.conditions import Conditions
from tests.support import wire
from tests.support.reference import ICMP, SYN, TCP, UDP

CLIENT, VIP = IPv4Address("192.0.2.1"), IPv4Address("10.0.0.100")
TEXT = """
switches: {s1: {dpid: 1, network: 1}, s2: {dpid: 2}}
links: [[s1:2, s2:1]]
vips:
  web:
    address: 10.0.0.100
    mac: "02:00:00:00:00:64"
    fragments: track
    icmp: {errors: owner, unknown: any, other: POLICY}
    redirect_ports: {80: {servers: [a], legacy: LEGACY, signal: option}}
servers:
  a: {vip: web, connector: s2:3, service_ports: [OWNED{port: 8001, application: 80}]}
  d: {vip: web, connector: s1:3, service_ports: [9]}
"""


def cut(legacy: str = "balance", policy: str = "balance") -> tuple[Config, Punt]:
    """A pool's only server is behind a link that is down."""
    owned = "80, " if legacy == "owner" else ""
    config = load(TEXT.replace("LEGACY", legacy).replace("POLICY", policy).replace("OWNED", owned))
    punt = Punt()
    punt.adopt(config, Conditions(links_down=frozenset(config.links)))
    for switch in config.switches:
        punt.connected(switch.dpid)
    return config, punt


def first_fragment(protocol: int, payload: bytes) -> bytes:
    """The first fragment of a packet to the VIP."""
    packet = wire.ip(CLIENT, VIP, protocol, payload + bytes(-len(payload) % 8))
    return wire.ethernet(4, packet[:6] + b"\x20\x00" + packet[8:])


def handed_up(config: Config, reason: Reason, frame: bytes, port: int = 0, slot: int | None = None) -> PacketIn:
    """A packet as the first switch hands it up."""
    return PacketIn(make_cookie(reason, vip_number("web"), port), 1, frame, slot)


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_a_fragment_to_a_pool_that_cannot_be_reached_is_dropped(protocol: int) -> None:
    """And counted as that."""
    config, punt = cut()
    flags = SYN if protocol == TCP else 0
    payload = struct.pack("!HHIIHHHH", 40000, 80, 1, 0, 5 << 12 | flags, 9, 0, 0) + bytes(20)
    assert punt.take(1, handed_up(config, Reason.FRAGMENT, first_fragment(protocol, payload)), 0.0) == ()
    assert punt.counts == {(Reason.FRAGMENT, Disposition.DROPPED): 1}


@pytest.mark.parametrize("slot", [None, 0, SLOTS - 1])
@pytest.mark.parametrize("legacy", ["balance", "pin", "owner", "drop"])
def test_a_syn_to_a_pool_that_cannot_be_reached_is_sent_to_nobody(legacy: str, slot: int | None) -> None:
    """Also with a slot of the tables before the link went; no packet is sent without an action."""
    config, punt = cut(legacy)
    frame = wire.ethernet(4, wire.ip(CLIENT, VIP, TCP, wire.tcp_segment(CLIENT, VIP, 40000, 80, b"", SYN)))
    sends = punt.take(1, handed_up(config, Reason.SIGNAL, frame, 80, slot), 0.0)
    assert all(send.actions for send in sends)
    fate = {"owner": Disposition.ABSENT, "pin": Disposition.SENT}.get(legacy, Disposition.DROPPED)
    assert punt.counts == {(Reason.SIGNAL, fate): 1}


@pytest.mark.parametrize(("policy", "fate"), [("balance", "sent"), ("a", "absent"), ("drop", "dropped"), ("d", "sent")])
def test_a_ping_in_fragments_goes_where_pings_go(policy: str, fate: str) -> None:
    """Where the controller judges it, to whom can be reached."""
    config, punt = cut(policy=policy)
    frame = first_fragment(ICMP, b"\x08\x00" + bytes(30))
    sends = punt.take(1, handed_up(config, Reason.FRAGMENT, frame), 0.0)
    assert [send.actions for send in sends] == ([(Output(3),)] if fate == "sent" else [])
    assert {fate.value: count for (_, fate), count in punt.counts.items()} == {fate: 1}


def test_a_frame_that_is_too_large_is_malformed() -> None:
    """What a message cannot answer is not judged."""
    config, punt = cut()
    payload = struct.pack("!HHI", 40000, 9, 0) + bytes(LARGEST_FRAME)
    assert punt.take(1, handed_up(config, Reason.FRAGMENT, first_fragment(UDP, payload)), 0.0) == ()
    assert punt.counts == {(Reason.FRAGMENT, Disposition.MALFORMED): 1}


def test_an_error_for_many_servers_goes_in_several_messages() -> None:
    """Each has room for the largest frame."""
    names = [f"s{number}" for number in range(2500)]
    data = {
        "switches": {"s1": {"dpid": 1, "network": 1}},
        "vips": {
            "web": {
                "address": str(VIP),
                "mac": "02:00:00:00:00:64",
                "icmp": {"errors": "owner"},
                "redirect_ports": {80: {"servers": names[:1], "legacy": "drop"}},
            }
        },
        "servers": {
            name: {
                "vip": "web",
                "connector": f"s1:{number}",
                "service_mac": f"02:00:00:01:{number >> 8:02x}:{number & 255:02x}",
            }
            for number, name in enumerate(names, 2)
        },
    }
    config = load(json.dumps(data))
    punt = Punt()
    punt.adopt(config)
    punt.connected(1)
    quoted = wire.ip(VIP, CLIENT, TCP, struct.pack("!HHI", 80, 40000, 7))
    frame = wire.ethernet(4, wire.ip(CLIENT, VIP, ICMP, wire.icmp_error(CLIENT, VIP, 3, quoted, 1400)))
    sends = punt.take(1, handed_up(config, Reason.ICMP_ERROR, frame), 0.0)
    assert sorted(action.port for send in sends for action in send.actions) == list(range(2, 2502))  # type: ignore
    assert max(len(send.actions) for send in sends) <= OUTPUTS
    assert OUTPUTS * 16 + LARGEST_FRAME < MESSAGE - 100


def test_an_error_of_a_server_that_speaks_more_than_its_vip_is_counted() -> None:
    """A server may have an address of a family that its VIP lacks."""
    text = """
switches: {s1: {dpid: 1, network: 1}}
vips: {web: {address: 10.0.0.100, mac: "02:00:00:00:00:64", rewrite: address, fragments: track}}
servers:
  a: {vip: web, connector: s1:2, mac: "02:00:00:00:00:01", address: [10.0.0.1, "fd00::1"], service_ports: [9]}
"""
    config = load(text)
    punt = Punt()
    punt.adopt(config)
    punt.connected(1)
    server, client = IPv6Address("fd00::1"), IPv6Address("2001:db8::1")
    quoted = wire.ip(client, server, UDP, bytes(16))
    error = wire.icmp_error(server, client, 1, quoted)
    frame = wire.ethernet(6, wire.ip(server, client, 58, error))
    assert punt.take(1, PacketIn(make_cookie(Reason.SERVER_ICMP), 2, frame), 0.0) == ()
    assert punt.counts == {(Reason.SERVER_ICMP, Disposition.MALFORMED): 1}


def test_what_is_handed_up_by_tables_of_before_is_survived() -> None:
    """A configuration without the port, the family or the policy: every reason, port and slot."""
    config, punt = cut()
    vip = config.vips[0]
    for changed in (
        replace(vip, redirect_ports=()),
        replace(vip, redirect_ports=tuple(replace(pool, servers=()) for pool in vip.redirect_ports)),
        replace(vip, default_server=None, icmp_types=()),
    ):
        punt.adopt(replace(config, vips=(changed,)), Conditions(links_down=frozenset(config.links)))
        for reason in Reason:
            for frame in (
                first_fragment(UDP, struct.pack("!HHI", 40000, 80, 0)),
                wire.ethernet(4, wire.ip(CLIENT, VIP, TCP, wire.tcp_segment(CLIENT, VIP, 40000, 80, b"", SYN))),
                b"",
            ):
                punt.take(1, handed_up(config, reason, frame, 80, SLOTS - 1), 0.0)
    list(punt.expire(1e9))


def test_what_is_reached_follows_the_switches_that_are_connected() -> None:
    """Whatever the order in which they come and go, and configurations change: as if all of it were found anew."""
    dice = Random(7)
    texts = [TEXT, TEXT.replace("s2:3", "s1:4"), TEXT.replace("s1:3", "s2:5")]
    texts = [text.replace("LEGACY", "balance").replace("POLICY", "balance").replace("OWNED", "") for text in texts]
    configs = [load(text) for text in texts]
    punt, there, config = Punt(), set[int](), configs[0]
    punt.adopt(config)
    for _ in range(300):
        dpid = dice.choice((1, 2, 3))
        if dice.random() < 0.1:
            config = dice.choice(configs)
            punt.adopt(config)
        elif dice.random() < 0.5:
            there.add(dpid)
            punt.connected(dpid)
        else:
            there.discard(dpid)
            punt.disconnected(dpid)
        anew = Punt()
        for each in there:
            anew.connected(each)
        anew.adopt(config)
        assert reached(punt) == reached(anew)


def reached(punt: Punt) -> dict[int, dict[str, int]]:
    """By a VIP's number, each server's switch."""
    found = punt._vips._server_switches.items()
    return {number: {name: dpid for name, (dpid, _) in servers.items()} for number, servers in found}
