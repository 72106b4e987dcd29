"""Slots of a pool: fair, the same whatever the order, and few of them move when the pool changes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portlb_app.pipeline import MAX_GROUP_BITS, SLOTS
from portlb_app.selection import deviation, group_bits, move, quotas, resize, restrict, slots, slots_among, table

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
    for cached in (table._slots_of_small, table._slots_of_large, table._among_small, table._among_large, table._scores):
        cached.cache_clear()


def test_limits() -> None:
    """No server, no slots; one server, all of them; one more than there are slots, or one twice, is an error."""
    assert slots(()) == ()
    assert slots(("a",)) == ("a",) * SLOTS
    assert set(Counter(slots(pool(SLOTS))).values()) == {1}
    assert slots(("a", "b"), (1, 0)) == ("a",) * SLOTS, "a server of weight 0 gets nothing"
    assert slots(("a", "b"), (0, 0)) == () == slots(("a", "b"), (0, 0), bits=3)
    for bits, most in ((0, SLOTS), (1, 2 * SLOTS)):
        with pytest.raises(ValueError, match=f"{most + 1} servers share {most} slots"):
            slots(pool(most + 1), bits=bits)
    with pytest.raises(ValueError, match="once"):
        slots(("a", "b", "a"))
    with pytest.raises(ValueError, match="a weight"):
        slots(("a", "b"), (1,))
    with pytest.raises(ValueError, match="a weight"):
        slots(("a", "b"), (1, -1))


WEIGHED = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=4), st.integers(1, 256), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(WEIGHED)
@example({"a": 45, "b": 240, "aa": 23, "aaa": 115, "aaaa": 16})  # Webster gives b 141 slots of 139.95
def test_shares_follow_weights(weights: dict[str, int]) -> None:
    """By Webster's method: no slot of one server, but its first, would bring another one nearer to its exact share."""
    shares = Counter(slots(tuple(weights), tuple(weights.values())))
    assert sum(shares.values()) == SLOTS and set(shares) == set(weights)
    for server, weight in weights.items():
        for other in weights if shares[server] > 1 else ():
            turn, next_turn = (2 * shares[server] - 1) * weights[other], (2 * shares[other] + 1) * weight
            assert turn <= next_turn, (server, other, shares)


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


# ---- large pools -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("servers", "bits", "above"), [(1, 0, 0.0), (32, 0, 0.0), (33, 3, 0.016), (50, 3, 0.002), (200, 5, 0.002)]
)
def test_a_large_pool_has_more_slots(servers: int, bits: int, above: float) -> None:
    """Enough that the fullest server has its share and little more: 8192 slots of 200 servers."""
    weights = dict.fromkeys(pool(servers), 1)
    assert group_bits(weights) == bits
    shares = Counter(slots(pool(servers), bits=bits))
    assert deviation(weights, SLOTS << bits) == pytest.approx(max(shares.values()) * servers / (SLOTS << bits) - 1)
    assert deviation(weights, SLOTS << bits) <= above
    assert set(shares) == set(weights) and max(shares.values()) - min(shares.values()) <= 1


@settings(max_examples=30, deadline=None)
@given(st.integers(33, 1024), st.data())
def test_the_number_of_groups(servers: int, data: st.DataObject) -> None:
    """The fullest server is less than 2 % above its share, unless there are too many or too unequal ones."""
    weights = dict(zip(pool(servers), data.draw(st.lists(st.integers(1, 8), min_size=servers, max_size=servers))))
    bits = group_bits(weights)
    assert 1 <= bits <= MAX_GROUP_BITS and servers * 32 <= SLOTS << bits
    assert deviation(weights, SLOTS << bits) < 0.02 or bits == MAX_GROUP_BITS or deviation(weights, SLOTS << 7) >= 0.02
    assert group_bits(weights, most=3) <= 3 or servers > SLOTS << 3
    assert group_bits({**weights, "idle": 0}) == bits, "a server without slots needs none"


def test_slots_of_a_large_pool_stay_the_same_for_ever() -> None:
    """They too are part of what an upgrade must agree on."""
    assert " ".join(slots(pool(40), bits=3)[:16]) == "s8 s36 s26 s16 s38 s27 s39 s34 s20 s39 s2 s32 s39 s31 s35 s8"


def test_order_means_nothing_in_a_large_pool() -> None:
    """Nor does the order of weights."""
    names, weights = pool(60), tuple(range(1, 61))
    assert slots(names, weights, 3) == slots(names[::-1], weights[::-1], 3)


