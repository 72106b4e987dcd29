"""The compiler's answers keep the pipeline's rules, whatever the configuration; tests/ovs tests what they mean."""

from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portlb_app import compiler
from portlb_app.compiler.memo import Memo
from portlb_app.config import Config, load, weights_among
from portlb_app.openflow import (
    CopyToController,
    Flow,
    Goto,
    Match,
    Output,
    PopVlan,
    Resubmit,
    SwitchState,
    ToGroup,
    match,
)
from portlb_app.pipeline import (
    BY_NUMBER,
    CLASSIFY,
    COOKIE,
    COOKIE_MASK,
    COPIED,
    ICMP,
    SELECTION,
    SERVICE,
    SIGNAL,
    SLOT_GROUP,
    SLOTS,
    TABLES,
    UPSTREAM,
    VIP_NUMBERS,
    PipelineError,
    Priority,
    Reason,
    flow,
    goto,
    is_our_group,
    make_cookie,
    match_all,
    metered_reason,
    parse_cookie,
    pool_group,
    vip_number,
)
from portlb_app.reconcile.plan import diff
from portlb_app.selection import table as slot_table
from portlb_app.topology.conditions import AS_CONFIGURED, Conditions, PoolSlots
from tests.support import generate

FIG2 = load((Path(__file__).parents[3] / "flows/fig2/lb.yaml").read_text())


def configuration(seed: int) -> Config:
    """A random configuration."""
    return generate.configuration(Random(seed))


def states(config: Config) -> list[SwitchState]:
    """The targets of its switches."""
    return list(compiler.compile(config).values())


CONFIGURATIONS = st.integers(0, 1 << 32).map(configuration)
some = settings(max_examples=40, deadline=None)


@settings(max_examples=10, deadline=None)
@given(CONFIGURATIONS, CONFIGURATIONS)
def test_what_was_compiled_before_changes_nothing(first: Config, second: Config) -> None:
    """Neither another configuration, nor the same one while links are down, servers closed, or slots others."""
    memo = Memo()
    slots, closed = turned(second), Conditions(closed=frozenset(server.name for server in second.servers[:1]))
    cut = Conditions(links_down=frozenset(second.links[:1]))
    each = ((first, AS_CONFIGURED), (second, AS_CONFIGURED), (second, cut), (second, slots), (second, closed))
    for config, conditions in (*each, (second, closed), (second, slots), (first, AS_CONFIGURED)):
        assert compiler.compile(config, conditions, memo) == compiler.compile(config, conditions)


def turned(config: Config) -> Conditions:
    """The slots of the first pool in another order, each with a server that it had before."""
    vip = next((vip for vip in config.vips if vip.redirect_ports), None)
    if vip is None:
        return AS_CONFIGURED
    pool = vip.redirect_ports[0]
    weights = weights_among(config.server_by_name[name] for name in pool.servers)
    before = slot_table.slots(pool.servers, weights, pool.group_bits)
    after = (*before[1:], *before[:1])
    formers = tuple((old,) if old != new else () for old, new in zip(before, after, strict=True))
    return Conditions(slots={(vip.name, pool.port): PoolSlots(after, formers)})


@some
@given(CONFIGURATIONS)
def test_copies_have_meters_of_copies(config: Config) -> None:
    """So a plan knows by a meter's number whether flows copy by it."""
    for each in itertools.chain.from_iterable(state.flows for state in states(config)):
        meters = {action.meter for action in each.actions if isinstance(action, CopyToController)}
        assert {metered_reason(meter) for meter in meters} <= COPIED.keys()


@settings(max_examples=20, deadline=None)
@given(CONFIGURATIONS)
def test_no_two_flows_of_a_switch_are_of_the_same_packets(config: Config) -> None:
    """So its parts have no flow in common."""
    for state in compiler.compile(config, turned(config)).values():
        assert len({flow.key for flow in state.flows}) == len(state.flows)


def test_what_stays_is_the_same_object() -> None:
    """A server less in a pool: all service ports, and what the other servers send."""
    text, memo = (Path(__file__).parents[3] / "flows/tree/lb.yaml").read_text(), Memo()
    before, after = (
        {id(flow): flow for state in compiler.compile(load(each), memo=memo).values() for flow in state.flows}
        for each in (text, text.replace("21: {servers: [b, c, d]}", "21: {servers: [b, c]}"))
    )
    shared = [before[each] for each in before.keys() & after.keys()]
    assert sum(flow.table == SERVICE.number for flow in shared) > 20
    assert sum(flow.table == UPSTREAM.number for flow in shared) > 20


