"""Plans: what a switch holds afterwards is what it shall hold, nothing else is touched, and no step breaks a packet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from portlb_app import compiler
from portlb_app.openflow import (
    CopyToController,
    Flow,
    FlowKey,
    FlowParts,
    Goto,
    Group,
    Meter,
    Opaque,
    Output,
    SwitchState,
    ToGroup,
    ToMeter,
    match,
)
from portlb_app.pipeline import METER_SIGNATURE
from portlb_app.pipeline import METERS as FIRST_METER
from portlb_app.pipeline import SELECTION, pool_group
from portlb_app.reconcile.plan import VERBS, Plan, Step, apply, diff
from tests.support import generate

MATCHES = (
    match(),
    match(in_port=1),
    match(in_port=(1, 0xFF)),
    match(eth_type=0x800, ip_proto=6, tcp_dst=20),
    match(eth_type=0x800, ip_proto=6, tcp_dst=20, tcp_flags=(2, 18)),
    match(eth_type=0x800, ip_proto=6, tcp_dst=20, tcp_flags=2),
    replace(match(in_port=1), opaque="0800"),
)
ACTIONS = st.lists(
    st.sampled_from(
        (Output(1), Output(2), ToGroup(5), ToGroup(6), ToMeter(1), CopyToController(2), Goto(20), Opaque("ff"))
    ),
    max_size=3,
).map(tuple)
FLOWS = st.builds(
    Flow,
    st.sampled_from((0, 10, 20)),
    st.sampled_from((0, 100)),
    st.sampled_from(MATCHES),
    ACTIONS,
    st.sampled_from((1, 2)),
    st.sampled_from(("", "why")),
)
GROUPS = st.builds(
    Group,
    st.sampled_from([pool_group(7, port, 4) for port in range(1, 5)]),
    st.sampled_from(("select", "all")),
    st.lists(ACTIONS, max_size=3).map(tuple),
    st.just(SELECTION),
)
METERS = st.builds(
    Meter,
    st.integers(FIRST_METER, FIRST_METER + 3),
    st.sampled_from((100, 200)),
    st.sampled_from((METER_SIGNATURE, METER_SIGNATURE + 0x100)),
)
STATES = st.builds(
    SwitchState,
    st.lists(FLOWS, unique_by=lambda flow: flow.key).map(frozenset),
    st.lists(GROUPS, unique_by=lambda group: group.number).map(frozenset),
    st.lists(METERS, unique_by=lambda meter: meter.number).map(frozenset),
)


def compiled(seed: int) -> SwitchState:
    """The tables of a random configuration's first switch."""
    return compiler.compile(generate.configuration(Random(seed)))["s1"]


COMPILED = st.integers(0, 1 << 32).map(compiled)


@settings(deadline=None)
@given(STATES, STATES)
def test_a_plan_turns_one_state_into_another(actual: SwitchState, desired: SwitchState) -> None:
    """apply(diff(a, b), a) == b."""
    assert apply(diff(actual, desired), actual) == desired


@st.composite
def pairs_in_parts(draw: st.DrawFn) -> tuple[SwitchState, SwitchState]:
    """Two states of parts: of each part, one has it as it is, with other actions, or not at all."""
    flows = draw(st.lists(FLOWS, unique_by=lambda flow: flow.key, max_size=8))
    parts = [tuple(flows[at : at + 3]) for at in range(0, len(flows), 3)]
    others = [tuple(replace(flow, actions=(*flow.actions, Output(3)), cookie=3) for flow in part) for part in parts]
    rests = [part[1:] for part in parts]
    chosen = [st.sampled_from(((), *three)) for three in zip(parts, others, rests, strict=True)]
    one, other = draw(st.tuples(*chosen)), draw(st.tuples(*chosen))
    return SwitchState(FlowParts(one)), SwitchState(FlowParts(other))


@settings(deadline=None)
@given(pairs_in_parts())
def test_states_in_parts_are_compared_as_wholes(pair: tuple[SwitchState, SwitchState]) -> None:
    actual, desired = pair
    wholes = SwitchState(frozenset(actual.flows)), SwitchState(frozenset(desired.flows))
    plan = diff(actual, desired)
    assert set(plan.steps) == set(diff(*wholes).steps) == set(diff(wholes[0], desired).steps)
    assert len(plan.steps) == len(set(plan.steps))
    assert apply(plan, actual) == desired == apply(plan, wholes[0])
    assert apply(plan.stage("add"), actual) == apply(plan.stage("add"), wholes[0])
    assert (actual == desired) == (wholes[0] == wholes[1]) == (actual == wholes[1])


