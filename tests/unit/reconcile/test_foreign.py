"""Flows of others: which of portlb's they take packets from."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portlb_app import compiler
from portlb_app.config import load
from portlb_app.openflow import ETH_ARP, ETH_IPV4, FIELDS, IP_TCP, Flow, Match, Output, match
from portlb_app.pipeline import CLASSIFY, REDIRECT, SERVICE
from portlb_app.reconcile import foreign
from portlb_app.reconcile.foreign import NONE, Comparison, Foreign
from portlb_app.reconcile.reading import Page, Reading

FIG2 = (Path(__file__).parents[3] / "flows/fig2/lb.yaml").read_text()
OURS = compiler.compile(load(FIG2))["s1"].flows
VIP = 0x0A000064
OUT = (Output(9),)


def flow(table: int, priority: int, matching: Match, cookie: int = 0x99) -> Flow:
    """A flow of others."""
    return Flow(table, priority, matching, OUT, cookie)


def compared(*others: Flow, unread: int = 0, ours: frozenset[Flow] = OURS) -> Foreign:
    """What there is to tell."""
    return Comparison().of(frozenset(others), unread, ours)


def test_without_flows_of_others_there_is_nothing_to_tell() -> None:
    assert compared() == NONE


@pytest.mark.parametrize(
    "other",
    [
        flow(0, 5, match()),  # what portlb would drop
        flow(0, 300, match(in_port=9)),
        flow(0, 150, match(in_port=1)),  # portlb's flow for this port comes first
        flow(10, 90, match(eth_type=ETH_ARP)),
        flow(40, 1, match(eth_type=ETH_IPV4, ip_proto=IP_TCP, ip_dst=VIP + 1)),
    ],
    ids=str,
)
def test_what_takes_nothing_is_counted_and_no_more(other: Flow) -> None:
    if other.table == 40:  # its miss goes on to the next table, which a foreign flow may not stop
        ours = frozenset(each for each in OURS if each.priority)
        assert compared(other, ours=ours).shadowing == 0
    else:
        assert compared(other) == Foreign(1)


@pytest.mark.parametrize(
    ("other", "table", "ours"),
    [
        (flow(0, 200, match(in_port=1)), "CLASSIFY", "in_port=1"),
        (flow(0, 60000, match()), "CLASSIFY", "vlan_vid"),
        (flow(10, 32768, match(eth_type=ETH_ARP, arp_op=1)), "NEIGHBOUR", "arp"),
        (flow(40, 0xFFFF, match(eth_type=ETH_IPV4, ip_dst=(VIP & ~0xFF, 0xFFFFFF00))), "SERVICE", "ip_dst=10.0.0.100"),
        (flow(50, 300, Match(opaque="80000a02")), "REDIRECT", "ip_dst=10.0.0.100"),
    ],
    ids=str,
)
def test_what_comes_first_is_told(other: Flow, table: str, ours: str) -> None:
    """With the first of portlb's flows, and why that is there. What a match has that is not known may be anything."""
    (shadow,) = compared(other).shadows
    assert (shadow.table, shadow.table_name) == (other.table, table)
    assert (shadow.priority, shadow.cookie) == (other.priority, 0x99)
    assert ours in shadow.ours and "(" in shadow.ours and shadow.count >= 1 and shadow.below <= other.priority


def test_of_many_there_are_the_first_and_the_number() -> None:
    others = [flow(0, 1000 + number, match(in_port=1)) for number in range(foreign.SHOWN + 5)]
    found = compared(*others, unread=7)
    assert (found.flows, found.unread, found.shadowing) == (foreign.SHOWN + 12, 7, foreign.SHOWN + 5)
    assert len(found.shadows) == foreign.SHOWN


def test_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Foreign flows that would need more comparisons are counted as not looked at."""
    monkeypatch.setattr(foreign, "WORK", 1)
    names = ("tcp_dst", "tcp_src", "tcp_flags", "ip_src", "ip_dst")
    others = [flow(50, 500, match(eth_type=ETH_IPV4, ip_proto=IP_TCP, **{name: 1})) for name in names]
    found = compared(*others)
    assert 0 < found.unread < len(others) and found.flows == len(others)


def test_equal_flows_are_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    comparison, others = Comparison(), frozenset({flow(0, 1000, match(in_port=1))})
    first = comparison.of(others, 0, OURS)
    monkeypatch.setattr(foreign, "_compare", lambda *_: pytest.fail("nothing has changed"))
    assert comparison.of(frozenset(others), 0, OURS) is first


def _matches() -> st.SearchStrategy[Match]:
    """Matches on a few bits, so that many of them overlap."""
    value = st.tuples(st.integers(0, 3), st.sampled_from((1, 2, 3)))
    fields = st.dictionaries(st.sampled_from(("in_port", "tcp_dst", "ip_src")), value, max_size=3)
    return fields.map(lambda found: match(**{name: (each & mask, mask) for name, (each, mask) in found.items()}))


@given(st.lists(st.tuples(_matches(), st.integers(1, 9)), max_size=12), _matches(), st.integers(0, 9))
def test_the_count_is_that_of_all_pairs(given_ours: list[tuple[Match, int]], other: Match, priority: int) -> None:
    """As one that compares each with each and bit by bit would find."""
    ours = frozenset(Flow(50, each, matching, OUT, 1) for matching, each in given_ours)
    theirs = flow(50, priority, other)

    def overlap(one: Match, two: Match) -> bool:
        masks = {name: (value, (1 << FIELDS[name].bits) - 1 if mask is None else mask) for name, value, mask in two}
        for name, value, mask in one:
            here = (1 << FIELDS[name].bits) - 1 if mask is None else mask
            there, also = masks.get(name, (0, 0))
            if (value ^ there) & here & also:
                return False
        return True

    expected = [each for each in ours if each.priority <= priority and overlap(each.match, other)]
    found = compared(theirs, ours=ours)
    assert sum(each.count for each in found.shadows) == len(expected)
    if expected:
        (shadow,) = found.shadows
        assert shadow.below == min(each.priority for each in expected)
        assert f"of priority {max(each.priority for each in expected)}" in shadow.ours


def test_tables_with_flows_of_others_are_asked_for_within_bounds() -> None:
    """By the difference to what was read; a table that has too many, or is none of portlb's, is not."""
    shown = [each for each in OURS if each.table in (CLASSIFY.number, SERVICE.number)]
    reading = Reading()
    reading.take("flows", [b""], lambda _kind, _message: Page(shown))
    own = {number: sum(each.table == number for each in OURS) for number in (CLASSIFY.number, SERVICE.number)}
    assert reading.occupied({**own, 200: 50}) == () and reading.unread == 0
    counts = {CLASSIFY.number: own[0] + 2, SERVICE.number: own[40] + foreign.LOOKED_AT, REDIRECT.number: 3, 200: 5}
    assert reading.occupied(counts) == (CLASSIFY.number, REDIRECT.number)
    assert reading.unread == foreign.LOOKED_AT
    other = flow(0, 5, match())
    reading.take("foreign", [b""], lambda _kind, _message: Page([other]))
    assert reading.foreign == {other} and reading.state.flows == set(shown)
