"""Slots of a pool: fair, the same whatever the order, and few of them move when the pool changes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portlb_app import selection
from portlb_app.pipeline import SLOTS
from portlb_app.selection import slots
from portlb_app.selection.changes import among, slots_among

NAMES = st.lists(
    st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=8), min_size=1, max_size=SLOTS, unique=True
)


def pool(size: int) -> tuple[str, ...]:
    """Servers with the names an administrator gives."""
    return tuple(f"s{number}" for number in range(size))


def moved(before: tuple[str, ...], after: tuple[str, ...]) -> int:
    """How many slots another server has afterwards."""
    return sum(old != new for old, new in zip(slots(before), slots(after), strict=True))


@settings(max_examples=40, deadline=None)
@given(NAMES)
def test_shares_are_equal_to_within_one_slot(names: list[str]) -> None:
    """Every server has its share, at any size of the pool and with any names."""
    shares = Counter(slots(tuple(names)))
    assert sum(shares.values()) == SLOTS == 256
    assert set(shares) == set(names)
    assert max(shares.values()) - min(shares.values()) <= 1


@settings(max_examples=20, deadline=None)
@given(NAMES.flatmap(lambda names: st.tuples(st.just(names), st.permutations(names))))
def test_order_means_nothing(both: tuple[list[str], list[str]]) -> None:
    """The file's order, or a switch's, changes no slot."""
    assert slots(tuple(both[0])) == slots(tuple(both[1]))


def test_slots_stay_the_same_for_ever() -> None:
    """They are part of what an upgrade or another switch must agree on: connections stand on them."""
    assert "".join(slots(("a", "b", "c", "d"))[:32]) == "cddcaacbadcadbcbbcccabbcbdbacdad"


@pytest.mark.parametrize(
    ("size", "least", "average", "worst", "joins"),
    [(2, 128.0, 128, 128, 88), (4, 64.0, 70, 72, 58), (12, 21.4, 30, 32, 32), (50, 5.2, 17, 21, 13)],
)
def test_a_changed_pool_moves_little_more_than_it_must(
    size: int, least: float, average: float, worst: int, joins: int
) -> None:
    """Slots that move when one server leaves, and when one joins: measured, and held to that.

    The least possible when one leaves is 256/n, its own slots. With 4 servers 70 move on average and 72 at worst,
    against 64; with 12, 30 and 32 against 21; with 50, 17 and 21 against 5.
    """
    names = pool(size)
    leaves = [moved(names, tuple(name for name in names if name != gone)) for gone in names]
    assert int(least) <= sum(leaves) / size <= average
    assert max(leaves) <= worst
    assert moved(names, (*names, "new")) <= joins


def test_a_server_that_leaves_and_comes_back_has_its_slots_again() -> None:
    """Slots are a function of the pool's names, not of its past: computed anew they are the same."""
    forget()
    before = slots(pool(4))
    forget()
    others = [slots(pool(3)), slots(("new", *pool(4))), slots_among(pool(4), (1, 2, 3, 4), frozenset(pool(2)))]
    again = slots(pool(4))
    assert again is not before, "computed, not remembered"
    assert again == before and before not in others


def forget() -> None:
    """Empty the module's caches."""
    for cached in (slots, among, selection.scores):
        cached.cache_clear()


def test_limits() -> None:
    """No server, no slots; one server, all of them; one more than there are slots, or one twice, is an error."""
    assert slots(()) == ()
    assert slots(("a",)) == ("a",) * SLOTS
    assert set(Counter(slots(pool(SLOTS))).values()) == {1}
    with pytest.raises(ValueError, match="at most 256"):
        slots(pool(SLOTS + 1))
    with pytest.raises(ValueError, match="each once"):
        slots(("a", "b", "a"))
    with pytest.raises(ValueError, match="a weight"):
        slots(("a", "b"), (1,))
    with pytest.raises(ValueError, match="a weight"):
        slots(("a", "b"), (1, 0))


WEIGHED = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=4), st.integers(1, 256), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(WEIGHED)
def test_shares_follow_weights(weights: dict[str, int]) -> None:
    """To within one slot of the exact share, except that every server has at least one, at the cost of all others."""
    shares = Counter(slots(tuple(weights), tuple(weights.values())))
    total = sum(weights.values())
    small = sum(1 for weight in weights.values() if weight * SLOTS < total)
    assert sum(shares.values()) == SLOTS and set(shares) == set(weights)
    for server, weight in weights.items():
        exact = SLOTS * weight / total
        assert exact - 1 - small < shares[server] < exact + 1 or shares[server] == 1, (server, exact, shares)


@settings(max_examples=60, deadline=None)
@given(WEIGHED, st.data())
def test_a_reachable_server_keeps_its_slots(weights: dict[str, int], data: st.DataObject) -> None:
    """A switch with some of the servers agrees with a switch with all of them about every slot of theirs."""
    some = frozenset(data.draw(st.sets(st.sampled_from(sorted(weights)), min_size=1)))
    servers, given_weights = tuple(weights), tuple(weights.values())
    every, among = slots(servers, given_weights), slots_among(servers, given_weights, some)
    assert all(here == there for here, there in zip(among, every, strict=True) if there in some)
    alone = {server: weights[server] for server in servers if server in some}
    assert Counter(among) == Counter(slots(tuple(alone), tuple(alone.values()))), "and each has its share"


def test_no_server_can_be_reached() -> None:
    """Then there are no slots."""
    assert slots_among(("a", "b"), (1, 1), frozenset()) == ()