@some
@given(CONFIGURATIONS)
def test_every_flow_keeps_to_its_table(config: Config) -> None:
    """Only declared fields, only declared next tables, always a later one, a known priority, and a sentence of why."""
    for each in itertools.chain.from_iterable(state.flows for state in states(config)):
        table = BY_NUMBER[each.table]
        assert {name for name, _, _ in each.match} <= table.fields
        assert each.priority in list(Priority)
        assert each.reason
        for action in each.actions:
            if isinstance(action, Goto):
                assert BY_NUMBER[action.table].name in table.goes_to
                assert action.table > each.table or isinstance(each.actions[0], PopVlan), "a tag less"


@some
@given(CONFIGURATIONS)
def test_every_table_has_one_miss(config: Config) -> None:
    """A packet no flow is for has a stated end, not Open vSwitch's default."""
    for state in states(config):
        for table in TABLES:
            assert len([each for each in state.flows if each.table == table.number and each.match == Match()]) == 1


@some
@given(CONFIGURATIONS)
def test_what_is_ours_says_so(config: Config) -> None:
    """Cookies carry owner and reason, group numbers their mark: by that a reconciler knows what to touch."""
    for state in states(config):
        assert all(each.cookie & COOKIE_MASK == COOKIE for each in state.flows)
        assert all(Reason(each.cookie >> 40 & 0xFF) for each in state.flows)
        assert all(is_our_group(group.number) for group in state.groups)


def test_a_server_that_drains_has_no_slot_and_keeps_its_ports() -> None:
    """Only groups change: the slots that it had are others' now, and these keep most of theirs."""
    text = (Path(__file__).parents[3] / "flows/fig2/lb.yaml").read_text()
    assert text.count("connector: s1:3") == 1
    without = text.replace("connector: s1:3", "connector: s1:3\n    weight: 0")
    ready, drained = (compiler.compile(load(each))["s1"] for each in (text, without))
    assert drained.flows == ready.flows and drained.groups != ready.groups
    for before in ready.ordered_groups:
        pairs = list(zip(before.buckets, drained.group_by_number[before.number].buckets, strict=True))
        assert not any(Output(3) in has for _, has in pairs)
        had = sum(Output(3) in had for had, _ in pairs)
        assert had <= sum(had != has for had, has in pairs) <= 1.2 * had


@some
@given(CONFIGURATIONS)
def test_flows_and_groups_fit_together(config: Config) -> None:
    """No two flows with one key, no group twice, none missing, none unused; a group has all slots, or none."""
    for state in states(config):
        assert len({flow.key for flow in state.flows}) == len(state.flows)
        assert len(state.group_by_number) == len(state.groups)
        used = {action.group for each in state.flows for action in each.actions if isinstance(action, ToGroup)}
        assert used | {SLOT_GROUP} == state.group_by_number.keys() | {SLOT_GROUP}
        answered = any(each.table == SIGNAL.number and each.match.fields for each in state.flows)
        assert (SLOT_GROUP in state.group_by_number) == answered
        for group in state.groups:
            assert len(group.buckets) in (0, SLOTS) and group.selection == SELECTION
            assert group.type == "select"
            assert all(isinstance(bucket[-1], (Output, Resubmit)) for bucket in group.buckets)


@some
@given(CONFIGURATIONS)
def test_no_two_flows_contradict_each_other(config: Config) -> None:
    """Of two flows with one priority that a packet could match, a switch may take either: they must do the same."""
    for state in states(config):
        rivals = defaultdict(list)
        for each in state.flows:
            rivals[each.table, each.priority].append(each)
        for group in rivals.values():
            for one, other in itertools.combinations(group, 2):
                assert one.actions == other.actions or not _overlap(one.match, other.match), f"{one}\n{other}"


@some
@given(st.integers(0, 1 << 32))
def test_the_same_every_time(seed: int) -> None:
    """Compiling depends on what a file says alone: the same file in another order, loaded anew, gives equal tables."""
    data = generate.settings(Random(seed))
    first = compiler.compile(load(generate.text(data)))
    for cached in (slot_table._slots_of_small, slot_table._among_small, slot_table._scores):
        cached.cache_clear()
    second = compiler.compile(load(generate.text(generate.shuffled(Random(seed + 1), data))))
    assert second == first
    assert not {id(flow) for state in first.values() for flow in state.flows} & {
        id(flow) for state in second.values() for flow in state.flows
    }, "compiled, not remembered"


