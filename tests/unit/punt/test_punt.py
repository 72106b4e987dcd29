"""What is decided about packets a switch hands up is what `tests.reference` says; every one of them is counted."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from random import Random

import pytest

from portlb_app.compiler import compile as compile_config
from portlb_app.config import Address, Config, Rewrite, Switch, Vip, load
from portlb_app.net import packets
from portlb_app.openflow import (
    CONTROLLER,
    IN_PORT,
    Action,
    CheckLarger,
    Conntrack,
    Output,
    Resubmit,
    SetField,
    SwitchState,
    ToController,
    ToGroup,
)
from portlb_app.openflow.limits import LARGEST_FRAME
from portlb_app.pipeline import (
    COOKIE,
    FAMILIES,
    PUNT,
    PUNT_KEY,
    PUNTED,
    SIGNAL,
    SLOT,
    SLOT_GROUP,
    SLOTS,
    TOO_LARGE,
    Reason,
    load_slot,
    make_cookie,
    metered_reason,
    parse_slot,
    vip_number,
)
from portlb_app.punt.bounded_queue import CAPACITY, BoundedQueue
from portlb_app.punt.disposition import Disposition
from portlb_app.punt.fragment_tracker import WAIT_SECONDS
from portlb_app.punt.handlers import Punt, reason_of
from portlb_app.punt.packet import PacketIn, Send
from portlb_app.punt.read_batcher import LONGEST_PAUSE_SECONDS, PAUSE_SECONDS, ReadBatcher
from portlb_app.selection import slots
from portlb_app.topology.conditions import Conditions
from tests.support import generate, reference, trees, wire
from tests.support.reference import (
    ICMP,
    ICMPV6,
    SYN,
    TCP,
    UDP,
    All,
    AnyOf,
    Drop,
    Ip,
    Outcome,
    Packet,
    To,
    deliver,
    judge,
)

REASONS = {reason.name.lower(): reason for reason in PUNTED}
LATER = bytes(64)


def handed_up(config: Config, vip: Vip, reason: str, in_port: int, frame: bytes, port: int = 0) -> PacketIn:
    """A packet as the switch hands it up."""
    number = vip_number(vip.name)
    return PacketIn(make_cookie(REASONS[reason], number, port), in_port, frame)


def looked_up(state: SwitchState, actions: tuple[Action, ...], ip: Ip) -> tuple[Action, ...]:
    """The same actions, those of the table the packet is looked up in, too, in place of that."""
    if not isinstance(actions[-1], (Resubmit, Conntrack)):
        return actions
    registers = [(SLOT, action.value, None) for action in actions if isinstance(action, SetField)]
    address = FAMILIES[ip.destination.version].destination
    to = {("tcp_dst", ip.destination_port, None), (address, int(ip.destination), None)}
    (found,) = (
        flow
        for flow in state.flows
        if flow.table == actions[-1].table and to | set(registers) <= set(flow.match)
        and not {name for name, _, _ in flow.match} & {"ct_mark", "tcp_flags"}
    )
    return found.actions


def receivers(state: SwitchState, actions: tuple[Action, ...], ip: Ip) -> tuple[frozenset[int], bool]:
    """The ports that get a packet, and whether a group chooses one of them."""
    actions = looked_up(state, actions, ip)
    groups = [state.group_by_number[action.group] for action in actions if isinstance(action, ToGroup)]
    if groups:
        (group,) = groups
        leaves = [action for bucket in group.buckets for action in looked_up(state, bucket, ip)]
        return frozenset(action.port for action in leaves if isinstance(action, Output)), True
    assert all(isinstance(action, (Output, SetField)) for action in actions)
    return frozenset(action.port for action in actions if isinstance(action, Output)), False


def punt_for(config: Config) -> Punt:
    """A controller with a configuration, to which all switches are connected."""
    punt = Punt()
    punt.adopt(config)
    for switch in config.switches:
        punt.connected(switch.dpid)
    return punt


def agrees(config: Config, state: SwitchState, sends: tuple[Send, ...], outcome: Outcome, ip: Ip) -> bool:
    """Whether what is sent is what an outcome means; who is sent back what came in is on the network side."""
    switches = {switch.name: switch for switch in config.switches}
    port = {}
    for server in config.servers:
        switch = switches[server.connector.switch]
        one_armed = server.connector.port == switch.network
        port[server.name] = switch.dpid, IN_PORT if one_armed else server.connector.port
    found = [(send.dpid, *receivers(state, send.actions, ip)) for send in sends]
    got = frozenset((dpid, port) for dpid, ports, _ in found for port in ports)
    chosen = any(choice for _, _, choice in found)
    match outcome:
        case To(server):
            return got == {port[server]}
        case All(servers):
            return got == {port[name] for name in servers}
        case AnyOf(servers):
            ports = {port[name] for name in servers}
            return got == ports if chosen else len(got) == 1 and got <= ports
        case Drop():
            return not got
    return False


def later_fragment(frame: bytes) -> bytes:
    """A fragment that follows the first one in a frame, and ends the packet."""
    first = packets.parse_fragment(frame)
    assert first is not None
    where = (first.identifier, first.size, False)
    family = first.source.version
    return wire.ethernet(family, wire.ip(first.source, first.destination, first.protocol, LATER, fragment=where))


def rewritten(config: Config, vip: Vip, packet: Packet, reason: str, sends: tuple[Send, ...], frame: bytes) -> bool:
    """Whether every server gets a packet as it must see it, as far as the switch does not rewrite it."""
    ip = packet.payload
    assert isinstance(ip, Ip)
    if vip.rewrite is not Rewrite.ADDRESS or reason == "signal":
        return all(send.frame == frame for send in sends)
    own = {address for server in config.servers_of(vip) for address in server.addresses}
    if reason == "icmp_error" and ip.quoted is not None and ip.quoted[0] != ip.destination:
        return all(send.frame == frame for send in sends)
    if reason == "icmp_error":
        quotes = [packets.parse_quote(send.frame) for send in sends]
        return all(quote is not None and quote.source in own and quote.receiver == ip.destination for quote in quotes)
    if ip.protocol in (ICMP, ICMPV6):  # what `generate` puts into it depends on its addresses
        pieces = [packets.parse_fragment(send.frame) for send in sends]
        return all(piece is not None and piece.destination in own for piece in pieces)
    possible = {
        framed(replace(packet, payload=replace(ip, destination=address)))
        for address in own
        if address.version == ip.destination.version
    }
    return {send.frame for send in sends} <= possible


def framed(packet: Packet) -> bytes:
    """A packet on the wire with so much data that a first fragment is a multiple of 8 bytes."""
    assert isinstance(packet.payload, Ip)
    headers = {4: 34, 6: 62}[packet.payload.source.version]
    return generate.frame(packet, data=bytes(8 + -(len(generate.frame(packet, data=b"")) - headers) % 8))


def test_random_packets_get_what_the_reference_says() -> None:
    """Every random packet the switch hands up: who gets it, how it is rewritten, that it is counted once."""
    seen: Counter[tuple[str, str]] = Counter()
    for number in range(900):
        random = Random(f"punt/{number}")
        config = generate.configuration(random)
        punt, tables = punt_for(config), dict[str, SwitchState]()
        for switch in config.switches:
            for _ in range(40):
                packet = generate.packet(random, config, switch)
                outcome = deliver(config, switch, packet)
                if not isinstance(outcome, reference.Punted) or not isinstance(packet.payload, Ip):
                    continue
                if outcome.reason == "refused":
                    up = PacketIn(make_cookie(Reason.REFUSED), packet.in_port, framed(packet))
                    refused = [(send.dpid, send.actions) for send in punt.take(switch.dpid, up, 0.0)]
                    assert refused in ([], [(switch.dpid, (Output(packet.in_port),))])
                    seen[outcome.reason, str(bool(refused))] += 1
                    continue
                packet, outcome = generate.about_a_server(config, packet, outcome)
                vip = next(vip for vip in config.vips if vip.name == outcome.vip)
                what = f"{number}: {packet}\nwith {vip}"
                if outcome.reason.startswith("server"):
                    up = handed_up(config, vip, outcome.reason, packet.in_port, framed(packet))
                    sends = punt.take(switch.dpid, up, 0.0)
                    (send,) = sends
                    named = {name for server in config.servers_of(vip) for name in server.service_addresses}
                    assert _leaves(send, switch, packet.in_port, vip, packet.payload, named), what
                    seen[outcome.reason, "ToNetwork"] += 1
                    continue
                if packet.payload.fragment == "later":
                    continue
                wanted = judge(config, switch, vip, packet.payload)
                what += f"\nmeans {wanted}"
                version = packet.payload.source.version
                source = ip_address(random.getrandbits(32 if version == 4 else 128) | 1 << 24)
                if source.version != version:
                    continue
                first = replace(packet, payload=replace(packet.payload, source=source))
                frame = framed(first)
                up = handed_up(config, vip, outcome.reason, packet.in_port, frame, packet.payload.destination_port)
                before = sum(punt.counts.values())
                sends = punt.take(switch.dpid, up, 0.0)
                if outcome.reason == "signal":  # nothing else leads through tables or groups
                    tables = tables or compile_config(config)
                assert agrees(config, tables.get(switch.name, SwitchState()), sends, wanted, packet.payload), what
                assert rewritten(config, vip, first, outcome.reason, sends, frame), what
                assert all(send.in_port == packet.in_port for send in sends), what
                assert sum(punt.counts.values()) == before + 1, what
                if outcome.reason == "fragment":
                    after = punt.take(switch.dpid, replace(up, frame=later_fragment(frame)), 0.1)
                    assert [send.actions for send in after] == [send.actions for send in sends], what
                seen[outcome.reason, type(wanted).__name__] += 1
    for reason, kinds in (
        ("icmp_error", (To, All, AnyOf, Drop)),
        ("fragment", (To, AnyOf, Drop)),
        ("signal", (AnyOf, Drop)),
        ("server_icmp", (reference.ToNetwork,)),
        ("server_fragment", (reference.ToNetwork,)),
    ):
        assert all(seen[reason, kind.__name__] >= 3 for kind in kinds), seen


def test_entrances_give_packets_to_the_servers_own_switches() -> None:
    """Random trees: errors and fragments handed up at any entrance reach who gets them with one switch, at home."""
    seen: Counter[tuple[str, str]] = Counter()
    for number in range(400):
        random = Random(f"entrances/{number}")
        tree = trees.tree(random)
        (only,) = tree.single.switches
        entrances = [switch for switch in tree.spread.switches if switch.network is not None]
        punt = punt_for(tree.spread)
        for _ in range(40):
            packet = generate.packet(random, tree.single, only)
            outcome, ip = deliver(tree.single, only, packet), packet.payload
            if not isinstance(outcome, reference.Punted) or not isinstance(ip, Ip) or ip.fragment == "later":
                continue
            if outcome.reason not in ("icmp_error", "fragment"):
                continue
            vip = next(vip for vip in tree.single.vips if vip.name == outcome.vip)
            wanted = judge(tree.single, only, vip, ip)
            first = replace(packet, payload=replace(ip, source=_another(random, ip.source)))
            frame = framed(first)
            up = handed_up(tree.spread, vip, outcome.reason, packet.in_port, frame, ip.destination_port)
            sends = punt.take(random.choice(entrances).dpid, up, 0.0)
            what = f"{number}: {packet}\nmeans {wanted}\nwith {vip}"
            assert agrees(tree.spread, SwitchState(), sends, wanted, ip), what
            assert rewritten(tree.single, vip, first, outcome.reason, sends, frame), what
            if outcome.reason == "fragment":
                later = replace(up, frame=later_fragment(frame))
                after = punt.take(random.choice(entrances).dpid, later, 0.1)
                assert [send.actions for send in after] == [send.actions for send in sends], what
                assert [send.dpid for send in after] == [send.dpid for send in sends], what
            seen[outcome.reason, type(wanted).__name__] += 1
    for reason, kinds in (("icmp_error", (To, All, AnyOf, Drop)), ("fragment", (To, AnyOf, Drop))):
        assert all(seen[reason, kind.__name__] >= 3 for kind in kinds), seen


def _another(random: Random, address: Address) -> Address:
    """A random address of the same family, none of a special one."""
    if isinstance(address, IPv4Address):
        return IPv4Address(random.randrange(0x0B000000, 0x7F000000))
    return IPv6Address(0x2001 << 112 | random.getrandbits(64))


def test_a_server_whose_switch_is_away_gets_nothing() -> None:
    """And that is counted."""
    text = (Path(__file__).parents[3] / "flows/tree/lb.yaml").read_text()
    config = load(text.replace("default_server: d", "default_server: d\n    icmp: {errors: owner}"))
    punt = punt_for(config)
    up = handed_up(config, config.vips[0], "icmp_error", 1, error(2))
    (send,) = punt.take(1, up, 0.0)
    assert (send.dpid, send.in_port, send.actions) == (2, CONTROLLER, (Output(3),))
    punt.disconnected(2)
    assert punt.take(1, up, 0.0) == ()
    assert punt.counts == {(Reason.ICMP_ERROR, Disposition.SENT): 1, (Reason.ICMP_ERROR, Disposition.ABSENT): 1}
    punt.connected(2)
    cut = Conditions(links_down=frozenset(link for link in config.links if link.one.switch == "left"))
    punt.adopt(config, cut)
    assert punt.take(1, up, 0.0) == (), "no link leads there"


def _leaves(send: Send, switch: Switch, in_port: int, vip: Vip, ip: Ip, named: set[Address]) -> bool:
    """Whether a server's packet goes to the network, rewritten as far as no switch does it."""
    out = send.actions[-1]
    port_is_right = out == Output(IN_PORT if in_port == switch.network else switch.network)
    if ip.fragment != "no":
        fragment = packets.parse_fragment(send.frame)
        return port_is_right and fragment is not None and fragment.source in vip.addresses
    quote = packets.parse_quote(send.frame)
    is_named = ip.quoted is not None and ip.quoted[1] in named  # as it was on the wire
    return port_is_right and quote is not None and (is_named or quote.destination in vip.addresses)


