"""Sums that never get smaller: what switches count and count anew, slots that move, servers that change."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from portlb_app import compiler
from portlb_app.backends import Change
from portlb_app.backends.states import Cause, Judgement, Seen
from portlb_app.compiler.traffic import Direction, Traffic
from portlb_app.config import load
from portlb_app.pipeline import PUNTED, SERVICE, Reason, metered_reason
from portlb_app.reconcile.passed import Counters
from portlb_app.reconcile.results import Amount, Counted, FlowCount, Passed
from portlb_app.reconcile.totals import Totals
from portlb_app.topology.conditions import HeldSlots

CONFIG = load((Path(__file__).parents[3] / "flows/fig2/lb.yaml").read_text())
STATE = compiler.compile(CONFIG)["s1"]
FLOW = next(flow for flow in STATE.flows if flow.table == SERVICE.number and "tcp_dst=1 " in str(flow))
GROUP = min(STATE.groups, key=lambda group: group.number)  # of a pool, unlike the one that tells slots
TO_A = ("a", Direction.TO_SERVER)
FROM = Direction.FROM_SERVER


def passed(counters: Counters, packets: int | None, buckets: dict[int, int] | None = None) -> Passed:
    """A read in which the flow to a's service port has these packets; None: it is not there."""
    flows = [] if packets is None else [FlowCount(FLOW, Amount(packets, 100 * packets))]
    counts = [(buckets or {}).get(slot, 0) for slot in range(256)]
    groups = {GROUP.number: Counted(GROUP.number, tuple(counts), tuple(10 * count for count in counts))}
    return counters.compare(Traffic(CONFIG, CONFIG.switches[0]), flows, STATE.group_by_number, groups)


def test_the_first_read_only_says_of_what() -> None:
    """What a switch counted before is not known to be of this controller's time."""
    found = passed(Counters(), 1000, {0: 7})
    assert found.servers[TO_A] == Amount(0, 0) and set(found.pools.values()) == {Amount(0, 0)}


def test_flows_that_are_added_anew_go_on() -> None:
    counters = Counters()
    passed(counters, 1000)
    assert passed(counters, 1010).servers[TO_A] == Amount(10, 1000)
    assert passed(counters, 3).servers[TO_A] == Amount(3, 300), "it began anew"
    passed(counters, None)
    assert passed(counters, 8).servers[TO_A] == Amount(8, 800), "it was away"


def test_a_group_that_is_changed_begins_anew_even_if_it_has_counted_more() -> None:
    counters = Counters()
    passed(counters, 0, {0: 5})
    known = counters._groups[GROUP.number]
    counters._groups[GROUP.number] = next(each for each in STATE.groups if each != GROUP), known[1]
    (amount,) = [each for each in passed(counters, 0, {0: 9}).pools.values() if each.packets]
    assert amount == Amount(9, 90)


def test_datagrams_to_service_ports_are_counted_apart_too() -> None:
    """UDP, and nothing else: they are among the server's packets, and go on when the flow is added anew."""
    counters, totals, traffic = Counters(), Totals(), Traffic(CONFIG, CONFIG.switches[0])
    udp = next(flow for flow in STATE.flows if flow.table == SERVICE.number and "udp_dst=1 " in str(flow))
    for of_tcp, of_udp in ((5, 7), (15, 27), (15, 4)):
        flows = [FlowCount(FLOW, Amount(of_tcp, 0)), FlowCount(udp, Amount(of_udp, 0))]
        totals.count_passed(counters.compare(traffic, flows, STATE.group_by_number, {}), 0.0)
    assert totals.datagrams == {"a": Amount(20 + 4, 0)} and totals.servers[TO_A] == Amount(10 + 20 + 4, 0)


def test_a_switch_whose_groups_were_not_asked_says_nothing_of_what_servers_got() -> None:
    counters, traffic = Counters(), Traffic(CONFIG, CONFIG.switches[0])
    flows = [FlowCount(flow, Amount(1, 60)) for flow in STATE.flows]
    found = counters.compare(traffic, flows, STATE.group_by_number, None)
    assert {way for _, way in found.servers} == {Direction.FROM_SERVER} and not found.pools