@some
@given(st.integers(0, 1 << 32))
def test_a_switch_knows_nothing_of_others(seed: int) -> None:
    """What a switch holds depends on its own VIPs and servers; those of another switch change nothing in it."""
    data = generate.settings(Random(seed))
    config = load(generate.text(data))
    server_switches = {server.vip: server.connector.switch for server in config.servers}
    for vip in [name for name, switch in server_switches.items() if switch == "s2"]:
        data["servers"] = {name: entry for name, entry in data["servers"].items() if entry["vip"] != vip}
        del data["vips"][vip]
    assert compiler.compile(load(generate.text(data)))["s1"] == compiler.compile(config)["s1"]


def test_fig2_down_the_pipeline() -> None:
    """The tables between the ports and the default, as a reader meets them in flows/fig2/s1.flows."""
    lines = [str(each) for each in compiler.compile(FIG2)["s1"].ordered_flows if 50 <= each.table <= 70]
    assert [line.partition(" ")[2] for line in lines] == [
        "table=50, priority=200,tcp,ip_dst=10.0.0.100,tcp_dst=20,tcp_flags=0x800/0x800 actions=group:1607013119",
        "table=50, priority=200,tcp,ip_dst=10.0.0.100,tcp_dst=21,tcp_flags=0x800/0x800 actions=group:1607013120",
        "table=50, priority=200,tcp,ip_dst=10.0.0.100,tcp_dst=22,tcp_flags=0x800/0x800 actions=group:1607013121",
        "table=50, priority=200,udp,ip_dst=10.0.0.100,udp_dst=20 actions=group:1607013119",
        "table=50, priority=200,udp,ip_dst=10.0.0.100,udp_dst=21 actions=group:1607013120",
        "table=50, priority=200,udp,ip_dst=10.0.0.100,udp_dst=22 actions=group:1607013121",
        "table=50, priority=200,sctp,ip_dst=10.0.0.100,sctp_dst=20 actions=group:1607013119",
        "table=50, priority=200,sctp,ip_dst=10.0.0.100,sctp_dst=21 actions=group:1607013120",
        "table=50, priority=200,sctp,ip_dst=10.0.0.100,sctp_dst=22 actions=group:1607013121",
        "table=50, priority=0 actions=goto_table:60",
        "table=52, priority=0 actions=drop",
        "table=55, priority=0 actions=drop",
        "table=60, priority=300,tcp,ip_dst=10.0.0.100,tcp_dst=20,tcp_flags=0x2/0x12 actions=drop",
        "table=60, priority=300,tcp,ip_dst=10.0.0.100,tcp_dst=21,tcp_flags=0x2/0x12 actions=drop",
        "table=60, priority=200,tcp,ip_dst=10.0.0.100,tcp_dst=20 actions=group:1607013119",
        "table=60, priority=200,tcp,ip_dst=10.0.0.100,tcp_dst=21 actions=group:1607013120",
        "table=60, priority=200,tcp,ip_dst=10.0.0.100,tcp_dst=22 actions=group:1607013121",
        "table=60, priority=0 actions=goto_table:70",
        "table=62, priority=0 actions=drop",
        "table=64, priority=0 actions=drop",
        "table=66, priority=500,reg0=0x5 actions=meter:57345,controller:65535",
        "table=66, priority=0 actions=drop",
        "table=70, priority=100,ip,ip_dst=10.0.0.100 actions=output:5",
        "table=70, priority=0 actions=drop",
    ]


def test_a_changed_pool_changes_its_group_alone() -> None:
    """A server leaves a pool: no flow to clients changes, and most slots stay."""
    smaller = load((Path(__file__).parents[3] / "flows/fig2/lb.yaml").read_text().replace("[b, c, d]", "[b, c]"))
    before, after = compiler.compile(FIG2)["s1"], compiler.compile(smaller)["s1"]
    number = pool_group(FIG2.vips[0].number, 21, version=4)
    assert {group.number for group in before.groups ^ after.groups} == {number}
    assert {BY_NUMBER[each.table].name for each in before.flows ^ after.flows} == {"UPSTREAM"}, "d may not answer now"
    old, new = (state.group_by_number[number].buckets for state in (before, after))
    assert sum(one == other for one, other in zip(old, new, strict=True)) > SLOTS // 2


def test_the_files_a_user_installs() -> None:
    """Every flow and every group once, each flow below its table's name and its reason."""
    state = compiler.compile(FIG2)["s1"]
    lines = compiler.flows_text("s1", state).splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == [str(each) for each in state.ordered_flows]
    assert [line[6:] for line in lines if line.startswith("# --- ")] == [table.name for table in TABLES]
    reasons = {each.reason for each in state.flows}
    assert reasons == {line[2:] for line in lines[3:] if line.startswith("# ") and not line.startswith("# --- ")}
    groups = compiler.groups_text("s1", state).splitlines()
    assert [line for line in groups if not line.startswith("#")] == [str(each) for each in state.ordered_groups]
    meters = compiler.meters_text("s1", state).splitlines()
    assert [line for line in meters if not line.startswith("#")] == [str(each) for each in state.ordered_meters]