def test_what_is_handed_up_has_a_meter() -> None:
    """And a size: PUNT alone hands up, by a meter of the reason; who leads there says why and looks at the size."""
    tried = 0
    for number in range(60):
        for state in compile_config(generate.configuration(Random(f"meter/{number}"))).values():
            up = [flow for flow in state.flows if {ToController(), ToGroup(SLOT_GROUP)} & set(flow.actions)]
            for flow in up:
                reason = reason_of(flow.cookie)
                assert reason is not None
                if flow.table == SIGNAL.number and reason is Reason.SIGNAL:  # only the group leads there
                    continue
                assert flow.table == (SIGNAL if reason is Reason.ASKED else PUNT).number
                meter = state.meter_by_number[flow.actions[0].meter]  # type: ignore[union-attr]
                assert metered_reason(meter.number) is reason and meter.rate == PUNTED[reason].rate
            punted = [flow for flow in state.flows if flow.table == PUNT.number]
            keys = {value for flow in punted for name, value, mask in flow.match if name == PUNT_KEY and mask is None}
            for flow in state.flows:
                for position, action in enumerate(flow.actions):
                    if isinstance(action, SetField) and action.name == PUNT_KEY:
                        assert action.value in keys
                        assert flow.actions[position + 1 :][:2] == (
                            CheckLarger(LARGEST_FRAME, TOO_LARGE),
                            Resubmit(PUNT.number),
                        )
            tried += len(up)
    assert tried > 100


