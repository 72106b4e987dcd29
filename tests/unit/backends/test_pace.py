"""Slots move as fast as a port allows, none twice, and those of servers that do not work at once."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portlb_app.backends.pace import Pace
from portlb_app.config import Moves
from portlb_app.pipeline import SLOTS
from portlb_app.selection import move

FREE, NEVER = Moves(None), Moves(0)


def pool(size: int) -> dict[str, int]:
    """Servers of equal weight."""
    return {f"s{number}": 1 for number in range(size)}


def changed(before: tuple[str, ...], after: tuple[str, ...]) -> int:
    """How many slots differ."""
    return sum(old != new for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("servers", [2, 4, 10, 50])
def test_slow_start(servers: int) -> None:
    """A server that is back gets its slots one by one: no other slot moves, and none has too many on the way."""
    whole = pool(servers)
    goal = move((), whole)
    present = move(goal, {name: 1 for name in whole if name != "s1"})
    pace, moved, last = Pace(), 0, present
    fair = SLOTS / servers
    must = changed(present, goal)
    pace.begin("s1", 100.0)
    had = []
    for second in range(0, 61):
        table = pace.step(last, goal, whole, FREE, 30, 100.0 + second / 2)
        moved += changed(last, table)
        last = table
        shares = Counter(table)
        had.append(shares["s1"])
        others = max(Counter(present).values())
        assert max(shares.values()) <= max(others, 1.35 * fair)
    assert last == goal and moved == must == Counter(goal)["s1"], "and only those that must"
    assert had[0] == 1 and had == sorted(had) and had[30] == pytest.approx(Counter(goal)["s1"] / 2, abs=1)
    assert not pace.since


def test_the_fullest_on_the_way() -> None:
    """With ten servers nobody has more than 1.35 times its fair share while one comes back, or two do."""
    whole = pool(10)
    goal = move((), whole)
    present = move(goal, {name: 1 for name in whole if name not in ("s1", "s2")})
    pace, last = Pace(), present
    for server, when in (("s1", 0.0), ("s2", 5.0)):
        pace.begin(server, when)
    for second in range(40):
        last = pace.step(last, goal, whole, FREE, 30, float(second))
        assert max(Counter(last).values()) <= 1.35 * SLOTS / 10
    assert last == goal


def test_a_start_goes_on_where_it_was() -> None:
    """A controller that starts anew finds a part of the slots revealed; it neither waits nor hurries."""
    whole = pool(4)
    goal = move((), whole)
    present = move(goal, {name: 1 for name in whole if name != "s1"})
    pace = Pace()
    pace.begin("s1", 0.0)
    half = pace.step(present, goal, whole, FREE, 30, 15.0)
    next_one = Pace()
    next_one.resume("s1", Counter(half)["s1"] / Counter(goal)["s1"], 30, 1000.0)
    assert next_one.step(half, goal, whole, FREE, 30, 1000.0) == half, "nothing moves at once"
    later = next_one.step(half, goal, whole, FREE, 30, 1003.0)
    assert later == pace.step(half, goal, whole, FREE, 30, 18.0)
    assert next_one.step(later, goal, whole, FREE, 30, 1015.1) == goal


def test_so_many_a_second() -> None:
    """A budget: at most N in any second, and nothing is saved up for long."""
    goal, present = ("b",) * SLOTS, ("a",) * SLOTS
    pace, last, times = Pace(), present, []
    for tick in range(0, 400):
        now = tick / 4
        table = pace.step(last, goal, "ab", Moves(2), 0, now)
        times += [now] * changed(last, table)
        last = table
    assert len(times) == pytest.approx(2 * 100, abs=2)
    assert all(sum(now <= each < now + 1 for each in times) <= 4 for now in range(100))
    table = pace.step(last, goal, "ab", Moves(2), 0, 1000.0)
    assert changed(last, table) <= 2, "an hour without moves allows no more"


def test_never() -> None:
    """Slots of a server that works stay; those of one that does not are taken over at once."""
    goal, present = ("b",) * SLOTS, ("a", "c") * (SLOTS // 2)
    table = Pace().step(present, goal, {"a", "b"}, NEVER, 0, 0.0)
    assert table == ("a", "b") * (SLOTS // 2)
    table = Pace().step(("a", None) * (SLOTS // 2), goal, {"a", "b"}, NEVER, 0, 0.0)
    assert table == ("a", "b") * (SLOTS // 2)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 9), min_size=1), st.data())
def test_every_pace_ends_at_the_goal(weights: dict[str, int], data: st.DataObject) -> None:
    """After as many moves as differ, whatever the pace; and each slot moves once."""
    before = move((), data.draw(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 9), min_size=1)))
    goal = move(before, weights)
    moves = data.draw(st.sampled_from((FREE, Moves(7), Moves(100))))
    slow, pace, last, moved = data.draw(st.integers(0, 20)), Pace(), before, 0
    for server in weights:
        if server not in before and slow:
            pace.begin(server, 0.0)
    for second in range(300):
        table = pace.step(last, goal, "abcdefgh", moves, slow, float(second))
        moved += changed(last, table)
        last = table
    assert last == goal and moved == changed(before, goal)
