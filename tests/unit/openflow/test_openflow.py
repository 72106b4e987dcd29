"""Values and their text: everything the pipeline may use prints as what ovs-ofctl reads, and means the same there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portlb_app.openflow import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    FIELDS,
    IN_PORT,
    IP_ICMP,
    IP_ICMPV6,
    IP_TCP,
    IP_UDP,
    LOCAL,
    Action,
    CopyField,
    Flow,
    Goto,
    Group,
    Match,
    Output,
    Resubmit,
    Selection,
    SetField,
    SetQueue,
    SwitchState,
    ToController,
    ToGroup,
    ToMeter,
    actions_text,
    mac_number,
    mac_text,
    match,
)

TCP = {"eth_type": ETH_IPV4, "ip_proto": IP_TCP}
UDP = {"eth_type": ETH_IPV4, "ip_proto": IP_UDP}
ICMP = {"eth_type": ETH_IPV4, "ip_proto": IP_ICMP}
ARP = {"eth_type": ETH_ARP}
IP = {"eth_type": ETH_IPV4}
IP6 = {"eth_type": ETH_IPV6}
SOLICITATION = IP6 | {"ip_proto": IP_ICMPV6, "icmpv6_type": 135}

# Match, how it prints, and the same in ovs-fields(7)' older words.
EVERY_FIELD: list[tuple[Match, str, str]] = [
    (match(), "", ""),
    (match(reg0=2), "reg0=0x2", "reg0=2"),
    (match(reg0=(2, 3)), "reg0=0x2/0x3", "reg0=2/3"),
    (match(reg1=5), "reg1=0x5", "reg1=5"),
    (match(reg2=6), "reg2=0x6", "reg2=6"),
    (match(reg3=7), "reg3=0x7", "reg3=7"),
    (match(reg4=8), "reg4=0x8", "reg4=8"),
    (match(reg5=9, reg6=10), "reg5=0x9,reg6=0xa", "reg5=9,reg6=10"),
    (match(reg7=11), "reg7=0xb", "reg7=11"),
    (match(reg3=(1 << 31, 1 << 31)), "reg3=0x80000000/0x80000000", "reg3=0x80000000/0x80000000"),
    (match(ct_mark=0x102), "ct_mark=0x102", "ct_mark=258"),
    (match(in_port=LOCAL), "in_port=LOCAL", "in_port=local"),
    (match(in_port=7), "in_port=7", "in_port=7"),
    (match(vlan_vid=0x1000), "vlan_vid=0x1000", "dl_vlan=0"),
    (match(eth_src=0x020000000064), "eth_src=02:00:00:00:00:64", "dl_src=02:00:00:00:00:64"),
    (
        match(eth_dst=(0x010000000000, 0x010000000000)),
        "eth_dst=01:00:00:00:00:00/01:00:00:00:00:00",
        "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00",
    ),
    (match(eth_type=0x88CC), "eth_type=0x88cc", "dl_type=0x88cc"),
    (match(**IP6), "ipv6", "dl_type=0x86dd"),
    (match(**IP6, ipv6_src=1 << 127), "ipv6,ipv6_src=8000::", "ipv6,ipv6_src=8000::"),
    (match(**IP6, ipv6_dst=(0, 3)), "ipv6,ipv6_dst=::/::3", "ipv6,ipv6_dst=::/::3"),
    (match(**IP), "ip", "dl_type=0x0800"),
    (match(**IP, ip_proto=58), "eth_type=0x800,ip_proto=58", "ip,nw_proto=58"),
    (match(**IP, ip_proto=132, sctp_src=7), "sctp,sctp_src=7", "sctp,tp_src=7"),
    (match(**IP6, ip_proto=132, sctp_dst=8), "sctp6,sctp_dst=8", "sctp6,tp_dst=8"),
    (match(**IP6, ip_proto=6, tcp_dst=8), "tcp6,tcp_dst=8", "tcp6,tp_dst=8"),
    (match(**IP6, ip_proto=17, udp_dst=8), "udp6,udp_dst=8", "udp6,tp_dst=8"),
    (match(**IP6, ip_proto=58, icmpv6_type=2), "icmp6,icmpv6_type=2", "icmp6,icmp_type=2"),
    (
        match(**SOLICITATION, nd_target=1, nd_sll=0x020000000064),
        "icmp6,icmpv6_type=135,nd_target=::1,nd_sll=02:00:00:00:00:64",
        "icmp6,icmp_type=135,nd_target=::1,nd_sll=02:00:00:00:00:64",
    ),
    (
        match(**SOLICITATION | {"icmpv6_type": 136}, nd_target=1, nd_tll=0x020000000064),
        "icmp6,icmpv6_type=136,nd_target=::1,nd_tll=02:00:00:00:00:64",
        "icmp6,icmp_type=136,nd_target=::1,nd_tll=02:00:00:00:00:64",
    ),
    (
        match(**SOLICITATION, nd_reserved=1 << 29, nd_options_type=2),
        "icmp6,icmpv6_type=135,nd_reserved=0x20000000,nd_options_type=2",
        "icmp6,icmp_type=135,nd_reserved=536870912,nd_options_type=2",
    ),
    (match(**IP, ip_src=0x0A000064), "ip,ip_src=10.0.0.100", "ip,nw_src=10.0.0.100"),
    (match(**IP, ip_dst=(0x0A000000, 0xFFFFFF00)), "ip,ip_dst=10.0.0.0/255.255.255.0", "ip,nw_dst=10.0.0.0/24"),
    (match(**IP, ip_dscp=46), "ip,ip_dscp=46", "ip,ip_dscp=46"),
    (match(**IP, ip_frag=0), "ip,ip_frag=no", "ip,nw_frag=no"),
    (match(**IP, ip_frag=1), "ip,ip_frag=first", "ip,nw_frag=first"),
    (match(**IP, ip_frag=3), "ip,ip_frag=later", "ip,nw_frag=later"),
    (match(**IP, nw_ttl=64), "ip,nw_ttl=64", "dl_type=0x800,nw_ttl=0x40"),
    (match(**IP, ip_frag=(1, 1)), "ip,ip_frag=yes", "ip,nw_frag=yes"),
    (match(**IP, ip_frag=(0, 2)), "ip,ip_frag=not_later", "ip,nw_frag=not_later"),
    (match(**TCP, tcp_src=80), "tcp,tcp_src=80", "dl_type=0x800,nw_proto=6,tp_src=80"),
    (match(**TCP, tcp_dst=(0x1000, 0xF000)), "tcp,tcp_dst=4096/61440", "tcp,tp_dst=0x1000/0xf000"),
    (match(**TCP, tcp_flags=(0x800, 0x800)), "tcp,tcp_flags=0x800/0x800", "tcp,tcp_flags=+[800]"),
    (match(**TCP, tcp_flags=(2, 0x12)), "tcp,tcp_flags=0x2/0x12", "tcp,tcp_flags=+syn-ack"),
    (
        match(eth_type=ETH_IPV6, ip_proto=6, ipv6_label=0x12345),
        "tcp6,ipv6_label=0x12345",
        "dl_type=0x86dd,nw_proto=6,ipv6_label=74565",
    ),
    (match(**UDP, udp_src=53), "udp,udp_src=53", "dl_type=0x800,nw_proto=17,tp_src=53"),
    (match(**UDP, udp_dst=65535), "udp,udp_dst=65535", "udp,tp_dst=0xffff"),
    (match(**ICMP, icmp_type=3), "icmp,icmp_type=3", "dl_type=0x800,nw_proto=1,icmp_type=3"),
    (match(**ARP, arp_op=1), "arp,arp_op=1", "dl_type=0x806,nw_proto=1"),
    (match(**ARP, arp_spa=0x0A000064), "arp,arp_spa=10.0.0.100", "arp,nw_src=10.0.0.100"),
    (match(**ARP, arp_tpa=0x0A000064), "arp,arp_tpa=10.0.0.100", "arp,nw_dst=10.0.0.100"),
    (match(**ARP, arp_sha=0x020000000064), "arp,arp_sha=02:00:00:00:00:64", "arp,arp_sha=02:00:00:00:00:64"),
    (
        match(**ARP, arp_tha=(0, 0x010000000000)),
        "arp,arp_tha=00:00:00:00:00:00/01:00:00:00:00:00",
        "arp,arp_tha=00:00:00:00:00:00/01:00:00:00:00:00",
    ),
]
# Actions, how they print, and the same in ovs-actions(7)' older words.
EVERY_ACTION: list[tuple[tuple[Action, ...], str, str]] = [
    ((), "drop", "drop"),
    ((Output(7),), "output:7", "7"),
    ((Output(IN_PORT),), "in_port", "output:in_port"),
    ((Output(LOCAL),), "LOCAL", "output:LOCAL"),
    ((SetQueue(7),), "set_queue:7", "set_queue:7"),
    ((Resubmit(70),), "resubmit(,70)", "resubmit(,70)"),
    ((ToGroup(0x50851014),), "group:1350897684", "group:0x50851014"),
    ((ToMeter(20488), ToController()), "meter:20488,controller:65535", "meter:0x5008,CONTROLLER:65535"),
    ((SetField("reg0", 2), Goto(10)), "set_field:0x2->reg0,goto_table:10", "set_field:2->reg0,goto_table:10"),
    (
        (SetField("eth_src", 0x020000000064),),
        "set_field:02:00:00:00:00:64->eth_src",
        "set_field:02:00:00:00:00:64->dl_src",
    ),
    ((SetField("arp_op", 2),), "set_field:2->arp_op", "set_field:0x2->arp_op"),
    ((SetField("arp_spa", 0x0A000064),), "set_field:10.0.0.100->arp_spa", "set_field:10.0.0.100->arp_spa"),
    (
        (CopyField("eth_src", "eth_dst"),),
        "move:eth_src[]->eth_dst[]",
        "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]",
    ),
    (
        (CopyField("reg1", "arp_spa"), CopyField("reg1", "arp_op")),
        "move:reg1[]->arp_spa[],move:reg1[0..15]->arp_op[]",
        "move:NXM_NX_REG1[0..31]->NXM_OF_ARP_SPA[],move:NXM_NX_REG1[0..15]->NXM_OF_ARP_OP[0..15]",
    ),
    (
        (CopyField("arp_sha", "arp_tha"), CopyField("arp_spa", "arp_tpa")),
        "move:arp_sha[]->arp_tha[],move:arp_spa[]->arp_tpa[]",
        "move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[]",
    ),
]


def ofctl(command: str, *files: Path) -> str:
    """What ovs-ofctl says to files, 2 meaning a difference; AssertionError with its message if it refuses them."""
    arguments = ["ovs-ofctl", "-O", "OpenFlow15", command, *map(str, files)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, 2) and not done.stderr, done.stderr
    return done.stdout


def test_every_field_is_tried() -> None:
    """A new field must appear in the list above."""
    assert {name for each, _, _ in EVERY_FIELD for name, _, _ in each} == set(FIELDS)


@pytest.mark.parametrize(("value", "text", "_"), EVERY_FIELD)
def test_a_match_as_text(value: Match, text: str, _: str) -> None:
    """How each field is written, exact and masked."""
    assert str(value) == text


@pytest.mark.parametrize(("actions", "text", "_"), EVERY_ACTION)
def test_actions_as_text(actions: tuple[Action, ...], text: str, _: str) -> None:
    """How each action is written."""
    assert actions_text(actions) == text


def test_ovs_ofctl_reads_what_is_meant(tmp_path: Path) -> None:
    """Open vSwitch finds no difference between what is printed and the same in other words; it needs no switch."""
    ours = [Flow(3, number, value, (Output(1),), number) for number, (value, _, _) in enumerate(EVERY_FIELD)]
    ours += [Flow(4, number, match(**ARP), actions, number) for number, (actions, _, _) in enumerate(EVERY_ACTION)]
    theirs = [
        f"table=3,priority={number},cookie={number},{text},actions=output:1"
        for number, (_, _, text) in enumerate(EVERY_FIELD)
    ]
    theirs += [
        f"table=4,priority={number},cookie={number},arp,actions={text}"
        for number, (_, _, text) in enumerate(EVERY_ACTION)
    ]
    (tmp_path / "ours").write_text("\n".join(map(str, ours)))
    (tmp_path / "theirs").write_text("\n".join(theirs))
    assert ofctl("parse-flows", tmp_path / "ours").count("actions=") == len(ours) == len(theirs)
    assert ofctl("diff-flows", tmp_path / "ours", tmp_path / "theirs") == ""
    (tmp_path / "theirs").write_text("\n".join(theirs[1:]))
    assert ofctl("diff-flows", tmp_path / "ours", tmp_path / "theirs") != "", "a difference is one"


@settings(deadline=None)
@given(
    st.sampled_from(sorted(FIELDS)).flatmap(
        lambda name: st.tuples(st.just(name), st.integers(-5, (1 << FIELDS[name].bits) + 5))
    )
)
def test_a_value_that_does_not_fit_is_refused(entry: tuple[str, int]) -> None:
    """No number outgrows its field, and no value has bits its mask does not."""
    name, value = entry
    fits = 0 <= value < 1 << FIELDS[name].bits
    if fits:
        assert match(**{name: value}).fields == ((name, value, None),)
        assert match(**{name: (value, (1 << FIELDS[name].bits) - 1)}) == match(**{name: value})
    else:
        with pytest.raises(ValueError, match=name):
            match(**{name: value})
    if fits and value:
        with pytest.raises(ValueError, match=name):
            match(**{name: (value, 0)})


def test_no_other_field() -> None:
    """A misspelt field is an error where it is written."""
    with pytest.raises(KeyError):
        match(tcp_dest=80)


def test_the_order_of_keywords_means_nothing() -> None:
    """Two ways to write one match are equal, hash alike and print alike."""
    one, other = match(tcp_dst=80, **TCP), match(**TCP, tcp_dst=80)
    assert one == other and hash(one) == hash(other) and str(one) == str(other)


def test_flows_of_any_kind_have_an_order() -> None:
    """Also foreign ones: with and without a mask, with what is no field of ours."""
    values = [match(in_port=1), match(in_port=(1, 0xFF)), match(), Match(opaque="0800"), match(eth_type=0x806)]
    flows = frozenset(Flow(0, 1, value, (), 1) for value in values)
    assert len(SwitchState(flows).ordered_flows) == len(values)
    first, *_, last = SwitchState(flows | {Flow(1, 9, match(), (), 1), Flow(0, 9, match(), (), 1)}).ordered_flows
    assert (first.table, first.priority) == (0, 9) and last.table == 1


def test_a_group_as_text() -> None:
    """A select group's slots weigh 1 each; an all group has no weights."""
    group = Group(0x50000014, "select", ((Output(2),), (Output(3),)), Selection("dp_hash", 0x504C0000))
    assert str(group) == (
        "group_id=1342177300,type=select,selection_method=dp_hash,selection_method_param=1347158016,"
        "bucket=bucket_id:0,weight:1,actions=output:2,bucket=bucket_id:1,weight:1,actions=output:3"
    )
    watched = Group(3, "select", ((Output(2),), (Output(3),)), watched=(0, 3))
    assert str(watched) == (
        "group_id=3,type=select,bucket=bucket_id:0,weight:1,actions=output:2,"
        "bucket=bucket_id:1,weight:1,watch_port:3,actions=output:3"
    )
    copies = Group(1, "all", ((Output(2),), ()))
    assert str(copies) == "group_id=1,type=all,bucket=bucket_id:0,actions=output:2,bucket=bucket_id:1,actions=drop"


def test_a_flow_is_its_table_priority_and_match() -> None:
    """That is its key; its reason is a comment, its cookie and actions are not."""
    flow = Flow(0, 1, match(in_port=1), (Output(2),), 1, "why")
    assert flow == Flow(0, 1, match(in_port=1), (Output(2),), 1, "because")
    assert flow != Flow(0, 1, match(in_port=1), (Output(2),), 2, "why")
    assert flow.key == Flow(0, 1, match(in_port=1), (), 2).key


@settings(deadline=None)
@given(st.integers(0, (1 << 48) - 1))
def test_mac_addresses(number: int) -> None:
    """Number to text and back."""
    assert mac_number(mac_text(number)) == number
    assert mac_number(mac_text(number).upper()) == number


@settings(deadline=None)
@given(st.text("0123456789abcdef:+-_ xX\n٠", max_size=18))
def test_what_is_no_mac_address(text: str) -> None:
    """Six pairs of hexadecimal digits with colons, and nothing else."""
    if re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", text):
        return
    with pytest.raises(ValueError, match="is not a MAC address"):
        mac_number(text)