TEXT = """
switches: {s1: {dpid: 1, network: 1}}
vips:
  web:
    address: 10.0.0.100
    mac: "02:00:00:00:00:64"
    default_server: d
    icmp: {errors: owner}
    fragments: track
    redirect_ports:
      20: {servers: [a, b, c], legacy: drop, signal: option}
      21: {servers: [a, b], legacy: owner, signal: option}
      30: {servers: []}
servers:
  a: {vip: web, connector: s1:2, service_ports: [21, {port: 1, application: 20}]}
  b: {vip: web, connector: s1:3, service_ports: [{port: 2, application: 20}, {port: 6, application: 21}]}
  c: {vip: web, connector: s1:4, service_ports: [{port: 3, application: 20}]}
  d: {vip: web, connector: s1:5, service_ports: [4]}
"""
CLIENT, ROUTER, VIP = IPv4Address("192.0.2.1"), IPv4Address("198.51.100.1"), IPv4Address("10.0.0.100")


class Desk:
    """The controller of TEXT, after some changes to it."""

    def __init__(self, *changes: tuple[str, str]) -> None:
        text = TEXT
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        self.config = load(text)
        self.punt = punt_for(self.config)

    def take(self, reason: str, frame: bytes, port: int = 0, now: float = 0.0) -> tuple[Send, ...]:
        return self.punt.take(1, handed_up(self.config, self.config.vips[0], reason, 1, frame, port), now)

    def who(self, reason: str, frame: bytes, port: int = 0, now: float = 0.0) -> str:
        """Who gets it: servers by their letters, G for a group."""
        actions = [action for send in self.take(reason, frame, port, now) for action in send.actions]
        return "".join(
            " abcd"[action.port - 1] if isinstance(action, Output) else "G" for action in actions
        )

    def counted(self, reason: str) -> dict[str, int]:
        counts = self.punt.counts.items()
        return {fate.value: count for (why, fate), count in counts if why is REASONS[reason] and count}


