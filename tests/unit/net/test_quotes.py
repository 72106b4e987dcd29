"""Quotes of ICMP errors and fragments, read from bytes: what they say, and that no attacker's bytes hurt."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portlb_app.net import packets
from portlb_app.net.packets import ICMP, ICMP6, SCTP, TCP, UDP, Address
from tests.support.wire import checksum, ethernet, icmp_error, ip, pseudo, tcp_segment, udp_datagram

CLIENT = {4: ip_address("192.0.2.1"), 6: ip_address("2001:db8::1")}
ROUTER = {4: ip_address("198.51.100.9"), 6: ip_address("2001:db8:9::9")}
VIP = {4: ip_address("10.0.0.100"), 6: ip_address("fd00::100")}
OWN = {4: ip_address("10.9.8.7"), 6: ip_address("fd09::7")}
FAMILIES = (4, 6)
EXTENSIONS = ((0, b"\x01\x04\0\0\0\0"), (60, b"\x01\x04\0\0\0\0"), (43, b"\x04\0\0\0\0\0"))
"""IPv6 extension headers of 8 bytes: hop-by-hop, destination options, routing; (number, what follows the length)."""


def about(
    family: int, protocol: int, transport: bytes, kind: int | None = None, quoted: int | None = None, options: int = 0
) -> bytes:
    """The frame of an error about a packet of the VIP, which quotes `quoted` bytes of it."""
    packet = ip(VIP[family], CLIENT[family], protocol, transport, options=options)
    kind = (3 if family == 4 else 2) if kind is None else kind
    whole = icmp_error(ROUTER[family], VIP[family], kind, packet[:quoted])
    return ethernet(family, ip(ROUTER[family], VIP[family], ICMP if family == 4 else ICMP6, whole, options=options))


def ports_of(frame: bytes) -> tuple[int, int] | None:
    quote = packets.parse_quote(frame)
    return quote.ports if quote else None


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("protocol", [TCP, UDP, SCTP])
def test_eight_bytes_of_the_quoted_transport_suffice(family: int, protocol: int) -> None:
    """RFC 792 promises no more; with less the ports cannot be trusted to be there."""
    transport = struct.pack("!HHI", 443, 40000, 7) + bytes(12)
    head = {4: 20, 6: 40}[family]
    assert ports_of(about(family, protocol, transport, quoted=head + 8)) == (443, 40000)
    for less in range(head + 8):
        assert packets.parse_quote(about(family, protocol, transport, quoted=less)) is None
    quote = packets.parse_quote(about(family, protocol, transport))
    assert quote == packets.Quote(ROUTER[family], VIP[family], VIP[family], CLIENT[family], protocol, (443, 40000))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_type_of_error_and_no_other(family: int) -> None:
    """RFC 792 and RFC 4443: what quotes a packet."""
    errors = {4: {3, 11, 12}, 6: {1, 2, 3, 4}}[family]
    transport = struct.pack("!HHI", 443, 40000, 7)
    assert {kind for kind in range(256) if packets.parse_quote(about(family, TCP, transport, kind))} == errors


def test_ip_options_in_both_headers() -> None:
    """IPv4 headers of every length, up to 60 bytes."""
    for options in range(0, 41, 4):
        assert ports_of(about(4, UDP, struct.pack("!HHI", 53, 4000, 0), options=options)) == (53, 4000)


def test_extension_headers_in_both_packets() -> None:
    """IPv6: hop-by-hop, routing and destination options before the error and before the quoted ports."""
    transport = struct.pack("!HHI", 53, 4000, 0)
    for count in range(4):
        packet = ip(VIP[6], CLIENT[6], UDP, transport, extensions=EXTENSIONS[:count])
        error = icmp_error(ROUTER[6], VIP[6], 2, packet)
        frame = ethernet(6, ip(ROUTER[6], VIP[6], ICMP6, error, extensions=EXTENSIONS[:count]))
        assert ports_of(frame) == (53, 4000)
    many = ip(VIP[6], CLIENT[6], UDP, transport, extensions=EXTENSIONS[1:2] * 9)
    error = icmp_error(ROUTER[6], VIP[6], 2, many)
    assert packets.parse_quote(ethernet(6, ip(ROUTER[6], VIP[6], ICMP6, error))) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_an_error_about_an_error_is_none(family: int) -> None:
    """No host may send an error about an error, so none is read; one about an echo is, which has no ports."""
    protocol, error, echo = {4: (ICMP, 3, 0), 6: (ICMP6, 1, 129)}[family]
    assert packets.parse_quote(about(family, protocol, bytes([error]) + bytes(7))) is None
    quote = packets.parse_quote(about(family, protocol, bytes([echo]) + bytes(7)))
    assert quote is not None and quote.ports is None


def test_a_quoted_fragment() -> None:
    """A first one shows ports, a later one none."""
    for offset, ports in ((0x2000, (53, 4000)), (185, None)):
        packet = bytearray(ip(VIP[4], CLIENT[4], UDP, struct.pack("!HHI", 53, 4000, 0)))
        packet[6:8] = offset.to_bytes(2, "big")
        frame = ethernet(4, ip(ROUTER[4], VIP[4], ICMP, icmp_error(ROUTER[4], VIP[4], 3, bytes(packet))))
        quote = packets.parse_quote(frame)
        assert quote is not None and quote.ports == ports


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize("extra", [0, 1, 40])
def test_a_requoted_error_is_right_in_every_checksum(family: int, protocol: int, extra: int) -> None:
    """N1: as if the quoted packet had been sent from, or to, the other address."""

    def error(source: Address, destination: Address) -> bytes:
        build = tcp_segment if protocol == TCP else udp_datagram
        packet = ip(source, destination, protocol, build(source, destination, 443, 40000, bytes(extra)))
        whole = icmp_error(ROUTER[family], VIP[family], 3, packet)
        return ethernet(family, ip(ROUTER[family], VIP[family], ICMP if family == 4 else ICMP6, whole))

    before = error(VIP[family], CLIENT[family])
    assert packets.requote(before, source=OWN[family]) == error(OWN[family], CLIENT[family])
    assert packets.requote(before, destination=OWN[family]) == error(VIP[family], OWN[family])
    assert packets.requote(before) == before
    assert packets.requote(before, source=OWN[10 - family]) is None


def test_a_requoted_error_with_little_of_the_packet() -> None:
    """8 quoted bytes hold UDP's checksum, and not TCP's; a UDP checksum of 0 means none, and stays."""
    for protocol, transport in ((TCP, struct.pack("!HHI", 443, 40000, 7)), (UDP, struct.pack("!HHHH", 53, 9, 8, 0))):
        frame = about(4, protocol, transport)
        changed = packets.requote(frame, source=OWN[4])
        assert changed is not None
        quote = packets.parse_quote(changed)
        assert quote is not None and quote.source == OWN[4] and quote.destination == CLIENT[4]
        assert checksum(changed[42:62]) == 0, "the quoted header"
        assert checksum(changed[34:]) == 0, "the error"
        assert changed[62:] == frame[62:], "the quoted transport"


def fragments(family: int, protocol: int, transport: bytes, size: int, identifier: int = 77) -> list[bytes]:
    """A packet to the VIP in fragments of `size` bytes (a multiple of 8)."""
    frames = []
    for offset in range(0, len(transport), size):
        piece = transport[offset : offset + size]
        more = offset + size < len(transport)
        frames.append(
            ethernet(family, ip(CLIENT[family], VIP[family], protocol, piece, fragment=(identifier, offset, more)))
        )
    return frames


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("protocol", [TCP, UDP, SCTP])
def test_fragments_are_read(family: int, protocol: int) -> None:
    """Key, place, size and whether more follow; ports (and TCP's flags) of the first."""
    transport = struct.pack("!HHIIHHHH", 40000, 443, 1, 2, 5 << 12 | 0x802, 0, 0, 0) + bytes(4000)
    read = [packets.parse_fragment(frame + bytes(3)) for frame in fragments(family, protocol, transport, 1480)]
    assert all(read)
    assert len({each.key for each in read if each}) == 1
    assert [(each.offset, each.size, each.more) for each in read if each] == [
        (0, 1480, True),
        (1480, 1480, True),
        (2960, 1060, False),
    ]
    assert [each.ports for each in read if each] == [(40000, 443), None, None]
    assert [each.flags for each in read if each] == [0x802 if protocol == TCP else 0, 0, 0]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_no_fragment_a_host_would_take(family: int) -> None:
    """A whole packet, an empty fragment, one beyond 64 kB, a middle one of odd size, a first one without its ports."""

    def read(protocol: int, data: bytes, where: tuple[int, int, bool] | None) -> object:
        return packets.parse_fragment(ethernet(family, ip(CLIENT[family], VIP[family], protocol, data, fragment=where)))

    assert read(UDP, bytes(8), None) is None
    assert read(UDP, b"", (1, 8, True)) is None
    assert read(UDP, bytes(16), (1, 65528, False)) is None
    assert read(UDP, bytes(12), (1, 8, True)) is None
    assert read(UDP, bytes(12), (1, 8, False)) is not None
    assert read(TCP, bytes(8), (1, 0, True)) is None, "flags are missing"
    assert read(UDP, bytes(8), (1, 0, True)) is not None
    frame = ethernet(family, ip(CLIENT[family], VIP[family], UDP, bytes(64), fragment=(1, 64, True)))
    assert all(packets.parse_fragment(frame[:length]) is None for length in range(len(frame)))


def test_an_atomic_fragment_is_a_whole_packet() -> None:
    """IPv6: a fragment header that divides nothing (RFC 6946)."""
    frame = ethernet(6, ip(CLIENT[6], VIP[6], UDP, bytes(8), fragment=(1, 0, False)))
    assert packets.parse_fragment(frame) is None


SEEDS = [
    frame
    for family in FAMILIES
    for frame in (
        about(family, TCP, tcp_segment(VIP[family], CLIENT[family], 443, 40000, b"data")),
        about(family, UDP, udp_datagram(VIP[family], CLIENT[family], 53, 4000, b"data"), options=8 * (family == 4)),
        *fragments(family, UDP, bytes(40), 16),
    )
]


@settings(deadline=None, max_examples=500)
@given(st.binary(max_size=200))
@example(b"")
def test_any_bytes_are_survived(data: bytes) -> None:
    """Whatever follows an Ethernet header: a value or None, and what is said of it lies within 64 kB."""
    for kind in (b"\x08\x00", b"\x86\xdd"):
        survive(bytes(12) + kind + data)


@pytest.mark.parametrize("frame", SEEDS, ids=range(len(SEEDS)))
def test_every_cut_and_many_changes_are_survived(frame: bytes) -> None:
    """A good frame cut anywhere, or with some bytes changed."""
    dice, odd = Random(5), (0, 1, 4, 6, 8, 17, 44, 58, 255)
    for length in range(len(frame)):
        survive(frame[:length])
    for _ in range(3000):
        changed = bytearray(frame)
        for _ in range(dice.randint(1, 4)):
            changed[dice.randrange(12, len(changed))] = dice.choice((*odd, dice.randrange(256)))
        survive(bytes(changed))


def survive(frame: bytes) -> None:
    quote, fragment = packets.parse_quote(frame), packets.parse_fragment(frame)
    assert quote is None or fragment is None
    if fragment:
        assert 0 < fragment.size <= len(frame) and fragment.offset + fragment.size <= 0xFFFF
    family = quote.source.version if quote else 4
    changed = packets.requote(frame, source=OWN[family], destination=OWN[family])
    assert (changed is None) == (quote is None)
    if changed is not None:
        again = packets.parse_quote(changed)
        assert again is not None and (again.source, again.destination) == (OWN[family], OWN[family])
        assert len(changed) == len(frame)


@pytest.mark.parametrize(("protocol", "at"), [(33, 6), (136, 6), (17, 6), (6, 16)])
@pytest.mark.parametrize("family", [4, 6])
def test_a_readdressed_transport_is_right_in_its_checksum(family: int, protocol: int, at: int) -> None:
    """DCCP's and UDP-Lite's cover the addresses as UDP's and TCP's do (RFC 4340, 9; RFC 3828, 3.1)."""
    old, new, client = (ip_address(text) for text in ADDRESSES[family])
    whole = bytearray(range(64))
    whole[at : at + 2] = bytes(2)
    whole[at : at + 2] = checksum(pseudo(client, old, protocol, bytes(whole)) + whole).to_bytes(2, "big")
    changed = packets.readdress(ethernet(family, ip(client, old, protocol, bytes(whole))), destination=new)
    assert changed is not None
    assert checksum(pseudo(client, new, protocol, changed[-64:]) + changed[-64:]) == 0


ADDRESSES = {4: ("10.0.0.100", "10.0.0.1", "192.0.2.1"), 6: ("fd00::100", "fd00::1", "2001:db8::1")}
