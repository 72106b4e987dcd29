"""What switches announce, when and how often, byte by byte; and what they answer to who asks for listeners."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portlb_app.compiler.vips_by_switch import vips_on_switch
from portlb_app.config import load
from portlb_app.net import packets
from portlb_app.openflow import Output
from portlb_app.punt.announce import AT_ONCE, Announcement, Announcer, Claim, Held, announcements, answers
from portlb_app.topology import of
from portlb_app.topology.conditions import AS_CONFIGURED, Conditions

MAC = 0x020000000064
IPV6 = (Path(__file__).parents[3] / "flows/ipv6/lb.yaml").read_text()
TREE = """
switches: {root: {dpid: 1, network: 1}, other: {dpid: 2, network: 1}, leaf: {dpid: 3}}
links: [[root:2, leaf:1], [other:2, leaf:2]]
vips: {web: {address: 10.0.0.100, mac: "02:00:00:00:00:64"}}
servers: {a: {vip: web, connector: leaf:3, service_ports: [80]}}
"""


def held(text: str, *down: int) -> Held:
    """A configuration while some of its links, by their position, are down."""
    config = load(text)
    return Held(config, Conditions(links_down=frozenset(config.links[each] for each in down)))


def said(announcer: Announcer, holding: dict[int, Held], now: float) -> dict[int, list[bytes]]:
    """What each switch is to announce."""
    found: dict[int, list[bytes]] = {}
    for each in announcer.take(holding, now):
        assert each.actions == (Output(1),)
        found.setdefault(each.dpid, []).append(each.frame)
    return found


def test_an_address_is_announced_as_the_rfcs_say() -> None:
    """RFC 5227, 3: a request for one's own address; RFC 4861, 7.2.6: an advertisement with the override flag only."""
    (arp,) = announcements(Claim(1, IPv4Address("10.0.0.100"), MAC))
    mac, vip = MAC.to_bytes(6, "big"), bytes((10, 0, 0, 100))
    assert arp[:42] == b"\xff" * 6 + mac + b"\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01" + mac + vip + bytes(6) + vip
    address = IPv6Address("fd00::100")
    advertisement, report = announcements(Claim(1, address, MAC))
    assert advertisement[:14] == bytes.fromhex("333300000001") + mac + b"\x86\xdd"
    assert advertisement[18:22] == bytes((0, 32, 58, 255)), "32 bytes of ICMPv6, hop limit 255"
    assert advertisement[54:56] == b"\x88\x00" and advertisement[58:62] == bytes.fromhex("20000000")
    assert advertisement[62:] == address.packed + b"\x02\x01" + mac
    assert checksum_fits(advertisement, 54) and checksum_fits(report, 62)
    assert report[:14] == bytes.fromhex("333300000016") + mac + b"\x86\xdd"
    assert report[21] == 1 and report[20] == 0 and report[54:62] == bytes.fromhex("3a00050200000100"), "router alert"
    group = IPv6Address("ff02::1:ff00:100")
    assert report[62:63] == b"\x8f" and report[66:] == struct.pack("!HHBBH", 0, 1, 4, 0, 0) + group.packed


def checksum_fits(frame: bytes, at: int) -> bool:
    """Whether the ICMPv6 message that begins at `at` has the right checksum."""
    message = frame[at:]
    return packets.checksum(frame[22:54] + struct.pack("!II", len(message), 58) + message) == 0


def test_what_changes_is_announced_twice_and_nothing_else() -> None:
    """RFC 5227: twice, 2 s apart; a changed MAC address, a new VIP; not what was there, not for other changes."""
    announcer = Announcer()
    first = held(IPV6)
    assert said(announcer, {1: first}, 0) == {}, "the controller is started again; the switch had it all"
    more = IPV6.replace("[8001]", "[8001, 9]") if "[8001]" in IPV6 else IPV6 + "\n"
    announcer.changing(1)
    assert said(announcer, {1: held(more)}, 1) == {}, "no other address"
    moved = held(IPV6.replace("02:00:00:00:00:64", "02:00:00:00:00:65"))
    announcer.changing(1)
    assert said(announcer, {}, 2) == {}, "it is on its way"
    wanted = [
        frame
        for address in sorted(moved.config.vips[0].addresses, key=lambda each: each.version)
        for frame in announcements(Claim(1, address, 0x020000000065))
    ]
    assert said(announcer, {1: moved}, 3) == {1: wanted}
    assert said(announcer, {1: moved}, 4.9) == {}
    assert said(announcer, {1: moved}, 5) == {1: wanted}
    assert said(announcer, {1: moved}, 100) == {}
    announcer.changing(1)
    assert said(announcer, {1: first}, 101) != {}
    announcer.changing(1)
    assert set(said(announcer, {1: moved}, 102)) == {1}, "the first is not said again: it is not so any more"
    frames = said(announcer, {1: moved}, 103)
    assert frames == {}