def test_what_is_not_surely_ours_is_never_deleted() -> None:
    """Groups and meters with numbers of ours but without the mark: unless we need the number, they stay."""
    foreign = SwitchState(
        groups=frozenset({Group(pool_group(7, 1, 4), "all", ()), Group(pool_group(7, 2, 4), "select", ())}),
        meters=frozenset({Meter(FIRST_METER, 100, 10), Meter(FIRST_METER + 1, 1, METER_SIGNATURE, opaque="00")}),
    )
    assert not diff(foreign, SwitchState())
    wanted = SwitchState(
        groups=frozenset({Group(pool_group(7, 1, 4), "select", (), SELECTION)}),
        meters=frozenset({Meter(FIRST_METER, 100, METER_SIGNATURE)}),
    )
    assert [step.verb for step in diff(foreign, wanted).steps] == ["modify", "modify"]


@settings(max_examples=40, deadline=None)
@given(COMPILED, COMPILED)
def test_so_do_plans_between_compiled_states(actual: SwitchState, desired: SwitchState) -> None:
    """The same for what configurations become."""
    assert apply(diff(actual, desired), actual) == desired


@settings(deadline=None)
@given(STATES)
def test_what_is_right_needs_no_plan(state: SwitchState) -> None:
    """diff(a, a) is empty and false; a reason is a comment, and no difference."""
    assert not diff(state, state)
    renamed = SwitchState(frozenset(replace(flow, reason="other") for flow in state.flows), state.groups, state.meters)
    assert diff(state, renamed) == Plan()


def by_key(state: SwitchState) -> Mapping[FlowKey, Flow]:
    """Flows by table, priority and match."""
    return {flow.key: flow for flow in state.flows}


@settings(deadline=None)
@given(STATES, STATES)
def test_only_differences_are_touched(actual: SwitchState, desired: SwitchState) -> None:
    """A step per difference, each thing once, and nothing that is in neither state or already right."""
    steps = diff(actual, desired).steps
    flows = [step.what.key for step in steps if isinstance(step.what, Flow)]
    groups = [step.what.number for step in steps if isinstance(step.what, Group)]
    assert len(set(flows)) == len(flows) and len(set(groups)) == len(groups)
    keys = by_key(actual).keys() | by_key(desired).keys()
    come = desired.meter_by_number.keys() - actual.meter_by_number.keys()
    again = {
        flow.key
        for flow in desired.flows
        if any(isinstance(action, CopyToController) and action.meter in come for action in flow.actions)
    }
    changed = {key for key in keys if by_key(actual).get(key) != by_key(desired).get(key)}
    assert set(flows) == changed | again
    numbers = actual.group_by_number.keys() | desired.group_by_number.keys()
    right = {each for each in numbers if actual.group_by_number.get(each) == desired.group_by_number.get(each)}
    assert set(groups) == numbers - right
    meters = [step.what for step in steps if isinstance(step.what, Meter)]
    assert {meter.number for meter in meters} == {meter.number for meter in actual.meters ^ desired.meters}
    assert len({meter.number for meter in meters}) == len(meters)


@settings(deadline=None)
@given(STATES, STATES)
def test_verbs_fit_what_the_switch_holds(actual: SwitchState, desired: SwitchState) -> None:
    """Added is what is not there, or is there as it shall be; modified is what is different, deleted what is there."""
    for step in diff(actual, desired).steps:
        if isinstance(step.what, Flow):
            old = by_key(actual).get(step.what.key)
            if step.verb == "add":
                assert old is None or old == step.what
            else:
                assert old is not None and (old == step.what) == (step.verb == "delete")
        elif isinstance(step.what, Group):
            assert (step.what.number in actual.group_by_number) == (step.verb != "add")
        else:
            assert (step.what.number in actual.meter_by_number) == (step.verb != "add")
        wanted = step.what in desired.flows or step.what in desired.groups or step.what in desired.meters
        assert (step.verb == "delete") == (not wanted)


@settings(deadline=None)
@given(STATES, STATES)
def test_the_order_of_a_plan(actual: SwitchState, desired: SwitchState) -> None:
    """Meters and groups in, flows in with the deepest table first, flows out, groups and meters out.

    Sent in three parts, because a bundle holds no meters: the order is the same.
    """

    def rank(step: Step) -> tuple[int, int]:
        if isinstance(step.what, Meter):
            return (4, 0) if step.verb == "delete" else (-1, 0)
        if isinstance(step.what, Group):
            return (3, 0) if step.verb == "delete" else (0, 0)
        return (2, 0) if step.verb == "delete" else (1, -step.what.table)

    plan = diff(actual, desired)
    ranks = [rank(step) for step in plan.steps]
    assert ranks == sorted(ranks)
    assert plan.before + plan.bundle + plan.after == plan.steps
    assert not any(isinstance(step.what, Meter) for step in plan.bundle)


