"""Redirection by IP address, MAC address and flow label, packet by packet (rows X1, X2, X3).

As `test_agent_packets`, whose hosts, ports and packets these are: every frame is compared byte by byte.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

import pytest

from portlb_app.agent import client, server
from portlb_app.agent.loader import Programs
from portlb_app.agent.locator import mac_prefix
from portlb_app.agent.mapping import ServerMapping
from tests.net.cases import Case, check
from tests.net.frames import (
    CONFIRM_FLAG,
    DROP,
    FAMILIES,
    FULL,
    IN,
    MSS,
    OUT,
    REDIRECT_FLAG,
    TIMESTAMPS,
    VIPS,
    Address,
    Family,
    Packet,
    Side,
    bare_option,
    icmp_error,
    option,
    quote,
)
from tests.net.network import ACK, CONFIRM, REDIRECT, RST
from tests.net.programs import Loaded

X = 22  # the redirect port; its application listens there
MAC, LABEL = bytes.fromhex("02000000010b"), 0x12345
SERVICE: dict[int, Address] = {4: ip_address("192.0.2.101"), 6: ip_address("fd00::101")}
OTHER: dict[int, Address] = {4: ip_address("192.0.2.102"), 6: ip_address("fd00::102")}
SERVICES = (ip_network("192.0.2.96/28"), ip_network("fd00::/64"))
MACS = (mac_prefix("02:00:00:00:01:00/40"),)
LINUX = MSS + TIMESTAMPS + bytes.fromhex("01030307")
"""As many bytes of options as a SYN/ACK of Linux has: 20."""


@dataclass(frozen=True)
class Named:
    """One kind of name, over one version of IP."""

    kind: str
    family: Family

    @property
    def heard(self) -> int:
        """Header bits of a client's packets once it has heard the server by this name."""
        return CONFIRM | REDIRECT if self.kind == "label" else 0

    def on_the_wire(self, sends: str, hears: str) -> Side:
        """The connection's packets as they are between the hosts, but for labels and MAC addresses."""
        vip = SERVICE[self.family.version] if self.kind == "address" else self.family.vip
        return Side(self.family._replace(vip=vip), sends, hears)

    def up(self, packet: Packet) -> Packet:
        """A client's packet to the name."""
        return self._dressed(packet, to=True)

    def down(self, packet: Packet) -> Packet:
        """A server's packet from the name."""
        return self._dressed(packet, to=False)

    def _dressed(self, packet: Packet, to: bool) -> Packet:
        frame = packet.frame
        if self.kind == "label":
            word = struct.unpack_from("!I", frame, 14)[0] & ~0xFFFFF | LABEL
            frame = frame[:14] + struct.pack("!I", word) + frame[18:]
        if self.kind == "mac":
            frame = MAC + frame[6:] if to else frame[:6] + MAC + frame[12:]
        return Packet(packet.hook, frame)

    def option(self, flags: int = CONFIRM_FLAG, name: bytes | None = None) -> bytes:
        """REDIRECT_OPT with the name, padded to 16 bytes."""
        version = self.family.version
        number, value = {
            "address": (2, SERVICE[4].packed) if version == 4 else (4, SERVICE[6].packed[8:]),
            "mac": (3, MAC),
            "label": (5, struct.pack("!I", LABEL)),
        }[self.kind]
        value = value if name is None else name
        found = struct.pack("!BBHBB", 253, 6 + len(value), 0x5250, flags << 4 | number, 0) + value
        return b"\1" * (16 - len(found)) + found


KINDS = [Named(kind, family) for family in FAMILIES for kind in ("address", "mac")] + [Named("label", FAMILIES[1])]


@pytest.fixture(params=KINDS, ids=lambda named: f"{named.kind} over IPv{named.family.version}")
def named(request: pytest.FixtureRequest) -> Named:
    """Every kind of name there is over each version of IP."""
    chosen: Named = request.param
    return chosen


@pytest.fixture
def client_programs(loaded: Loaded) -> Programs:
    """A client that may follow to all of them."""
    return loaded("client", client.settings(VIPS, services=SERVICES, macs=MACS))


BY_ADDRESS, (BY_LABEL,) = KINDS[::2][:2], KINDS[-1:]


@pytest.fixture
def server_programs(loaded: Loaded, named: Named) -> Programs:
    """A server that has a name of one kind."""
    family = named.family
    addresses = {SERVICE[family.version]: family.vip} if named.kind == "address" else {}
    mapping = ServerMapping(
        VIPS,
        locator_ports=frozenset({X}),
        service_addresses=addresses,
        service_mac=int.from_bytes(MAC, "big") if named.kind == "mac" else None,
        service_label=LABEL if named.kind == "label" else None,
    )
    return loaded("server", server.settings(mapping))