# ---- moves -----------------------------------------------------------------------------------------------------------

WEIGHTS = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), st.integers(0, 16), min_size=1, max_size=60)
BITS = st.sampled_from((0, 0, 2))


def changed(before: tuple[str, ...], after: tuple[str, ...]) -> int:
    """How many slots have another server."""
    return sum(old != new for old, new in zip(before, after, strict=True))


@settings(max_examples=100, deadline=None)
@given(WEIGHTS, WEIGHTS, BITS)
def test_as_few_slots_as_possible_move(before: dict[str, int], after: dict[str, int], bits: int) -> None:
    """Every server has its quota afterwards, and only what somebody has too much of has moved."""
    old = move((), before, bits)
    assert old == slots(tuple(sorted(before)), tuple(before[name] for name in sorted(before)), bits)
    new = move(old, after, bits)
    held, wanted = Counter(old), quotas(after, SLOTS << bits)
    assert Counter(new) == Counter(wanted)
    if old and new:
        assert changed(old, new) == sum(max(0, more - wanted.get(server, 0)) for server, more in held.items())
        assert move(new, after) == new, "and then nothing moves any more"
        again = dict(reversed(after.items()))
        assert move(old, again, bits) == new, "the order of the servers means nothing"


@pytest.mark.parametrize("servers", [4, 12, 50, 200])
def test_one_leaves_and_one_comes(servers: int) -> None:
    """At most 1.1 times the least possible number of slots moves, and coming back undoes it."""
    weights = dict.fromkeys(pool(servers), 1)
    bits = group_bits(weights)
    before = move((), weights, bits)
    least = len(before) / servers
    for gone in list(weights)[:: servers // 4]:
        left = move(before, {name: 1 for name in weights if name != gone})
        assert changed(before, left) == Counter(before)[gone] <= 1.1 * least
        assert move(left, weights) == before
    came = move(before, {**weights, "new": 1})
    assert changed(before, came) == Counter(came)["new"] <= 1.1 * len(before) / (servers + 1)


def test_the_table_after_many_changes() -> None:
    """Changes one after the other end with the same shares as all at once, and each moves the least."""
    weights, total = dict.fromkeys(pool(50), 1), 0
    held = move((), weights, 3)
    for number in range(30):
        weights = {name: weight for name, weight in weights.items() if name != f"s{number}"} | {f"t{number}": 1}
        new = move(held, weights)
        total += changed(held, new)
        held = new
    assert Counter(Counter(held).values()) == Counter(Counter(slots(tuple(weights), bits=3)).values())
    assert total <= 30 * 1.1 * 2048 / 50


def test_slots_go_home() -> None:
    """Slots of a server that is back are those that it had, whatever has happened to the others meanwhile."""
    weights = dict.fromkeys(pool(4), 1)
    held = slots(pool(4))[::-1]  # not the table that a new pool begins with
    without = move(held, {name: 1 for name in weights if name != "s2"})
    assert move(without, weights, homes=[held]) == held
    lost = tuple(None if server == "s1" else server for server in held)
    assert move(lost, weights, homes=[held]) == held
    others = {name: 1 for name in weights if name != "s1"}
    assert Counter(move(lost, others)) == Counter(quotas(others, SLOTS))


def test_more_groups_move_nothing() -> None:
    """A packet finds the same server: a further bit of its source port chooses between two groups that are equal."""
    small = slots(pool(20))
    large = resize(small, 2)
    assert [large[group * SLOTS : (group + 1) * SLOTS] for group in range(4)] == [small] * 4
    assert resize(large, 0) == small and resize((), 3) == ()


def test_a_table_among_some() -> None:
    """Also of a table that has its own history: those that can be reached keep their slots and share the others'."""
    weights = dict.fromkeys(pool(60), 1)
    held = move(move((), weights, 3), {**weights, "new": 5})
    some = frozenset({"new", *pool(30)})
    among = restrict(held, {**weights, "new": 5}, some)
    assert all(here == there for here, there in zip(among, held, strict=True) if there in some)
    shares = Counter(among)
    assert set(shares) == some and shares.pop("new") == pytest.approx(len(held) * 5 / 35, abs=1)
    assert max(shares.values()) - min(shares.values()) <= 1
    assert restrict(held, weights, frozenset()) == () == restrict((), weights, some)
    assert set(restrict(("a",) * SLOTS, {"a": 1, "b": 1}, frozenset("b"))) == {"b"}, "one without slots stands in"