def in_stages(plan: Plan) -> Plan:
    """A plan's steps in the order in which its stages do them."""
    return Plan(tuple(step for verb in plan.verbs for step in plan.stage(verb).steps))


@settings(deadline=None)
@given(STATES, STATES)
def test_a_plan_in_stages_is_the_plan(actual: SwitchState, desired: SwitchState) -> None:
    """Nothing is lost or done twice; the first stage takes nothing away and changes nothing, the last only deletes."""
    plan = diff(actual, desired)
    assert in_stages(plan).steps == tuple(sorted(plan.steps, key=lambda step: VERBS.index(step.verb)))
    assert apply(in_stages(plan), actual) == apply(plan, actual) == desired
    assert plan.stage(*plan.verbs) == plan
    added = apply(plan.stage("add"), actual)
    assert added.flows >= actual.flows and added.groups >= actual.groups and added.meters >= actual.meters
    modified = apply(plan.stage("modify"), added)
    assert modified.flows >= desired.flows and modified.groups >= desired.groups and modified.meters >= desired.meters
    assert all(plan.stage(verb) for verb in plan.verbs)


@pytest.mark.parametrize("order", [lambda plan: plan, in_stages], ids=["a plan", "its stages"])
@settings(max_examples=40, deadline=None)
@given(COMPILED, COMPILED)
def test_at_no_step_a_flow_lacks_its_group_or_meter(
    order: Callable[[Plan], Plan], actual: SwitchState, desired: SwitchState
) -> None:
    """A switch refuses a flow whose group or meter is not there, and their end takes the flows that use them along."""
    assume(actual.groups or desired.groups)
    flows: dict[object, Flow] = dict(by_key(actual))
    there = {Group: set(actual.group_by_number), Meter: set(actual.meter_by_number)}
    uses = Counter(use for flow in actual.flows for use in _uses(flow))
    for step in order(diff(actual, desired)).steps:
        what = step.what
        if isinstance(what, Flow):
            replaced = flows.pop(what.key, None)
            uses.subtract(_uses(replaced) if replaced else ())
            if step.verb != "delete":
                flows[what.key] = what
                uses.update(_uses(what))
                assert all(number in there[kind] for kind, number in _uses(what)), str(step)
        elif step.verb == "delete":
            there[type(what)].remove(what.number)
            assert not uses[type(what), what.number], str(step)
        else:
            there[type(what)].add(what.number)
    assert frozenset(flows.values()) == desired.flows


@settings(max_examples=40, deadline=None)
@given(COMPILED)
def test_a_fresh_switch_is_filled_from_the_back(desired: SwitchState) -> None:
    """On the way in, a flow's next table is complete before the flow is there."""
    missing = Counter(flow.table for flow in desired.flows)
    for step in diff(SwitchState(), desired).steps:
        assert step.verb == "add"
        if isinstance(step.what, Flow):
            assert step.what in desired.flows
            missing[step.what.table] -= 1
            for action in step.what.actions:
                if isinstance(action, Goto):
                    assert not any(count for table, count in missing.items() if table >= action.table), str(step)
    assert not any(missing.values())


def test_a_plan_reads_well() -> None:
    """Steps print as what they do, in ovs-ofctl's words."""
    flow = Flow(0, 100, match(in_port=1), (Output(2),), 1)
    group = Group(7, "all", ((Output(1),),))
    state = SwitchState(frozenset({flow}), frozenset({group}), frozenset({Meter(5, 100, 20)}))
    assert [str(step) for step in diff(SwitchState(), state).steps] == [
        "add meter meter=5,pktps,burst,stats,band=type=drop,rate=100,burst_size=20",
        "add group group_id=7,type=all,bucket=bucket_id:0,actions=output:1",
        "add flow cookie=0x0000000000000001, table=0, priority=100,in_port=1 actions=output:2",
    ]
    assert bool(Plan()) is False


def _uses(flow: Flow) -> list[tuple[type, int]]:
    """The groups and meters a flow's actions name."""
    groups = [(Group, action.group) for action in flow.actions if isinstance(action, ToGroup)]
    meters = [(Meter, action.meter) for action in flow.actions if isinstance(action, (ToMeter, CopyToController))]
    return [*groups, *meters]