def test_a_switch_that_is_first_seen_announces_if_it_is_changed() -> None:
    announcer = Announcer()
    announcer.changing(1)
    assert len(said(announcer, {1: held(IPV6), 7: held(IPV6)}, 0)[1]) > 0


def test_where_a_vip_appears_it_is_announced() -> None:
    """A link is cut, and the VIP leaves an entrance; when it works again, only that entrance announces."""
    announcer, whole, cut = Announcer(), held(TREE), held(TREE, 0)
    assert said(announcer, dict.fromkeys((1, 2, 3), whole), 0) == {}
    assert said(announcer, dict.fromkeys((1, 2, 3), cut), 1) == {}
    assert set(said(announcer, dict.fromkeys((1, 2, 3), whole), 2)) == {1}


def test_many_are_announced_in_turns() -> None:
    """Of 2000 VIPs so many at a time, each twice."""
    mac = "02:00:00:00:00:64"
    vips = {f"v{number}": {"address": str(ip_address(0x0A000000 + number)), "mac": mac} for number in range(2000)}
    text = f"switches: {{s1: {{dpid: 1, network: 1}}}}\nvips: {vips}\nservers: {{}}".replace("'", '"')
    announcer, found = Announcer(), list[Announcement]()
    equal = [held(text), held(text), Held(load(text), AS_CONFIGURED)]  # none is what the turn before had
    announcer.changing(1)
    for turn in range(40):
        part = list(announcer.take({1: equal[turn % len(equal)]}, turn * 0.25))
        assert len(part) <= AT_ONCE
        found += part
        if not part and turn > 8:
            break
    assert len(found) == 4000 and len({each.frame for each in found}) == 2000


def test_a_turn_looks_at_what_it_says_and_not_at_all_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred switches with thousands of VIPs have hundreds of thousands waiting: a turn must not go through them."""
    mac = "02:00:00:00:00:64"
    vips = {f"v{number}": {"address": str(ip_address(0x0A000000 + number)), "mac": mac} for number in range(2000)}
    text = f"switches: {{s1: {{dpid: 1, network: 1}}}}\nvips: {vips}\nservers: {{}}".replace("'", '"')
    announcer, holding, looked, made = Announcer(), {1: held(text)}, list[Claim](), Claim.__hash__
    announcer.changing(1)
    assert len(list(announcer.take(holding, 0))) == AT_ONCE

    def look(claim: Claim) -> int:
        looked.append(claim)
        return made(claim)

    monkeypatch.setattr(Claim, "__hash__", look)
    assert len(list(announcer.take(holding, 0.25))) == AT_ONCE
    assert len(looked) <= 2 * AT_ONCE


QUERY = bytes.fromhex("333300000001" "020000000001" "86dd") + struct.pack("!IHBB", 6 << 28, 36, 0, 1)
QUERY += IPv6Address("fe80::1").packed + IPv6Address("ff02::1").packed + bytes.fromhex("3a00050200000100")
QUERY += struct.pack("!BBHHH", 130, 0, 0, 1000, 0) + bytes(16) + bytes(4)


def asked(frame: bytes, port: int = 1) -> list[bytes] | None:
    """What the switch of the IPv6 example answers."""
    config = load(IPV6)
    return answers(tuple(vips_on_switch(config, of(config), config.switches[0])), port, frame)


def test_a_querier_is_answered() -> None:
    """General and group-specific queries, in both versions; nothing for a group of nobody, or at another port."""
    group = IPv6Address("ff02::1:ff00:100").packed
    (report,) = asked(QUERY) or []
    assert report[62] == 143 and report[70:] == bytes((2, 0, 0, 0)) + group and checksum_fits(report, 62)
    assert asked(QUERY[:70] + group + QUERY[86:]) == [report]
    assert asked(QUERY[:70] + IPv6Address("ff02::1:ff00:101").packed + QUERY[86:]) == []
    assert asked(QUERY, port=2) == []
    (old,) = asked(QUERY[:18] + b"\0\x20" + QUERY[20:86]) or []
    assert old[62] == 131 and old[70:86] == group and old[38:54] == group and checksum_fits(old, 62)


@pytest.mark.parametrize(
    "bad",
    [
        QUERY[:21] + b"\2" + QUERY[22:],
        QUERY[:22] + IPv6Address("fd00::1").packed + QUERY[38:],
        QUERY[:-2],
        QUERY[:19] + b"\x23" + QUERY[20:],
        QUERY[:62] + b"\x83" + QUERY[63:],
    ],
    ids=["hop limit", "source", "cut", "length", "type"],
)
def test_what_is_no_query_is_not_answered(bad: bytes) -> None:
    """RFC 3810, 5.1.14: from the link, that is with a hop limit of 1 and from a link-local address."""
    assert asked(bad) is None


@given(st.binary(max_size=120), st.integers(0, 90))
def test_any_bytes(data: bytes, kept: int) -> None:
    """Whatever follows a good beginning."""
    assert asked(QUERY[:kept] + data) is None or kept + len(data) >= 86