# --- the client -------------------------------------------------------------------------------------------------------


def test_x1_x2_x3_the_clients_side(client_programs: Programs, named: Named) -> None:
    """X1 X2 X3: a SYN/ACK that names the server binds; from the third packet on the wire has the name, and X stays."""
    c, wire = Side(named.family, OUT, IN), named.on_the_wire(OUT, IN)
    synack = c.synack(X, CONFIRM, options=LINUX + named.option())
    steps = [
        (c.syn(X), c.syn(X, REDIRECT), {"syn_marked": 1}),
        (synack, None, {"bound": 1}),
        (synack, None, {}),
        (c.from_client(X, ACK), named.up(wire.from_client(X, ACK | CONFIRM, options=option(X))), {}),
        (c.from_client(X, ACK, data=b"odd"), named.up(wire.from_client(X, ACK | CONFIRM, data=b"odd")), {}),
        (named.down(wire.from_server(X, ACK)), named.down(c.from_server(X, ACK)), {"confirmed": 1}),
        (named.down(wire.from_server(X, ACK, data=b"x")), named.down(c.from_server(X, ACK, data=b"x")), {}),
        (c.from_client(X, ACK, data=b"y"), named.up(wire.from_client(X, ACK | named.heard, data=b"y")), {}),
        (c.from_client(X, ACK, extra=8), named.up(wire.from_client(X, ACK | named.heard, extra=8)), {}),
    ]
    for number, (packet, out, counters) in enumerate(steps):
        check(client_programs, Case(str(number), packet, out, counters=counters))


def test_x1_x2_x3_what_the_client_refuses(client_programs: Programs, named: Named) -> None:
    """X1 X2 X3: another SYN/ACK, a reset that is no server's, names that are no service's, malformed options."""
    c, wire, version = Side(named.family, OUT, IN), named.on_the_wire(OUT, IN), named.family.version
    synack = c.synack(X, CONFIRM, options=named.option())
    other = {"address": OTHER[version].packed[-8:], "mac": b"\2\0\0\0\1\x0c", "label": struct.pack("!I", LABEL ^ 1)}
    foreign = {"address": ip_address("198.51.100.1").packed if version == 4 else None, "mac": b"\2\0\0\0\2\x0b"}
    bound = (c.syn(X), synack)
    reset = named.down(wire.from_server(X, RST | ACK))
    again = c.synack(X, CONFIRM, options=named.option(name=other[named.kind]))
    check(client_programs, Case("second", again, None, DROP, {"second_synack": 1}, bound))
    check(client_programs, Case("a middlebox", reset, None, DROP, {}, (c.syn(X, seq=77), c.synack(X, CONFIRM, ack=78,
          options=named.option()))))  # fmt: skip
    name = foreign.get(named.kind)
    if name is not None:
        unasked = c.synack(X, CONFIRM, ack=80, options=named.option(name=name))
        counters = {"foreign_name": 1, "unredirected": 1}
        check(client_programs, Case("foreign", unasked, counters=counters, before=(c.syn(X, seq=79),)))
    vip = {"address": named.family.vip.packed[-8:]}.get(named.kind)
    if vip is not None:
        itself = c.synack(X, CONFIRM, ack=82, options=named.option(name=vip))
        counters = {"foreign_name": 1, "unredirected": 1}
        check(client_programs, Case("the VIP itself", itself, counters=counters, before=(c.syn(X, seq=81),)))
    cut = c.synack(X, CONFIRM, ack=84, options=b"\1\1" + named.option(name=named.option()[10:][-2:])[-8:] + b"\1\1")
    check(client_programs, Case("cut", cut, counters={"bad_option": 1, "unredirected": 1}, before=(c.syn(X, seq=83),)))


def test_x3_a_label_has_twenty_bits_and_is_not_zero(client_programs: Programs) -> None:
    """X3: other values are malformed; over IPv4 there are no labels; and without header bits none is followed."""
    named = BY_LABEL
    c = Side(named.family, OUT, IN)
    for number, value in enumerate((0, 0x100000, 0xFFFFFFFF)):
        synack = c.synack(X, CONFIRM, ack=2 + number, options=named.option(name=struct.pack("!I", value)))
        counters = {"bad_option": 1, "unredirected": 1}
        check(client_programs, Case(str(value), synack, counters=counters, before=(c.syn(X, seq=1 + number),)))
    c = Side(FAMILIES[0], OUT, IN)
    synack = c.synack(X, CONFIRM, options=named.option())
    counters = {"foreign_name": 1, "unredirected": 1}
    check(client_programs, Case("over IPv4", synack, counters=counters, before=(c.syn(X),)))


