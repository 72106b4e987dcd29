"""What is sent to a real switch is what is read back from it, for every kind of match, action and group."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from ryu.ofproto import ofproto_v1_5 as ofp
from ryu.ofproto import ofproto_v1_5_parser as parser

from portlb_app.openflow import (
    FIELDS,
    IN_PORT,
    LOCAL,
    CheckLarger,
    Conntrack,
    CopyField,
    CopyToController,
    Flow,
    Goto,
    Group,
    Learn,
    Meter,
    Opaque,
    Output,
    PopVlan,
    Resubmit,
    Selection,
    SetField,
    SetQueue,
    SwitchState,
    ToController,
    ToGroup,
    ToMeter,
    match,
    messages,
)
from portlb_app.pipeline import COOKIE, METER_SIGNATURE, METERS, SELECTION, answer_arp, answer_nd, pool_group
from portlb_app.punt.packet import PacketIn
from portlb_app.reconcile.plan import Plan, Step, diff
from portlb_app.southbound import codec
from tests.ovs.switch import Switch
from tests.support import ryu_messages

SECONDS = 10
GROUPS = pool_group(0, 0, version=4)
METER = METERS


def refused_step(step: Step, error: messages.ErrorMessage) -> str:
    """One line about a step that a switch refused."""
    return f"{step.verb} {step.noun} {step.what}: {codec.error_name(error)}"


class Wire:
    """A blocking OpenFlow 1.5 connection to a bridge, with nothing but Ryu's message classes and `codec` on it."""

    datapath = SimpleNamespace(ofproto=ofp, ofproto_parser=parser)

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(SECONDS)
        self._socket.connect(path)
        self._stream = self._socket.makefile("rb")
        self._xid = 0
        self.send(parser.OFPHello(self.datapath))
        self.receive()

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def send(self, message: Any) -> int:
        self._xid += 1
        message.set_xid(self._xid)
        message.serialize()
        self._socket.sendall(message.buf)
        return self._xid

    def raw(self) -> bytes:
        """The next message, undecoded."""
        header = self._stream.read(8)
        return header + self._stream.read(int.from_bytes(header[2:4], "big") - 8)

    def raw_send(self, message: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(message)

    def send_step(self, step: Step, bundle: int | None) -> int:
        """Send what does a step, by itself or added to a bundle; its xid. Ryu's classes make the same bytes."""
        self._xid += 1
        made = codec.messages([step], self._xid, bundle)
        assert made == ryu_messages.messages([step], self._xid, bundle)
        self.raw_send(made)
        return self._xid

    def receive(self) -> Any:
        body = self.raw()
        return None if body[1] == messages.HELLO else messages.answer(body)

    def entries(self, request: Any) -> Iterator[messages.RawEntry]:
        self.send(request)
        while True:
            reply = self.receive()
            yield from entries(reply.data)
            if not reply.flags & messages.MORE:
                return

    def read(self) -> SwitchState:
        flows = map(codec.decode_flow, self.entries(codec.flows_request(self.datapath)))
        groups = codec.our_groups(self.entries(codec.groups_request(self.datapath)))
        meters = codec.our_meters(self.entries(codec.meters_request(self.datapath)))
        return SwitchState(frozenset(flows), frozenset(groups), frozenset(meters))

    def converge(self, desired: SwitchState) -> list[str]:
        """Bring the switch from what it holds to what it shall hold; the errors it answered with."""
        plan = diff(self.read(), desired)
        return self.tell(plan.before) + self.apply(plan.bundle) + self.tell(plan.after)

    def tell(self, steps: Iterable[Step]) -> list[str]:
        """Send steps one by one; the errors the switch answered with."""
        sent = {self.send_step(step, None): step for step in steps}
        barrier = self.send(parser.OFPBarrierRequest(self.datapath))
        errors = []
        while (reply := self.receive()).xid != barrier:
            errors.append(refused_step(sent[reply.xid], reply))
        return errors

    def apply(self, steps: Iterable[Step]) -> list[str]:
        """Apply steps in a bundle; the errors the switch answered with."""
        self.send(codec.bundle_control(self.datapath, 1, ofp.OFPBCT_OPEN_REQUEST))
        sent = {self.send_step(step, 1): step for step in steps}
        commit = self.send(codec.bundle_control(self.datapath, 1, ofp.OFPBCT_COMMIT_REQUEST))
        errors = []
        while True:
            reply = self.receive()
            if isinstance(reply, messages.ErrorMessage) and reply.xid in sent:
                errors.append(refused_step(sent[reply.xid], reply))
            elif isinstance(reply, messages.ErrorMessage):
                errors.append(codec.error_name(reply))
            if reply.xid == commit:
                return errors


@pytest.fixture
def bridge(switch: Switch) -> Iterator[str]:
    switch.add_bridge("wire", 0xAA, {"w1": 1, "w2": 2})
    yield "wire"
    switch.delete_bridge("wire")


@pytest.fixture
def wire(switch: Switch, bridge: str) -> Iterator[Wire]:
    wire = Wire(str(switch.management(bridge)))
    yield wire
    wire.close()


IP = {"eth_type": 0x0800}
TCP = IP | {"ip_proto": 6}
UDP = IP | {"ip_proto": 17}
ARP = {"eth_type": 0x0806}
IP6 = {"eth_type": 0x86DD}
SOLICITATION = IP6 | {"ip_proto": 58, "icmpv6_type": 135}
ADVERTISEMENT = IP6 | {"ip_proto": 58, "icmpv6_type": 136}
SCTP6 = IP6 | {"ip_proto": 132}
PREREQUISITES: dict[str, dict[str, int]] = {
    "ip_proto": IP,
    "ip_src": IP,
    "ip_dst": IP,
    "ip_dscp": IP,
    "nw_ttl": IP6,
    "ip_frag": IP,
    "tcp_src": TCP,
    "tcp_dst": TCP,
    "tcp_flags": TCP,
    "udp_src": UDP,
    "udp_dst": UDP,
    "icmp_type": IP | {"ip_proto": 1},
    "ipv6_src": IP6,
    "ipv6_dst": IP6,
    "ipv6_label": IP6,
    "sctp_src": IP | {"ip_proto": 132},
    "sctp_dst": IP6 | {"ip_proto": 132},
    "icmpv6_type": IP6 | {"ip_proto": 58},
    "nd_target": SOLICITATION,
    "nd_sll": SOLICITATION,
    "nd_tll": ADVERTISEMENT,
    "nd_reserved": SOLICITATION,
    "nd_options_type": SOLICITATION,
    "arp_op": ARP,
    "arp_spa": ARP,
    "arp_tpa": ARP,
    "arp_sha": ARP,
    "arp_tha": ARP,
}
NOT_MASKED = {"in_port", "eth_type", "ip_proto", "ip_dscp", "icmp_type", "icmpv6_type", "arp_op"}
NOT_MASKED |= {"nd_reserved", "nd_options_type", "nw_ttl"}
VALUES = {"in_port": 2, "eth_type": 0x0800, "ip_proto": 6, "ip_frag": 1, "arp_op": 2}


def flow(number: int, *actions: Any, **fields: Any) -> Flow:
    return Flow(number, 100, match(**fields), actions, COOKIE | 1 << 40 | number, "test")


def every_field() -> Iterator[Flow]:
    for number, (name, field) in enumerate(FIELDS.items()):
        value = VALUES.get(name, 0x5A5A5A5A5A5A & ((1 << field.bits) - 1))
        yield flow(number, **PREREQUISITES.get(name, {}) | {name: value})
        if name not in NOT_MASKED:
            mask = 3 << (field.bits - 2) | 1
            yield flow(100 + number, **PREREQUISITES.get(name, {}) | {name: (value & mask, mask)})


def every_frag() -> Iterator[Flow]:
    for number, pair in enumerate([(0, 3), (1, 1), (1, 3), (3, 3), (0, 2)]):
        yield flow(number, ip_frag=pair, **IP)


def every_action() -> Iterator[Flow]:
    mac = 0x020000000064
    yield flow(0)
    yield flow(1, Output(1))
    yield flow(2, Output(IN_PORT))
    yield flow(3, Goto(200))
    yield flow(4, SetField("reg0", 7), Goto(9))
    yield flow(5, *answer_arp(mac, 0x0A000001), Output(IN_PORT), **ARP)
    yield flow(10, *answer_nd(mac, 0xFD << 120 | 1), Output(IN_PORT), **SOLICITATION)
    yield flow(11, SetField("eth_dst", mac), SetField("ipv6_dst", 0xFD << 120 | 1), SetField("sctp_dst", 80), **SCTP6)
    yield flow(12, SetField("ipv6_src", 1), SetField("sctp_src", 1 << 15), Output(2), **SCTP6)
    yield flow(6, SetField("eth_dst", mac), SetField("ip_dst", 0x0A000001), SetField("tcp_dst", 80), Output(2), **TCP)
    yield flow(7, SetField("ip_src", 0x0A000001), SetField("udp_src", 53), Output(2), **UDP)
    yield flow(8, CopyField("eth_src", "eth_dst"), CopyField("arp_spa", "arp_tpa"), Goto(10), **ARP)
    yield flow(9, ToGroup(GROUPS + 3))
    yield flow(19, SetField("ip_dscp", 46), SetQueue(7), Output(1), **IP)
    yield flow(20, ToMeter(METER + 256), SetField("ip_dscp", 63), SetQueue(0), Output(1), **IP6)
    yield flow(10, ToMeter(METER + 1), ToController())
    yield flow(11, ToController(), **TCP)
    yield flow(12, Conntrack(0x504C, 30), **IP)
    yield flow(14, SetField("nw_ttl", 64), Conntrack(0x6FFF), Output(1), **TCP)
    yield flow(15, Conntrack(0x6000, mark=0xFFFFFFFF), Output(1), **IP6 | {"ip_proto": 6})
    yield flow(24, PopVlan(), Resubmit(0), vlan_vid=0x1000)
    yield flow(13, Resubmit(70), Output(LOCAL))
    yield flow(21, Output(1), reg1=4, reg2=5)
    yield flow(23, Output(1), reg0=3, reg2=5)
    yield flow(24, SetField("reg3", 1), CheckLarger(9234, 31), Resubmit(110), reg3=5)
    yield flow(25, CheckLarger(65535, 0), reg3=(1 << 31, 1 << 31))
    to_port = (("ip_proto", 6), ("tcp_dst", 22))
    for number, fields in ((26, (("eth_type", 0x0800), ("ip_dst", 1))), (27, (("eth_type", 0x86DD), ("ipv6_dst", 1)))):
        yield flow(number, Learn(52, 2, 100, 1 << 63, (*fields, *to_port), "reg1", number), **TCP)
    yield flow(22, SetField("reg2", 1), Output(1), reg2=0xFFFFFFFF)
    yield flow(16, CopyToController(METER + 1), CopyToController(METER + 255), Output(1), Goto(200), **TCP)


def every_group() -> Iterator[Group]:
    yield Group(GROUPS, "all", ())
    yield Group(GROUPS + 1, "all", ((Output(1),), (SetField("eth_dst", 5), Output(2))))
    yield Group(GROUPS + 2, "select", ())
    yield Group(GROUPS + 5, "select", ((SetField("reg1", 1), Resubmit(64)),), Selection("dp_hash", 0))
    yield Group(GROUPS + 3, "select", ((Output(1),), (), (Output(2),)), Selection("dp_hash", 0))
    yield Group(GROUPS + 4, "select", ((Output(1),),), Selection("hash", 1 << 32 | 5))
    watched = ((Output(1),), (Output(2),), (Output(1),))
    yield Group(GROUPS + 6, "select", watched, Selection("dp_hash", 0), watched=(1, 0, 0xFEFF))
    buckets = tuple((SetField("eth_dst", number), Output(1 + number % 2)) for number in range(256))
    yield Group(pool_group(3, 80, version=6), "select", buckets, Selection("dp_hash", 0x504C0001))


def every_meter() -> Iterator[Meter]:
    yield Meter(METER, 1, 1)
    yield Meter(METER + 1, 500, 100)
    yield Meter(METER + 255, 1_000_000, 65536)
    yield Meter(METER + 256, 1_000_000, 65536, "kbps")


@pytest.mark.parametrize("flows", [every_field, every_action])
def test_flows_are_read_back_as_they_were_sent(
    switch: Switch, bridge: str, wire: Wire, flows: Callable[[], Iterator[Flow]]
) -> None:
    state = SwitchState(frozenset(flows()), frozenset(every_group()), frozenset(every_meter()))
    assert wire.converge(state) == []
    read = wire.read()
    assert read.meters == state.meters
    assert read.flows == state.flows
    assert read.groups == state.groups
    assert diff(read, state) == Plan()
    text = "\n".join(map(str, state.ordered_flows))
    assert switch.diff_flows(bridge, text) == ""


def test_every_kind_of_fragment_matches_its_text(switch: Switch, bridge: str, wire: Wire) -> None:
    """ovs-ofctl's diff-flows finds ``ip_frag=yes`` different from itself, so the text is installed and read back."""
    flows = frozenset(every_frag())
    switch.ofctl("add-flows", bridge, "-", text="\n".join(map(str, flows)))
    assert wire.read().flows == flows
    assert wire.apply([Step("delete", each) for each in flows]) == []
    assert wire.apply([Step("add", each) for each in flows]) == []
    assert wire.read().flows == flows


def test_groups_as_text_are_what_the_wire_sent(switch: Switch, bridge: str, wire: Wire) -> None:
    groups = list(every_group())
    switch.ofctl("add-groups", bridge, "-", text="\n".join(map(str, groups)))
    assert wire.read().groups == frozenset(groups)


def test_meters_as_text_are_what_the_wire_sent(switch: Switch, bridge: str, wire: Wire) -> None:
    for meter in every_meter():
        switch.ofctl("add-meter", bridge, str(meter))
    assert wire.read().meters == frozenset(every_meter())


def test_meters_change_and_leave_after_the_flows_that_use_them(wire: Wire) -> None:
    """Open vSwitch takes no meters in a bundle, and with a meter its flows leave: so the order of a plan is kept."""
    use = flow(1, ToMeter(METER), ToController())
    meters = frozenset({Meter(METER, 100, METER_SIGNATURE), Meter(METER + 1, 5, METER_SIGNATURE)})
    first = SwitchState(frozenset({use}), frozenset(), meters)
    assert wire.converge(first) == [] and wire.read() == first
    changed = replace(first, meters=frozenset({Meter(METER, 200, METER_SIGNATURE)}))
    assert wire.converge(changed) == [] and wire.read() == changed
    assert wire.converge(SwitchState()) == [] and wire.read() == SwitchState()
    error = wire.apply([Step("add", Meter(METER, 100, METER_SIGNATURE))])
    assert "OFPBFC_MSG_UNSUP" in error[0]
    (error, *_) = wire.tell([Step("modify", Meter(METER, 100, METER_SIGNATURE))])
    assert error.startswith(f"modify meter meter={METER},pktps,") and "OFPMMFC_UNKNOWN_METER" in error


@pytest.mark.parametrize(
    "text",
    [
        "kbps,stats,band=type=drop,rate=5",
        "pktps,band=type=drop,rate=5",
        "pktps,burst,stats,band=type=drop,rate=5,burst_size=5,type=drop,rate=9,burst_size=9",
    ],
)
def test_a_meter_we_do_not_know_differs_and_is_put_right(switch: Switch, bridge: str, wire: Wire, text: str) -> None:
    switch.ofctl("add-meter", bridge, f"meter={METER},{text}")
    (read,) = wire.read().meters
    assert read.opaque
    wanted = SwitchState(meters=frozenset({Meter(METER, 5, 5)}))
    assert wire.converge(wanted) == [] and wire.read() == wanted


def test_groups_and_meters_of_others_stay(switch: Switch, bridge: str, wire: Wire) -> None:
    """Also with numbers that are ours: what lacks our mark is not deleted, nor are foreign flows that use it."""
    groups = {0x12345678, GROUPS, 0x50000001, 0x65000000, 0x9FFFFFFF}
    for number in groups:
        switch.ofctl("add-group", bridge, f"group_id={number},type=all,bucket=actions=output:2")
    switch.ofctl("add-meter", bridge, f"meter={METER + 1},pktps,burst,stats,band=type=drop,rate=9,burst_size=9")
    switch.ofctl("add-flow", bridge, "cookie=0x99,table=150,actions=group:0x50000001")
    switch.ofctl("add-flow", bridge, f"cookie=0x98,table=150,priority=7,actions=meter:{METER + 1},output:2")
    ours = Group(GROUPS + 1, "select", ((Output(1),),), SELECTION)
    wanted = SwitchState(groups=frozenset({ours}), meters=frozenset({Meter(METER, 5, METER_SIGNATURE)}))
    assert wire.converge(wanted) == []
    assert wanted.groups <= wire.read().groups and wanted.meters <= wire.read().meters
    assert wire.converge(SwitchState()) == []
    assert not diff(wire.read(), SwitchState())
    left = {int(line.split("group_id=")[1].split(",")[0]) for line in switch.dump_groups(bridge)}
    assert left == groups
    assert len(switch.dump_flows(bridge, "table=150")) == 2
    assert f"meter={METER + 1} " in switch.ofctl("dump-meters", bridge)


def test_a_copy_is_handed_up_within_its_meter_and_the_packet_goes_on(switch: Switch, bridge: str, wire: Wire) -> None:
    """Of 60 packets all leave, some copies come, and the switch tells how many its meter dropped.

    When somebody takes the meter away, and another one comes to count in its place, the flow is sent again.
    """
    copy, meter = flow(0, CopyToController(METER + 1), Output(2), in_port=1), Meter(METER + 1, 10, 5)
    wanted = SwitchState(frozenset({copy}), meters=frozenset({meter}))
    assert wire.converge(wanted) == []
    wire.send(parser.OFPSetConfig(wire.datapath, 0, 0xFFFF))
    wire.tell([])
    before = sent_by(switch, bridge, 2)
    for _ in range(60):
        switch.appctl("netdev-dummy/receive", "w1", bytes(60).hex())
    assert sent_by(switch, bridge, 2) - before == 60
    dropped = metered(wire)[METER + 1]
    assert 20 <= dropped <= 59
    switch.ofctl("del-meter", bridge, f"meter={METER + 1}")
    foreign = f"meter={METER + 2},pktps,burst,stats,band=type=drop,rate=10000,burst_size={0x4000 + METER_SIGNATURE}"
    switch.ofctl("add-meter", bridge, foreign)
    assert wire.converge(wanted) == [] and wire.read() == wanted
    for _ in range(60):
        switch.appctl("netdev-dummy/receive", "w1", bytes(60).hex())
    assert 20 <= metered(wire)[METER + 1] <= 59


def metered(wire: Wire) -> dict[int, int]:
    """What the switch says its meters dropped; packet-ins that came in between are read away."""
    xid = wire.send(codec.meter_stats_request(wire.datapath))
    while True:
        message = wire.raw()
        if int.from_bytes(message[4:8], "big") == xid:
            for data in damaged(message[16:]):
                with suppress(messages.Malformed):
                    list(codec.our_metered(entries(message[:16] + data)))
            return dict(codec.our_metered(entries(message)))


def entries(message: bytes) -> Iterator[messages.RawEntry]:
    """The entries of a multipart reply."""
    reply = messages.answer(message)
    assert isinstance(reply, messages.Reply)
    return reply.body


def sent_by(switch: Switch, bridge: str, port: int) -> int:
    """Packets that left by a port of a bridge."""
    found = re.search(r"tx pkts=(\d+)", switch.ofctl("dump-ports", bridge, str(port)))
    assert found
    return int(found[1])


def test_a_packet_is_handed_up_and_sent_out(switch: Switch, bridge: str, wire: Wire) -> None:
    """A packet-in has cookie, port, slot and the whole frame, no byte of it can crash the decoder; back it goes."""
    up = flow(0, SetField("reg0", 7), SetField("reg1", 42), ToController(), in_port=1)
    assert wire.converge(SwitchState(frozenset({up}))) == []
    switch.vsctl("set", "interface", "w2", f"options:tx_pcap={switch.directory}/w2.pcap")
    frame = bytes(range(200)) * 5
    wire.send(parser.OFPSetConfig(wire.datapath, 0, 0xFFFF))  # else it gets no packets, unlike a controller
    wire.tell([])
    switch.appctl("netdev-dummy/receive", "w1", frame.hex())
    message = wire.raw()
    assert message[1] == ofp.OFPT_PACKET_IN and codec.packet_in_cookie(message) == up.cookie
    packet = codec.packet_in(message)
    assert packet is not None
    assert packet == PacketIn(up.cookie, 1, frame, slot=41)
    for data in damaged(message[:80]):
        codec.packet_in(data + message[80:])
        codec.packet_in_cookie(data)
    wire.raw_send(codec.packet_out(1, (SetField("eth_dst", 5), Output(2)), frame))
    assert wire.tell([]) == []
    assert (switch.directory / "w2.pcap").read_bytes().endswith(bytes(5) + b"\5" + frame[6:])


def test_many_flows_come_back_over_several_messages(wire: Wire) -> None:
    flows = frozenset(flow(40, Output(1), tcp_dst=port, **TCP) for port in range(1, 3001))
    assert wire.apply(Step("add", each) for each in flows) == []
    assert wire.read().flows == flows


def test_modify_keeps_counters_and_ends_a_time_out(switch: Switch, bridge: str, wire: Wire) -> None:
    text = f"cookie={COOKIE:#x},table=0,priority=100,idle_timeout=300,send_flow_rem,in_port=1 actions=output:2"
    switch.ofctl("add-flow", bridge, text)
    switch.appctl("netdev-dummy/receive", "w1", "in_port(1),eth(),eth_type(0x1234)")
    (read,) = wire.read().flows
    assert read.actions == (Opaque("idle_timeout=300"), Opaque("flags=1"), Output(2))
    wanted = Flow(0, 100, match(in_port=1), (Output(2),), COOKIE)
    assert wire.apply([Step("modify", wanted)]) == []
    assert wire.read().flows == {wanted}
    assert "n_packets=1," in switch.ofctl("dump-flows", bridge)


def test_only_what_is_ours_is_read_and_deleted(switch: Switch, bridge: str, wire: Wire) -> None:
    switch.ofctl("add-flow", bridge, "cookie=0x77,table=0,priority=100,in_port=1 actions=output:2")
    switch.ofctl("add-group", bridge, "group_id=9,type=all,bucket=actions=output:1")
    assert wire.read() == SwitchState()
    assert wire.apply([Step("delete", Flow(0, 100, match(in_port=1), (), COOKIE))]) == []
    assert "cookie=0x77, priority=100,in_port=1 actions=output:2" in switch.dump_flows(bridge)


@pytest.mark.parametrize(
    "text",
    [
        "priority=5,vlan_vid=0x1005/0x1fff,metadata=0x5/0xff actions=drop",
        "priority=5,reg3=7,ct_state=+trk actions=drop",
        "priority=5,ipv6,nw_ecn=1 actions=drop",
        "priority=5,reg0=1/1,tun_id=7 actions=drop",
    ],
)
def test_a_match_we_do_not_know_is_opaque_and_can_be_deleted(
    switch: Switch, bridge: str, wire: Wire, text: str
) -> None:
    switch.ofctl("add-flow", bridge, f"cookie={COOKIE:#x},{text}")
    (read,) = wire.read().flows
    assert read.match.opaque
    assert wire.apply(diff(wire.read(), SwitchState()).steps) == []
    assert switch.dump_flows(bridge) == []


@pytest.mark.parametrize(
    "actions",
    [
        "normal,mod_vlan_vid:5",
        "load:1->NXM_NX_REG3[0..3],output:1",
        "set_field:0x1/0x1->reg0",
        "move:eth_src[0..15]->eth_dst[16..31]",
        "ct(commit,table=5,nat(src=10.0.0.1))",
        "learn(table=3,eth_type=0x800,nw_proto=6,tcp_dst=80)",
        "resubmit(3,7)",
        "write_actions(output:1)",
        "clear_actions",
        "write_metadata:5,goto_table:9",
        "push_vlan:0x8100,pop_vlan,dec_ttl",
        "conjunction(1,1/2)",
    ],
)
def test_an_action_we_do_not_know_is_opaque(switch: Switch, bridge: str, wire: Wire, actions: str) -> None:
    switch.ofctl("add-flow", bridge, f"cookie={COOKIE:#x},table=0,priority=5,tcp actions={actions}")
    (read,) = wire.read().flows
    assert any(isinstance(action, Opaque) for action in read.actions)
    assert read.match == match(**TCP)


@pytest.mark.parametrize(
    "text",
    [
        "type=indirect,bucket=actions=output:1",
        "type=ff,bucket=watch_port:1,actions=output:1",
        "type=select,bucket=bucket_id:0,weight:2,actions=output:1",
        "type=select,bucket=bucket_id:7,weight:1,actions=output:1",
        "type=select,bucket=bucket_id:0,weight:1,watch_group:1342177281,actions=output:1",
        "type=select,selection_method=hash,fields(metadata),bucket=bucket_id:0,weight:1,actions=output:1",
        "type=select,bucket=bucket_id:0,weight:1,actions=dec_ttl",
        "type=all,bucket=bucket_id:3,actions=output:1",
    ],
)
def test_a_group_we_do_not_know_differs_and_is_put_right(
    switch: Switch, bridge: str, wire: Wire, text: str
) -> None:
    switch.ofctl("add-group", bridge, f"group_id={GROUPS},{text}")
    (read,) = wire.read().groups
    assert any(isinstance(action, Opaque) for bucket in read.buckets for action in bucket)
    wanted = SwitchState(groups=frozenset({Group(GROUPS, "select", ((Output(1),),), Selection("dp_hash", 5))}))
    assert wire.apply(diff(wire.read(), wanted).steps) == []
    assert wire.read() == wanted


def test_errors_name_the_step_that_caused_them_and_the_bundle_changes_nothing(wire: Wire) -> None:
    good = flow(1, Output(1))
    bad = flow(2, ToGroup(GROUPS + 99))
    errors = wire.apply([Step("add", good), Step("add", bad)])
    assert errors[0].startswith(f"add flow {bad}: OFPET_BAD_ACTION(2) OFPBAC_BAD_OUT_GROUP(9)")
    assert "OFPBFC_MSG_FAILED" in errors[1]
    assert wire.read() == SwitchState()


def test_a_value_read_from_a_switch_is_never_sent(wire: Wire) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        codec.messages([Step("add", flow(1, Opaque("00")))], 1, None)


def test_no_byte_of_a_description_can_crash_or_hang_the_decoder(wire: Wire) -> None:
    """Every truncation, and every byte of every description replaced: a value or `Malformed`, nothing else."""
    groups = [replace(group, buckets=group.buckets[:3], watched=group.watched[:3]) for group in every_group()]
    state = SwitchState(frozenset(every_action()), frozenset(groups), frozenset(every_meter()))
    assert wire.converge(state) == []
    requests: list[tuple[Any, Any]] = [
        (codec.decode_flow, codec.flows_request),
        (codec.decode_group, codec.groups_request),
        (codec.decode_meter, codec.meters_request),
    ]
    for decode, request in requests:
        entries = list(wire.entries(request(wire.datapath)))
        assert entries
        for entry in entries:
            for data in damaged(entry.data):
                try:
                    hash(decode(messages.RawEntry(data)))
                except messages.Malformed:
                    pass


def damaged(data: bytes) -> Iterator[bytes]:
    for position in range(len(data)):
        yield data[:position]
        for byte in (0, 1, 255):
            yield data[:position] + bytes([byte]) + data[position + 1 :]


@pytest.mark.parametrize(
    ("config", "state", "up"),
    [(0, 0, True), (0, 4, True), (0x64, 0, True), (1, 0, False), (0, 1, False), (0, 3, False), (1, 1, False)],
)
def test_a_port_is_up_unless_it_is_set_down_or_has_no_carrier(config: int, state: int, up: bool) -> None:
    """OFPPC_PORT_DOWN and OFPPS_LINK_DOWN (7.2.1); other bits say nothing about it."""
    described = struct.pack("!IH2x6s2x16sII", 7, 48, bytes(6), b"p", config, state) + bytes(8)
    for reason, there in ((ofp.OFPPR_ADD, True), (ofp.OFPPR_MODIFY, True), (ofp.OFPPR_DELETE, False)):
        message = struct.pack("!BBHIB7x", 6, ofp.OFPT_PORT_STATUS, 64, 1, reason) + described
        port = messages.Port(7, "p", not config & ofp.OFPPC_PORT_DOWN, not state & ofp.OFPPS_LINK_DOWN)
        assert messages.port_status(message) == (port, there)
        assert port.up is up


@pytest.mark.parametrize("length", [0, 39, 57, 65535])
def test_a_port_that_contradicts_its_length_is_malformed(length: int) -> None:
    described = struct.pack("!IH2x6s2x16sII", 7, length, bytes(6), b"p", 0, 0) + bytes(8)
    for data in (described, described[:39]):
        with pytest.raises(messages.Malformed):
            messages.port_status(bytes(16) + data)
        with pytest.raises(messages.Malformed):
            messages.port_descriptions(struct.pack("!BBHIHH4x", 6, 19, 16 + len(data), 1, 13, 0) + data)


def test_a_sign_of_life_leads_to_nothing(switch: Switch, bridge: str) -> None:
    """An echo reply that the switch has not asked for: it answers what comes next, and nothing else."""
    wire = Wire(str(switch.management(bridge)))
    try:
        wire.raw_send(messages.HEADER.pack(messages.VERSION, messages.ECHO_REPLY, messages.HEADER.size, 0))
        asked = wire.send(parser.OFPBarrierRequest(Wire.datapath))
        reply = wire.receive()
        assert (reply.kind, reply.xid) == (messages.BARRIER_REPLY, asked)
    finally:
        wire.close()