def error(port: int, protocol: int = TCP) -> bytes:
    """A router's error about a packet from a port of the VIP: 8 quoted bytes."""
    packet = wire.ip(VIP, CLIENT, protocol, struct.pack("!HHI", port, 40000, 7))
    return wire.ethernet(4, wire.ip(ROUTER, VIP, ICMP, wire.icmp_error(ROUTER, VIP, 3, packet, 1400)))


def test_i2_i3_an_error_reaches_who_owns_the_quoted_port() -> None:
    """I2: a service port, TCP, UDP and SCTP. I3: a redirect port is its owner's as a service port, or its pool's."""
    desk = Desk()
    assert [desk.who("icmp_error", error(port)) for port in (1, 2, 3, 4, 21)] == ["a", "b", "c", "d", "a"]
    assert [desk.who("icmp_error", error(2, protocol)) for protocol in (UDP, 132)] == ["b", "b"]
    assert desk.who("icmp_error", error(20)) == "abc"
    assert desk.who("icmp_error", error(30)) == ""
    assert desk.counted("icmp_error") == {"sent": 8, "dropped": 1}


@pytest.mark.parametrize(
    ("changes", "gets"),
    [
        ((), "d"),
        ((("errors: owner", "errors: owner, unknown: drop"),), ""),
        ((("errors: owner", "errors: owner, unknown: default"),), "d"),
        ((("default_server: d", ""),), ""),
    ],
)
def test_i3_an_error_about_a_port_of_nobody(changes: tuple[tuple[str, str], ...], gets: str) -> None:
    """I3: dropped or to the default server, which may talk from such ports."""
    desk = Desk(*changes)
    assert desk.who("icmp_error", error(999)) == gets
    assert desk.who("icmp_error", error(0, protocol=47)) == gets, "a protocol without ports"
    assert desk.counted("icmp_error") == {"unknown": 2}


