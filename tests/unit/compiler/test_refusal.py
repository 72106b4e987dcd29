"""A server that connects to a VIP is refused at once, in bytes that its kernel accepts."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portlb_app.net import packets
from tests.support import wire

CLIENT4, VIP4 = ip_address("10.0.0.11"), ip_address("10.0.0.100")
CLIENT6, VIP6 = ip_address("fd00::11"), ip_address("fd00::100")


def sent(source: Any, destination: Any, protocol: int, above: bytes, **options: Any) -> bytes:
    """A frame."""
    return wire.ethernet(source.version, wire.ip(source, destination, protocol, above, **options))


@pytest.mark.parametrize(("client", "vip"), [(CLIENT4, VIP4), (CLIENT6, VIP6)], ids=["IPv4", "IPv6"])
def test_a_refusal_ends_what_it_is_about(client: Any, vip: Any) -> None:
    """A reset that acknowledges the SYN and its data; "prohibited" with a quote for others; checksums are right."""
    frame = sent(client, vip, 6, wire.tcp_segment(client, vip, 1000, 80, b"xyz", 0x802))
    refused = packets.make_refusal(frame)
    assert refused is not None and refused[:12] == frame[6:12] + frame[:6]
    reset = packets.parse_tcp(refused)
    assert reset is not None and (reset.source, reset.destination) == (vip, client)
    assert (reset.sport, reset.dport, reset.flags, reset.seq, reset.ack) == (80, 1000, 0x014, 0, 1 + 1 + 3)
    at = 34 if client.version == 4 else 54
    assert wire.checksum(wire.pseudo(vip, client, 6, refused[at:]) + refused[at:]) == 0
    for flags in (0x010, 0x012, 0x004, 0x011):
        assert packets.make_refusal(sent(client, vip, 6, wire.tcp_segment(client, vip, 1000, 80, b"", flags))) is None
    frame = sent(client, vip, 17, wire.udp_datagram(client, vip, 1000, 53, bytes(5000)[:1400]))
    error = packets.make_refusal(frame)
    assert error is not None and error[at : at + 2] == (b"\x03\x0d" if client.version == 4 else b"\x01\x01")
    pseudo = b"" if client.version == 4 else wire.pseudo(vip, client, 58, error[at:])
    assert wire.checksum(pseudo + error[at:]) == 0 and frame[14:].startswith(error[at + 8 :])
    assert len(error) - 14 <= (576 if client.version == 4 else 1280)
    assert packets.make_refusal(error) is None, "no error about an error"


@pytest.mark.parametrize("family", [4, 6])
def test_what_came_to_several_or_from_none_is_not_answered(family: int) -> None:
    """RFC 1122, 3.2.2; RFC 4443, 2.4 (e): a group's MAC address as destination, a source that is no single host; but a
    first fragment is, and later ones are not.
    """
    client, vip = {4: (CLIENT4, VIP4), 6: (CLIENT6, VIP6)}[family]
    datagram = wire.udp_datagram(client, vip, 1000, 53, bytes(32))
    for kind, above in ((6, wire.tcp_segment(client, vip, 1000, 80, b"", 0x002)), (17, datagram)):
        packet = wire.ip(client, vip, kind, above)
        assert packets.make_refusal(wire.ethernet(family, packet)) is not None
        for group in (0xFFFFFFFFFFFF, 0x01005E000001, 0x333300000001):
            assert packets.make_refusal(wire.ethernet(family, packet, destination=group)) is None
    no_host = {4: ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"), 6: ("::", "::1", "ff02::1")}[family]
    for source in map(ip_address, no_host):
        datagram = wire.udp_datagram(source, vip, 1000, 53, b"")
        assert packets.make_refusal(sent(source, vip, 17, datagram)) is None, source
    first = packets.make_refusal(sent(client, vip, 17, datagram[:24], fragment=(7, 0, True)))
    assert first is not None and datagram[:24] in first, "with what it is about"
    assert packets.make_refusal(sent(client, vip, 17, datagram[24:], fragment=(7, 24, False))) is None
    segment = wire.tcp_segment(client, vip, 1000, 80, bytes(12), 0x002)
    assert packets.make_refusal(sent(client, vip, 6, segment[:24], fragment=(7, 0, True))) is None


@given(st.binary(max_size=200), st.integers(0, 80))
def test_any_bytes_are_refused_or_not(data: bytes, kept: int) -> None:
    """Nothing breaks it, and what it says goes to who sent."""
    frame = sent(CLIENT4, VIP4, 6, wire.tcp_segment(CLIENT4, VIP4, 1000, 80, b"", 0x002))[:kept] + data
    refused = packets.make_refusal(frame)
    assert refused is None or refused[:6] == frame[6:12]