def test_of_what_servers_send_it_is_known_how_much_is_ipv6() -> None:
    """Also after flows were added anew."""
    config = load((Path(__file__).parents[3] / "flows/ipv6/lb.yaml").read_text())
    state, counters, traffic = compiler.compile(config)["s1"], Counters(), Traffic(config, config.switches[0])
    mine = [flow for flow in state.flows if (account := traffic.of_flow(flow)) and account.way == ("a", FROM)]
    versions = {version: [flow for flow in mine if ("ipv6" in str(flow)) is (version == 6)] for version in (4, 6)}
    assert versions[4] and versions[6]
    for amounts in ({4: 0, 6: 0}, {4: 5, 6: 7}, {4: 2, 6: 1}):
        flows = [FlowCount(versions[each][0], Amount(count, 60 * count)) for each, count in amounts.items()]
        found = counters.compare(traffic, flows, {}, None)
        assert (found.servers["a", FROM].packets, found.by_ipv6["a"]) == (sum(amounts.values()), amounts[6])


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=30))
def test_sums_are_never_too_large_and_never_go_down(steps: list[tuple[int, bool]]) -> None:
    """So many packets come, and then the switch may start again, before each read."""
    counters, totals, really, told, last = Counters(), Totals(), 0, 0, 0
    passed(counters, 0)
    for came, starts_again in steps:
        really, told = really + came, (0 if starts_again else told + came)
        totals.count_passed(passed(counters, told), 5.0)
        now = totals.servers[TO_A].packets
        assert last <= now <= really
        last = now
    if not any(again for _, again in steps):
        assert last == really


def test_meters_that_begin_anew_go_on() -> None:
    number = next(each for each in range(1 << 16) if metered_reason(each) in PUNTED)
    reason, totals = metered_reason(number), Totals()
    assert isinstance(reason, Reason)
    for counted in ({number: 100}, {number: 130}, {number: 5}, {}, {number: 2}):
        totals.count_meters(1, counted)
    assert totals.metered[1, reason] == 30 + 5 + 2


def test_slots_are_counted_by_one_switch_and_by_cause() -> None:
    """Several hold a pool; what something else changed, and what puts it right, is drift."""
    key, totals = ("web", 20), Totals()
    old, new = HeldSlots(("a",) * 256), HeldSlots(("a",) * 200 + ("b",) * 56)
    totals.causes[key] = Cause.HEALTH
    for dpid in (1, 2):
        totals.count_moves(dpid, {key: old}, {key: new}, [1, 2], False)
    assert totals.slot_moves == {(key, "health"): 56}
    totals.count_moves(1, {key: new}, {key: old}, [1, 2], True)
    totals.count_moves(1, {key: old}, {key: new}, [1, 2], False)
    assert totals.slot_moves == {(key, "health"): 56, (key, "drift"): 112}
    totals.count_moves(2, {key: new}, {key: HeldSlots(("a",) * 512)}, [2], False)
    assert totals.slot_moves[key, "health"] == 56 + 512, "the other one is gone"


def test_a_server_that_changes_in_several_pools_counts_once() -> None:
    totals = Totals()
    up, down = Judgement(Seen.UP), Judgement(Seen.DOWN, "its port is down", 5.0, "port")
    totals.count_changes([Change("a", ("web", port), up, down) for port in (0, 20, 22)], 5.0)
    totals.count_changes([Change("a", ("web", 20), Judgement(), up)], 6.0)
    assert totals.state_changes == {("a", "port"): 1} and totals.changed_at == {"a": 5.0}


def test_what_is_gone_from_the_configuration_is_forgotten() -> None:
    totals = Totals()
    totals.servers[("z", Direction.TO_SERVER)] = totals.servers[TO_A] = Amount(1, 1)
    totals.pools[("web", 20)] = totals.pools[("web", 99)] = Amount(1, 1)
    totals.datagrams["z"] = totals.datagrams["a"] = Amount(1, 1)
    totals.connections.update({1: 1, 9: 1})
    totals.keep(CONFIG)
    assert list(totals.servers) == [TO_A] and list(totals.pools) == [("web", 20)] and list(totals.connections) == [1]
    assert list(totals.datagrams) == ["a"]