def test_i3_an_error_about_a_port_of_nobody_reaches_any_server() -> None:
    """I3: one, the same for all errors about one connection."""
    desk = Desk(("errors: owner", "errors: owner, unknown: any"))
    for port in range(900, 950):
        assert len({desk.who("icmp_error", error(port)) for _ in range(3)}) == 1
    assert {desk.who("icmp_error", error(port)) for port in range(900, 950)} == set("abcd")


def test_a_redirect_ports_error_reaches_the_default_server_where_that_serves_plain_clients() -> None:
    desk = Desk(("legacy: drop, signal: option", "legacy: default"))
    assert desk.who("icmp_error", error(20)) == "abcd"


def test_errors_that_cannot_be_about_us_are_dropped() -> None:
    """Quotes of packets the VIP did not send, errors about errors, cut ones."""
    desk = Desk()
    packet = wire.ip(CLIENT, VIP, TCP, struct.pack("!HHI", 1, 1, 7))
    foreign = wire.ethernet(4, wire.ip(ROUTER, VIP, ICMP, wire.icmp_error(ROUTER, VIP, 3, packet)))
    nested = wire.ip(VIP, CLIENT, ICMP, bytes((3, 0)) + bytes(30))
    about_error = wire.ethernet(4, wire.ip(ROUTER, VIP, ICMP, wire.icmp_error(ROUTER, VIP, 3, nested)))
    for frame in (foreign, about_error, error(1)[:-1], b""):
        assert desk.who("icmp_error", frame) == ""
    assert desk.counted("icmp_error") == {"malformed": 4}


