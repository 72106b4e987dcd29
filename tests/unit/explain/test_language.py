"""The packet language: what texts mean, and at which character one does not mean anything."""

from __future__ import annotations

import pickle
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portlb_app.explain.language import KEYS, MAX_TEXT, NO_OPTION, PacketError, read
from portlb_app.openflow import LOCAL


def test_ends_and_words() -> None:
    """Addresses, names, ports, flags, keys, and where it comes in."""
    found = read("tcp 192.0.2.7:4000 > web:21 syn redirect dscp=0x2e vlan=7 @s1:5 src-mac=02:00:00:00:00:07 size=1514")
    assert (found.protocol, found.source.address, found.source.port) == ("tcp", ip_address("192.0.2.7"), 4000)
    assert (found.target.name, found.target.port, found.target.version) == ("web", 21, 0)
    assert found.words == {"syn", "redirect"}
    assert found.given == {"dscp": 46, "vlan": 7, "src-mac": 0x020000000007, "size": 1514}
    assert found.place is not None and found.place[1:] == ("s1", 5)
    assert read("icmp fd00::1 > web/6 @s1:LOCAL").place == (22, "s1", LOCAL)


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("udp [2001:db8::7]:53 > web:1", "2001:db8::7", 53),
        ("udp [2001:db8::7] > web:1", "2001:db8::7", None),
        ("udp 2001:db8::7 > web:1", "2001:db8::7", None),
        ("udp 192.0.2.7 > web:1", "192.0.2.7", None),
    ],
)
def test_addresses_with_and_without_ports(text: str, address: str, port: int | None) -> None:
    """An IPv6 address with a port is in brackets."""
    assert (read(text).source.address, read(text).source.port) == (ip_address(address), port)


def test_neighbour_discovery() -> None:
    """Its target and its option are keys of its own."""
    found = read("nd [fe80::1] > [ff02::1] target=fd00::100 option=none advert")
    assert (found.addresses["target"], found.given["option"]) == (ip_address("fd00::100"), NO_OPTION)
    assert found.words == {"advert"}


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", 1, "a protocol is missing"),
        ("quic 10.0.0.1 > web", 1, "'quic' is no protocol: say tcp, udp, sctp, icmp, ip, arp or nd"),
        ("tcp 10.0.0.1:1", 15, "'>' and where the packet goes to is missing"),
        ("tcp 10.0.0.1:1 < web:1", 16, "'>' stands between"),
        ("tcp 10.0.0.1:1 > web", 18, "tcp has a port: say web:PORT"),
        ("tcp 10.0.0.1:1 > 10.0.0.2", 18, "tcp has a port: say 10.0.0.2:PORT"),
        ("tcp 10.0.0.256:1 > web:1", 5, "'10.0.0.256' is not an IPv4 address"),
        ("tcp [fd00::g]:1 > web:1", 6, "'fd00::g' is not an IPv6 address"),
        ("tcp [fd00::1:1 > web:1", 5, "'[fd00::1:1' has no closing bracket"),
        ("tcp [fd00::1]x > web:1", 14, "'x' is no port"),
        ("tcp 10.0.0.1:65536 > web:1", 14, "'65536' is no number from 0 to 65535"),
        ("tcp 10.0.0.1:01 > web:1", 14, "'01' is no number"),
        ("icmp 10.0.0.1:1 > web", 15, "icmp has no ports"),
        ("tcp 10.0.0.1 > web/5:1", 20, "'5' is no version of IP: say 4 or 6"),
        ("tcp 10.0.0.1 > -:1", 16, "'-' is not an address or a name"),
        ("udp 10.0.0.1 > web:1 syn", 22, "'syn' is no word of udp: say @PLACE, "),
        ("tcp 10.0.0.1 > web:1 syn syn", 26, "syn is said twice"),
        ("tcp 10.0.0.1 > web:1 dscp=64", 27, "'64' is no number from 0 to 63"),
        ("tcp 10.0.0.1 > web:1 type=8", 22, "'type' is no key of tcp"),
        ("tcp 10.0.0.1 > web:1 fragment=2", 31, "'2' is no fragment: say first or later"),
        ("tcp 10.0.0.1 > web:1 @s1:0", 26, "'0' is no number from 1"),
        ("tcp 10.0.0.1 > web:1 @", 23, "'' is not a switch or a server"),
        ("tcp 10.0.0.1 > web:1 src-mac=1", 30, "'1' is not a MAC address"),
        ("tcp 10.0.0.1 >\tweb:1", 15, "'\\t' is no printable character of ASCII"),
        ("tcp " + "1" * MAX_TEXT, MAX_TEXT + 1, "a packet is said in 500 characters"),
    ],
)
def test_mistakes(text: str, position: int, message: str) -> None:
    """Each says at which character, and what."""
    with pytest.raises(PacketError) as caught:
        read(text)
    assert (caught.value.position, caught.value.message[: len(message)]) == (position, message)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


_PARTS = st.sampled_from(
    ["tcp", "udp", "icmp", "ip", "arp", "nd", ">", "web:1", "web/6", "[fd00::1]:2", "10.0.0.1:3", "::", "syn", "=", "@"]
    + [f"{key}=1" for key in KEYS]
    + ["fragment=first", "known=a", "target=fd00::1", "option=none", "@s1:1", "0x", "[", "]:", "99999999999"]
)


@given(st.lists(_PARTS | st.text(max_size=8), max_size=12).map(" ".join))
def test_any_text_is_a_packet_or_a_mistake_within_it(text: str) -> None:
    """Nothing else is raised."""
    try:
        assert read(text).text == text
    except PacketError as error:
        assert 1 <= error.position <= len(text) + 1 and error.message
