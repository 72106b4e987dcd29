"""Links: down at once, back after a while, by what either end says."""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest

from portlb_app.config import Connector, Link
from portlb_app.topology.damping import HALF_LIFE, HOLD, MAX_HOLD
from portlb_app.topology.links import HOLD_UNHEARD, End, Links

A, B, C = 1, 2, 3
AB = Link(Connector("a", 1), Connector("b", 1))
BC = Link(Connector("b", 2), Connector("c", 1))
ENDS: dict[Link, tuple[End, End]] = {AB: ((A, 1), (B, 1)), BC: ((B, 2), (C, 1))}


@pytest.fixture
def links() -> Links:
    """Both links up, and all switches heard."""
    links = Links()
    links.see(A, frozenset({1, 7}))
    links.see(B, frozenset({1, 2}))
    links.see(C, frozenset({1}))
    assert links.judge(ENDS, 0.0) == frozenset()
    return links


def test_a_link_nobody_speaks_of_works() -> None:
    links = Links()
    assert links.judge(ENDS, 0.0) == frozenset()
    links.see(A, frozenset({1}))
    assert links.judge(ENDS, 0.0) == frozenset()


@pytest.mark.parametrize(("dpid", "up", "down"), [(A, {7}, {AB}), (B, {2}, {AB}), (B, set(), {AB, BC}), (C, {2}, {BC})])
def test_either_end_takes_a_link_down_at_once(links: Links, dpid: int, up: set[int], down: set[Link]) -> None:
    """A port that is not there is as good as one that is down."""
    links.see(dpid, frozenset(up))
    assert links.judge(ENDS, 0.1) == links.down == down


def test_a_link_comes_back_when_it_has_been_up_for_a_while(links: Links) -> None:
    links.see(A, frozenset())
    links.judge(ENDS, 0.0)
    links.see(A, frozenset({1}))
    assert links.judge(ENDS, 5.0) == {AB}
    assert links.judge(ENDS, 4.9 + HOLD) == {AB}
    assert links.judge(ENDS, 5.0 + HOLD) == frozenset()
    links.see(A, frozenset())
    assert links.judge(ENDS, 5.0 + HOLD) == {AB}, "and goes at once"


def test_a_link_that_flaps_stays_down(links: Links) -> None:
    for flap in range(20):
        links.see(A, frozenset() if flap % 2 == 0 else frozenset({1}))
        assert links.judge(ENDS, flap * HOLD * 0.9) == {AB}


def test_a_link_that_flaps_slowly_is_used_ever_less(links: Links) -> None:
    """Down for 2.5 s, up for 2.5 s: it costs four changes in 100 s, not forty. Then it is left alone until it rests."""
    changes, before = 0, links.down
    for tenth in range(1000):
        links.see(A, frozenset() if tenth % 50 < 25 else frozenset({1}))
        changes += links.judge(ENDS, tenth / 10) != before
        before = links.down
    assert changes <= 5 and links.down == {AB}
    assert HOLD < links.hold(AB, 100.0) <= MAX_HOLD
    links.see(A, frozenset({1}))
    assert links.judge(ENDS, 100.0) == {AB}
    assert links.judge(ENDS, 100.0 + MAX_HOLD) == frozenset()


def test_that_a_link_flapped_is_forgotten(links: Links) -> None:
    for flap in range(20):
        links.see(A, frozenset() if flap % 2 == 0 else frozenset({1}))
        links.judge(ENDS, flap * 0.1)
    assert links.hold(AB, 2.0) == MAX_HOLD
    assert links.hold(AB, 2.0 + 10 * HALF_LIFE) == HOLD


def test_a_switch_that_is_not_heard_leaves_it_to_the_other_end(links: Links) -> None:
    """Its packets go on without a controller; but a link that was down comes back later on one end's word alone."""
    links.forget(A)
    assert links.judge(ENDS, 0.0) == frozenset()
    links.see(B, frozenset({2}))
    assert links.judge(ENDS, 1.0) == {AB}
    links.see(B, frozenset({1, 2}))
    assert links.judge(ENDS, 2.0) == {AB}
    assert links.judge(ENDS, 2.0 + HOLD) == {AB}
    assert links.judge(ENDS, 2.0 + HOLD_UNHEARD) == frozenset()


def test_once_both_ends_are_heard_the_time_that_passed_counts(links: Links) -> None:
    links.see(B, frozenset({2}))
    links.forget(A)
    links.judge(ENDS, 0.0)
    links.see(B, frozenset({1, 2}))
    links.judge(ENDS, 1.0)
    links.see(A, frozenset({1}))
    assert links.judge(ENDS, 1.0 + HOLD) == frozenset()


def test_a_link_that_is_not_asked_about_is_forgotten(links: Links) -> None:
    links.see(A, frozenset())
    assert links.judge(ENDS, 0.0) == {AB}
    assert links.judge({BC: ENDS[BC]}, 1.0) == frozenset()
    links.see(A, frozenset({1}))
    assert links.judge(ENDS, 2.0) == frozenset(), "no packet has used it, so none waits"


def test_a_link_that_was_down_costs_nothing_once_it_works() -> None:
    """Else every event of a network whose links were all down once would look at all of them."""

    class Ends(dict[Link, tuple[End, End]]):
        looked_at = 0

        def __getitem__(self, link: Link) -> tuple[End, End]:
            self.looked_at += 1
            return super().__getitem__(link)

    links, ends = Links(), Ends(ENDS)
    for up, now in (({1, 2}, 0.0), (set[int](), 1.0), ({1, 2}, 2.0), ({1, 2}, 2.0 + HOLD)):
        for dpid in (A, B, C):
            links.see(dpid, frozenset(up))
        links.judge(ends, now)
    assert links.down == frozenset()
    ends.looked_at = 0
    assert links.judge(ends, 3.0 + HOLD) == frozenset()
    assert ends.looked_at == 0


def test_what_nobody_has_said_anything_about_need_not_be_looked_at() -> None:
    """Judged after every event as one mapping, or as a new one each time, the same links are down at each moment."""
    dice = Random(11)
    links = {
        Link(Connector(f"s{one}", other), Connector(f"s{other}", one)): ((one, other), (other, one))
        for one, other in combinations(range(6), 2)
    }
    some, anew = Links(), Links()
    now = 0.0
    for _ in range(3000):
        now += dice.choice((0.0, 0.25, 0.25, 5.0))
        dpid, ports = dice.randrange(6), frozenset(port for port in range(6) if dice.random() < 0.95)
        for each in (some, anew):
            if dpid == 5 and now % 2 < 1:
                each.forget(dpid)
            else:
                each.see(dpid, ports)
        assert some.judge(links, now) == anew.judge(dict(links), now)
        assert all(some.hold(link, now) == anew.hold(link, now) for link in links)