def test_x1_x2_without_permission_nothing_is_followed(loaded: Loaded, named: Named) -> None:
    """X1 X2: a client that was not told which addresses are services' stays at the VIP; a label needs no permission."""
    programs = loaded("client", client.settings(VIPS))
    c = Side(named.family, OUT, IN)
    synack = c.synack(X, CONFIRM, options=named.option())
    is_label = named.kind == "label"
    counters = {"bound": 1} if is_label else {"foreign_name": 1, "unredirected": 1}
    check(programs, Case("SYN/ACK", synack, counters=counters, before=(c.syn(X),)))
    if not is_label:
        check(programs, Case("stays", c.from_client(X, ACK), c.from_client(X, ACK | REDIRECT)))


def test_x1_errors_quote_the_service_address(client_programs: Programs) -> None:
    """X1 I2: a router's error about a packet to the service address, and this host's about one from there."""
    for family in FAMILIES:
        named = Named("address", family)
        c, wire = Side(family, OUT, IN), named.on_the_wire(OUT, IN)
        synack = c.synack(X, CONFIRM, options=named.option())
        received = Packet(IN, icmp_error(family.router, family.client, quote(wire.from_client(X, ACK))))
        known = Packet(IN, icmp_error(family.router, family.client, quote(c.from_client(X, ACK))))
        heard = (c.syn(X), synack, wire.from_server(X, ACK))
        check(client_programs, Case("in", received, known, counters={"icmp_translated": 1}, before=heard))
        sent = Packet(OUT, icmp_error(family.client, family.vip, quote(c.from_server(X, ACK))))
        leaves = Packet(OUT, icmp_error(family.client, family.vip, quote(wire.from_server(X, ACK))))
        check(client_programs, Case("out", sent, leaves, counters={"icmp_translated": 1}))


def test_x1_other_hosts_of_a_services_network_are_left_alone(client_programs: Programs) -> None:
    """X1: addresses that are no connection's, in a network that may be followed to, pass as they are, both ways."""
    for family in FAMILIES:
        stranger = Side(family._replace(vip=OTHER[family.version]), OUT, IN)
        for packet in (stranger.syn(X), stranger.synack(X), stranger.from_client(X, ACK), stranger.from_server(X, ACK)):
            check(client_programs, Case("stranger", packet))


def test_x1_a_new_connection_forgets_the_old_service_address(client_programs: Programs) -> None:
    """X1: from the same client port, bound to another server: what still comes from the first one's address passes."""
    for family in FAMILIES:
        named = Named("address", family)
        c, wire, name = Side(family, OUT, IN), named.on_the_wire(OUT, IN), OTHER[family.version].packed[-8:]
        again = c.synack(X, CONFIRM, ack=78, options=named.option(name=name))
        bound = (c.syn(X), c.synack(X, CONFIRM, options=named.option()), c.syn(X, seq=77))
        check(client_programs, Case("the second binds", again, counters={"bound": 1}, before=bound))
        check(client_programs, Case("the first is gone", wire.from_server(X, ACK, data=b"x")))
        other = Side(family._replace(vip=OTHER[family.version]), OUT, IN)
        heard = Case("the second speaks", other.from_server(X, ACK), c.from_server(X, ACK), counters={"confirmed": 1})
        check(client_programs, heard)


# --- the server -------------------------------------------------------------------------------------------------------


def test_x1_x2_x3_the_servers_side(server_programs: Programs, named: Named) -> None:
    """X1 X2 X3: the SYN/ACK names the server; what comes to the name reaches the program, which answers from it."""
    s, wire = Side(named.family, IN, OUT), named.on_the_wire(IN, OUT)
    third = named.up(wire.from_client(X, ACK | CONFIRM, options=option(X)))
    reset = named.down(wire.from_server(X, RST | ACK | CONFIRM, options=bare_option(CONFIRM_FLAG)))
    steps = [
        (s.syn(X, REDIRECT), None, {"syn_redirect": 1}),
        (s.synack(X, options=LINUX), s.synack(X, CONFIRM, options=LINUX + named.option()), {"announced": 1}),
        (third, named.up(s.from_client(X, ACK | CONFIRM, options=option(X))), {"redirected": 1}),
        (s.from_server(X, RST | ACK), reset, {}),
        (s.from_server(X, ACK, data=b"odd"), named.down(wire.from_server(X, ACK, data=b"odd")), {}),
        (named.up(wire.from_client(X, ACK | named.heard, data=b"x")),
         named.up(s.from_client(X, ACK | named.heard, data=b"x")), {}),
        (s.from_server(X, RST | ACK), named.down(wire.from_server(X, RST | ACK)), {}),
    ]  # fmt: skip
    for number, (packet, out, counters) in enumerate(steps):
        check(server_programs, Case(str(number), packet, out, counters=counters))


