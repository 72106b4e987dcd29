"""Slots, and how they move, are what the plainest code says (`tests.support.plain_slots`)."""

from __future__ import annotations

from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st

from portlb_app.pipeline import SLOTS
from portlb_app.selection import move, quotas, slots
from portlb_app.selection.quotas import awards
from tests.support import plain_slots as plain

SERVER = st.text("abcdefgh", min_size=1, max_size=3)
WEIGHT = st.one_of(st.integers(0, 3), st.integers(0, 256), st.integers(0, 2_000_000))
WEIGHTS = st.dictionaries(SERVER, WEIGHT, max_size=120)
BITS = st.sampled_from((0, 0, 1, 2, 3))


@settings(deadline=None)
@given(WEIGHTS, st.sampled_from((128, 256, 333, 1024, 4096)))
def test_awards(weights: dict[str, int], count: int) -> None:
    """Also of weights of which each server has another, or that are far apart, or have their turns together."""
    assert quotas(weights, count) == plain.quotas(weights, count)
    assert awards(weights, count) == list(islice(plain.awards(weights), count))


@settings(deadline=None)
@given(WEIGHTS, BITS)
def test_slots(weights: dict[str, int], bits: int) -> None:
    """Of small pools and of large ones."""
    assert slots(tuple(weights), tuple(weights.values()), bits) == plain.slots(weights, bits)


@settings(deadline=None)
@given(WEIGHTS, WEIGHTS, WEIGHTS, BITS, st.data())
def test_moves(
    before: dict[str, int], after: dict[str, int], earlier: dict[str, int], bits: int, data: st.DataObject
) -> None:
    """With slots that have no server, and homes that have others or fewer slots."""
    gone = data.draw(st.sets(st.sampled_from(sorted(before)))) if before else set()
    old = tuple(None if server in gone else server for server in plain.slots(before, bits))
    every = [
        plain.slots(earlier, 0),
        tuple(None if server in gone else server for server in plain.slots(earlier, bits)),
        plain.slots(before | after, bits) if len(before | after) <= SLOTS else (),
    ]
    homes = data.draw(st.lists(st.sampled_from(every), max_size=2))
    expected = plain.move(old, after, homes) if old and any(after.values()) else plain.slots(after, bits)
    assert move(old, after, bits, homes) == expected


def test_pools_of_many_servers() -> None:
    """A large table of equal weights, and of weights of which each server has another."""
    for weights in ({f"s{number}": 1 for number in range(300)}, {f"s{n}": 1024 + 37 * n for n in range(300)}):
        before = slots(tuple(weights), tuple(weights.values()), 5)
        assert before == plain.slots(weights, 5)
        left = {name: weight for name, weight in weights.items() if name != "s77"}
        assert move(before, left, homes=[before]) == plain.move(before, left, [before])