@settings(deadline=None)
@given(st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, unique=True))
def test_numbers_of_vips(names: list[str]) -> None:
    """Each VIP has its own, of 24 bits."""
    numbers = {name: vip_number(name) for name in names}
    assert len(set(numbers.values())) == len(names)
    assert all(0 <= number < VIP_NUMBERS for number in numbers.values())


def test_numbers_of_vips_stay() -> None:
    """Another VIP takes no other's number, so its flows and groups stay; also where 12 bits of their hashes meet."""
    text = (Path(__file__).parents[3] / "flows/fig2/lb.yaml").read_text().replace("web", "vip760")
    for name in ("vip3", "zzz", "aaa"):
        other = f'vips:\n  {name}: {{address: 10.0.9.9, mac: "02:00:00:00:00:65", log: true}}\n'
        before, after = load(text), load(text.replace("vips:\n", other))
        plan = diff(compiler.compile(before)["s1"], compiler.compile(after)["s1"])
        assert plan and {step.verb for step in plan.steps} == {"add"}


def test_a_number_can_be_given() -> None:
    """And is in cookies, and decides about groups."""
    text = (Path(__file__).parents[3] / "flows/fig2/lb.yaml").read_text()
    config = load(text.replace("  web:\n", "  web:\n    number: 7\n"))
    state = compiler.compile(config)["s1"]
    assert {parse_cookie(flow.cookie)[1] for flow in state.flows} == {0, 7}
    numbers = {group.number for group in state.groups}
    assert numbers == {SLOT_GROUP, *(pool_group(7, port, 4) for port in (20, 21, 22))}


def test_groups_and_cookies_keep_numbers_apart() -> None:
    """VIP and port have bits of their own; nothing runs into the owner's mark."""
    of_groups = itertools.product((0, 1, VIP_NUMBERS - 1), (1, 2, 65535), (4, 6))
    groups = {pool_group(*each) for each in of_groups}
    assert len(groups) == 18 and all(is_our_group(group) and group < 1 << 32 for group in groups)
    assert is_our_group(SLOT_GROUP) and SLOT_GROUP not in groups
    assert not is_our_group(0xA0000000) and not is_our_group(0)
    of_cookies = itertools.product(Reason, (0, VIP_NUMBERS - 1), (0, 65535))
    cookies = {make_cookie(*each) for each in of_cookies}
    assert len(cookies) == 4 * len(Reason) and all(each & COOKIE_MASK == COOKIE for each in cookies)


def test_the_pipeline_refuses_what_it_does_not_declare() -> None:
    """A flow that breaks the declaration of its table is found where it is made, not on a switch."""

    def make(match: Match, *actions: Goto | Output, priority: Priority = Priority.GENERAL) -> Flow:
        return flow(CLASSIFY, priority, match, actions, COOKIE, "why")

    assert make(match(in_port=1), goto(BY_NUMBER[10])).table == 0
    with pytest.raises(PipelineError, match="CLASSIFY does not declare tcp_dst"):
        make(match(in_port=1, tcp_dst=80))
    with pytest.raises(PipelineError, match="a miss matches everything"):
        make(match(in_port=1), priority=Priority.MISS)
    with pytest.raises(PipelineError, match="CLASSIFY may not go to table 40"):
        make(match_all(), goto(SERVICE))
    with pytest.raises(PipelineError, match="goto is the last action"):
        make(match_all(), goto(BY_NUMBER[10]), Output(1))


def test_the_declaration_itself() -> None:
    """Tables stand in packet order, and go only to later ones that exist."""
    numbers = [table.number for table in TABLES]
    assert numbers == sorted(set(numbers)) and ICMP.number == 30
    by_name = {table.name: table for table in TABLES}
    edges = {(table, by_name[name]) for table in TABLES for name in table.goes_to} - {(CLASSIFY, CLASSIFY)}
    assert all(there.number > here.number for here, there in edges)


def _overlap(one: Match, other: Match) -> bool:
    """Whether a packet can match both: they agree in every bit both look at."""
    theirs = {name: (value, mask) for name, value, mask in other}
    for name, value, mask in one:
        if name in theirs:
            also, their_mask = theirs[name]
            shared = (-1 if mask is None else mask) & (-1 if their_mask is None else their_mask)
            if (value ^ also) & shared:
                return False
    return True