def test_x1_x2_x3_the_server_keeps_both_ways_open(server_programs: Programs, named: Named) -> None:
    """X1 X2 X3: a client that goes on at the VIP is answered there; a plain one, and one without room, are as ever."""
    s, wire = Side(named.family, IN, OUT), named.on_the_wire(IN, OUT)
    opened = (s.syn(X, REDIRECT), s.synack(X))
    check(server_programs, Case("stays", s.from_client(X, ACK | REDIRECT), counters={"stayed": 1}, before=opened))
    check(server_programs, Case("answered there", s.from_server(X, ACK, data=b"x")))
    plain = Side(named.family, IN, OUT, cport=40001)
    check(server_programs, Case("plain", plain.synack(X, options=MSS), before=(plain.syn(X),)))
    full = Side(named.family, IN, OUT, cport=40002)
    no_room = Case("full", full.synack(X, options=FULL[4:]), full.synack(X, CONFIRM, options=FULL[4:]),
                   counters={"no_room": 1}, before=(full.syn(X, REDIRECT),))  # fmt: skip
    check(server_programs, no_room)
    if named.kind == "address":
        direct = Side(named.family._replace(vip=wire._vip), IN, OUT, cport=40003)
        vip = Side(named.family, IN, OUT, cport=40003)
        check(server_programs, Case("to the name", direct.syn(X), vip.syn(X)))
        check(server_programs, Case("from the name", vip.synack(X), direct.synack(X)))


@pytest.mark.parametrize("named", [BY_LABEL], ids=["label"], indirect=True)
def test_x3_a_label_alone_is_nobodys(server_programs: Programs, named: Named) -> None:
    """X3: without CONFIRM a label is a plain packet's, and who asks by option alone is offered none."""
    s = Side(named.family, IN, OUT)
    opened = (s.syn(X, REDIRECT), s.synack(X))
    unconfirmed = named.up(s.from_client(X, ACK | REDIRECT))
    check(server_programs, Case("no CONFIRM", unconfirmed, counters={"stayed": 1}, before=opened))
    asks = Side(named.family, IN, OUT, cport=40001)
    answer = asks.synack(X, options=bare_option(CONFIRM_FLAG))
    check(server_programs, Case("by option", asks.synack(X), answer, counters={"supported": 1},
          before=(asks.syn(X, options=bare_option(REDIRECT_FLAG)),)))  # fmt: skip


@pytest.mark.parametrize("named", BY_ADDRESS, ids=["IPv4", "IPv6"], indirect=True)
def test_x1_errors_reach_the_program(server_programs: Programs, named: Named) -> None:
    """X1 I2: an error to the service address, about a packet from there, is one to the VIP about a packet of it."""
    family, name = named.family, SERVICE[named.family.version]
    s, wire = Side(family, IN, OUT), named.on_the_wire(IN, OUT)
    third = named.up(wire.from_client(X, ACK | CONFIRM))
    bound = (s.syn(X, REDIRECT), s.synack(X), third)
    received = Packet(IN, icmp_error(family.router, name, quote(wire.from_server(X, ACK))))
    known = Packet(IN, icmp_error(family.router, family.vip, quote(s.from_server(X, ACK))))
    check(server_programs, Case("in", received, known, counters={"icmp_translated": 1}, before=bound))
    by_client = Packet(IN, icmp_error(family.client, family.vip, quote(wire.from_server(X, ACK))))
    known = Packet(IN, icmp_error(family.client, family.vip, quote(s.from_server(X, ACK))))
    check(server_programs, Case("a client's", by_client, known, counters={"icmp_translated": 1}))
    sent = Packet(OUT, icmp_error(family.vip, family.client, quote(s.from_client(X, ACK))))
    leaves = Packet(OUT, icmp_error(family.vip, family.client, quote(wire.from_client(X, ACK))))
    check(server_programs, Case("out", sent, leaves, counters={"icmp_translated": 1}))