def syn(port: int, options: bytes = b"", flags: int = SYN) -> bytes:
    return wire.ethernet(4, wire.ip(CLIENT, VIP, TCP, wire.tcp_segment(CLIENT, VIP, 40000, port, b"", flags, options)))


def test_a_syn_that_asks_by_its_option_goes_through_the_pool() -> None:
    """Through its group, so that it has the slot the switch would choose; an option of another kind does not ask."""
    desk = Desk()
    assert desk.who("signal", syn(20, generate.ASKS), 20) == "G"
    assert desk.who("signal", syn(21, generate.ASKS), 21) == "G"
    assert desk.who("signal", syn(21, bytes.fromhex("0101fd0652510800")[:8]), 21) == "a"
    assert desk.who("signal", syn(21, bytes.fromhex("0101fd0652507000")), 21) == "a", "asks for nothing"
    assert desk.counted("signal") == {"sent": 4}


def test_a_syn_goes_where_the_row_that_came_up_with_it_says() -> None:
    """And a plain one, where plain clients follow the slots; not where somebody else gets them."""
    for port, names in ((20, ("a", "b", "c")), (21, ("a", "b"))):
        desk = Desk(("legacy: drop", "legacy: balance"))
        vip = desk.config.vips[0]
        for slot in range(SLOTS):
            for options in (generate.ASKS, b""):
                up = handed_up(desk.config, vip, "signal", 1, syn(port, options), port)
                (send,) = desk.punt.take(1, replace(up, slot=slot), 0)
                wanted = slots(names)[slot] if options or port == 20 else "a"
                assert send.actions == (Output({"a": 2, "b": 3, "c": 4}[wanted]),)


def test_a_row_that_is_none_is_none() -> None:
    assert [parse_slot(register) for register in (0, 1, SLOTS, SLOTS + 1, 1 << 31)] == [None, 0, SLOTS - 1, None, None]
    assert [load_slot(slot) for slot in (0, SLOTS - 1)] == [SetField(SLOT, 1), SetField(SLOT, SLOTS)]


def test_a_syn_that_does_not_ask_is_a_plain_clients() -> None:
    """E3, E4: at once, by the port's policy."""
    desk = Desk()
    assert desk.who("signal", syn(20), 20) == ""
    assert desk.who("signal", syn(21), 21) == "a"
    assert desk.who("signal", syn(20, flags=0x012), 20) == ""
    assert desk.who("signal", syn(20)[:-2], 20) == ""
    assert desk.counted("signal") == {"dropped": 1, "sent": 1, "malformed": 2}


def datagram(port: int, identifier: int = 7, source: IPv4Address = CLIENT) -> list[bytes]:
    """A datagram of 4 kB to a port of the VIP, in three fragments."""
    whole = wire.udp_datagram(source, VIP, 40000, port, bytes(4000))
    frames = []
    for at in range(0, len(whole), 1480):
        where = (identifier, at, at + 1480 < len(whole))
        frames.append(wire.ethernet(4, wire.ip(source, VIP, UDP, whole[at : at + 1480], fragment=where)))
    return frames


@pytest.mark.parametrize("port", [1, 2, 3, 4, 20])
@pytest.mark.parametrize("order", ["forwards", "backwards", "odd"])
def test_f1_fragments_follow_their_first(port: int, order: str) -> None:
    """F1: in any order, each once and unchanged, to the owner, or to one server of the pool."""
    desk, frames = Desk(), datagram(port)
    arriving = {"forwards": frames, "backwards": frames[::-1], "odd": [frames[1], frames[0], frames[2]]}[order]
    sends = [send for frame in arriving for send in desk.take("fragment", frame)]
    assert sorted(send.frame for send in sends) == sorted(frames)
    (actions,) = {send.actions for send in sends}
    (action,) = actions
    assert isinstance(action, Output)
    assert action.port in {1: (2,), 2: (3,), 3: (4,), 4: (5,), 20: (2, 3, 4)}[port]
    assert desk.counted("fragment") == {"sent": 3}
    assert desk.punt.waiting_bytes == 0


def test_f1_datagrams_to_a_redirect_port_spread_and_stay() -> None:
    """All of one sender's to one server; all servers get some senders'."""
    desk = Desk()
    found = set()
    for client in range(60):
        source = IPv4Address(0x0B000000 + client)
        got = {desk.who("fragment", datagram(20, identifier=number, source=source)[0]) for number in range(3)}
        assert len(got) == 1
        found |= got
    assert found == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("changes", "gets"),
    [((), [5, 5]), ((("track", "track\n    unknown_fragments: drop"),), []), ((("default_server: d", ""),), [])],
)
def test_f2_a_fragment_whose_first_does_not_come(changes: tuple[tuple[str, str], ...], gets: list[int]) -> None:
    """F2: to the default server after a second, or dropped."""
    desk, frames = Desk(*changes), datagram(1)
    assert desk.take("fragment", frames[1]) == desk.take("fragment", frames[2]) == ()
    assert list(desk.punt.expire(WAIT_SECONDS / 2)) == []
    sends = list(desk.punt.expire(WAIT_SECONDS))
    assert [action.port for send in sends for action in send.actions if isinstance(action, Output)] == gets
    assert desk.counted("fragment") == {"unknown": 2}


def test_tcp_fragments() -> None:
    """To a service port as any; to a redirect port a SYN starts on one server, the middle of a connection on none."""

    def first(port: int, flags: int) -> bytes:
        segment = wire.tcp_segment(CLIENT, VIP, 40000, port, bytes(28), flags)
        return wire.ethernet(4, wire.ip(CLIENT, VIP, TCP, segment[:32], fragment=(flags, 0, True)))

    desk = Desk()
    assert [desk.who("fragment", first(port, 0x018)) for port in (1, 2)] == ["a", "b"]
    assert desk.who("fragment", first(20, 0x802)) in ("a", "b", "c")
    assert desk.who("fragment", first(20, 0x002)) == "", "a plain client, whom the port drops"
    assert desk.who("fragment", first(20, 0x818)) == ""
    assert desk.who("fragment", first(21, 0x018)) == "a", "a plain client's, whom the owner serves"
    assert desk.who("fragment", first(9999, 0x018)) == "d"


def test_fragments_that_no_host_would_take_are_dropped() -> None:
    desk = Desk()
    whole = wire.ethernet(4, wire.ip(CLIENT, VIP, UDP, bytes(8)))
    for frame in (whole, datagram(1)[0][:60], b""):
        assert desk.who("fragment", frame) == ""
    assert desk.counted("fragment") == {"malformed": 3}


def test_what_nobody_configured_is_dropped_and_counted() -> None:
    """A switch or a VIP that is gone from the configuration; a cookie that hands nothing up is not even counted."""
    desk = Desk()
    up = handed_up(desk.config, desk.config.vips[0], "icmp_error", 1, error(1))
    assert desk.punt.take(2, up, 0) == ()
    assert desk.punt.take(1, replace(up, cookie=make_cookie(Reason.ICMP_ERROR, 1)), 0) == ()
    assert desk.counted("icmp_error") == {"unknown": 2}
    for number in (0, COOKIE, make_cookie(Reason.SERVICE, 1), 0xFF << 40 | COOKIE, (1 << 64) - 1):
        assert desk.punt.take(1, replace(up, cookie=number), 0) == ()
        desk.punt.count_lost(number)
        desk.punt.count_unreadable(number)
    assert desk.counted("icmp_error") == {"unknown": 2}
    desk.punt.count_lost(up.cookie)
    desk.punt.count_unreadable(up.cookie)
    assert desk.counted("icmp_error") == {"unknown": 2, "queue": 1, "malformed": 1}


def test_another_configuration_judges_at_once() -> None:
    """And remembers no verdict of the one before."""
    desk, frames = Desk(), datagram(1)
    assert desk.who("fragment", frames[0]) == "a"
    desk.punt.adopt(load(TEXT.replace("{port: 1, app", "{port: 9, app")))
    assert desk.who("fragment", frames[1]) == ""
    assert desk.who("icmp_error", error(9)) == "a"


def test_another_configuration_is_adopted_a_few_switches_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then the one before judges; one that comes meanwhile begins anew."""
    monkeypatch.setattr("portlb_app.punt.vip_index.SWITCHES_AT_ONCE", 1)
    text = (Path(__file__).parents[3] / "flows/tree/lb.yaml").read_text()
    before, after, last = (load(text.replace("default_server: d", f"default_server: {each}")) for each in "dcb")
    punt = punt_for(before)
    for config in (after, last):
        assert not punt.adopt_more(config)
    assert [punt.adopt_more(last) for _ in before.switches] == [False, True, True]
    assert punt._vips.on(1)[0].vip.default_server == "b"


def test_a_backlog_is_bounded_and_fair() -> None:
    """A flood of one reason: its own surplus is lost, and the others come up by turns."""
    backlog: BoundedQueue[int] = BoundedQueue()
    assert sum(backlog.put(Reason.FRAGMENT, number) for number in range(2 * CAPACITY)) == CAPACITY
    assert backlog.put(Reason.ICMP_ERROR, -1) and backlog.put(Reason.SIGNAL, -2)
    taken = backlog.take(8)
    assert set(taken[:3]) == {0, -1, -2} and taken[3:] == [1, 2, 3, 4, 5]
    rest = []
    while more := backlog.take(7):
        rest += more
    assert rest == list(range(6, CAPACITY))


def test_what_is_handed_up_is_gathered() -> None:
    """The longer the more it is, told once; not while an answer is awaited, nor while more waits to be read."""
    gathering = ReadBatcher()

    def pause(came: int, more: bool = False, awaited: bool = False) -> float:
        for _ in range(came):
            gathering.add()
        return gathering.pause(more, awaited)

    assert [pause(came) for came in (0, 1, 3, 0)] == [0.0, PAUSE_SECONDS, 3 * PAUSE_SECONDS, 0.0]
    assert pause(200) == LONGEST_PAUSE_SECONDS
    assert pause(5, more=True) == pause(5, awaited=True) == pause(0) == 0.0


def test_any_bytes_are_survived() -> None:
    """Damaged packets of every kind: something, or nothing, is sent, and each is counted once."""
    desk, dice = Desk(), Random(3)
    good = [("icmp_error", error(1)), ("signal", syn(20, generate.ASKS)), ("fragment", datagram(1)[0])]
    total = 0
    for _ in range(4000):
        reason, frame = dice.choice(good)
        changed = bytearray(frame[: dice.randrange(14, len(frame) + 1)])
        for _ in range(dice.randint(0, 3)):
            changed[dice.randrange(len(changed))] = dice.randrange(256)
        for send in desk.take(reason, bytes(changed), 20):
            assert send.actions and send.frame == bytes(changed)
        total += 1
    list(desk.punt.expire(10))
    assert sum(desk.punt.counts.values()) == total


def test_a_switch_as_the_reference_sees_it() -> None:
    """The reference hands up what the compiler hands up, in TEXT."""
    config = load(TEXT)
    switch: Switch = config.switches[0]
    packet = Packet(1, generate.CLIENT_MAC, Ip(CLIENT, VIP, TCP, destination_port=20, tcp_flags=SYN))
    assert deliver(config, switch, packet) == reference.Punted("signal", "web")
