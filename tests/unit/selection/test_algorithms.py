"""The algorithms that say which server a slot names, beside its hash: lots, turns, packets."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portlb_app.pipeline import SLOTS
from portlb_app.selection import packets, quotas
from portlb_app.selection.shuffled import shuffled
from portlb_app.selection.turns import elevator, round_robin

WEIGHTS = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), st.integers(0, 16), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(WEIGHTS, st.integers(0, 1000), st.sampled_from((SLOTS, 4 * SLOTS)))
def test_shares_are_exact_in_every_turn(weights: dict[str, int], turn: int, count: int) -> None:
    """Every algorithm gives each server its quota, whatever the turn; nothing depends on the order of the weights."""
    again = dict(reversed(weights.items()))
    for algorithm in (shuffled, round_robin, elevator):
        table = algorithm(weights, count, turn)
        assert Counter(table) == Counter(quotas(weights, count))
        assert table == algorithm(again, count, turn)


def test_l1_random() -> None:
    """Lots are drawn anew every turn: about as many slots keep their server as chance has it, and all get every one."""
    weights = dict.fromkeys("abcd", 1)
    tables = [shuffled(weights, SLOTS, turn) for turn in range(40)]
    same = [sum(one == other for one, other in zip(*pair, strict=True)) for pair in zip(tables, tables[1:])]
    assert all(30 < each < 100 for each in same), "a quarter of 256"
    assert all(len({table[slot] for table in tables}) == 4 for slot in range(SLOTS))
    assert shuffled(weights, SLOTS, 7) == tables[7]


def test_l1_round_robin() -> None:
    """In n turns each slot has each of n servers once, always in the same order."""
    weights = dict.fromkeys("abcd", 1)
    turns = [round_robin(weights, SLOTS, turn) for turn in range(9)]
    for slot in range(0, SLOTS - 16, 7):
        seen = [table[slot] for table in turns]
        assert sorted(seen[:4]) == list("abcd") and seen[4:8] == seen[:4] and seen[8] == seen[0]
    heavy = [round_robin({"a": 3, "b": 1}, SLOTS, turn)[0] for turn in range(64)]
    assert Counter(heavy) == {"a": 48, "b": 16}, "as often as its weight says"


def test_l1_elevator() -> None:
    """Up the list and down again; at each end it stays for a turn."""
    weights = dict.fromkeys("abcd", 1)
    seen = [elevator(weights, SLOTS, turn)[0] for turn in range(16)]
    assert sorted(seen[:4]) == list("abcd")
    assert seen[4:8] == seen[3::-1] and seen[8:] == seen[:8]
    assert elevator({"a": 0}, SLOTS, 3) == ()


# ---- least-packets ---------------------------------------------------------------------------------------------------


def loads(table: list[str], counted: list[float]) -> dict[str, float]:
    """Packets by server."""
    found: dict[str, float] = {}
    for server, number in zip(table, counted, strict=True):
        found[server] = found.get(server, 0.0) + number
    return found


@pytest.mark.parametrize("weights", [dict.fromkeys("abcd", 1), {"a": 1, "b": 2, "c": 3, "d": 4}])
def test_l3_slots_leave_hot_servers(weights: dict[str, int]) -> None:
    """A few slots have most packets, by chance on one server: after some looks all have their shares."""
    chance = random.Random(3)
    table = list(round_robin(weights, SLOTS, 0))
    counted = [chance.paretovariate(1.3) * 100 for _ in table]
    for slot in [slot for slot, server in enumerate(table) if server == "a"][:12]:
        counted[slot] += 4000.0
    before, moved = loads(table, counted), 0
    share = {name: sum(counted) * weight / sum(weights.values()) for name, weight in weights.items()}
    assert max(before[name] / share[name] for name in weights) > 1.8
    for _ in range(100):
        found = packets.moves(table, counted, weights, 1)
        for slot, server in found:
            assert table[slot] != server
            table[slot] = server
        moved += len(found)
    after = loads(table, counted)
    assert max(after[name] / share[name] for name in weights) <= 1.11
    assert moved <= 40, "each move counts"
    assert packets.moves(table, counted, weights, 10) == [], "and then nothing moves"


def test_l3_one_elephant_is_not_thrown_around() -> None:
    """A slot with more packets than a share stays; the others leave its server."""
    weights, table = dict.fromkeys("ab", 1), list("ab" * 128)
    counted = [1.0] * SLOTS
    counted[0] = 10_000.0
    for _ in range(300):
        for slot, server in packets.moves(table, counted, weights, 4):
            assert slot != 0, "it would only change sides"
            table[slot] = server
    assert table[0] == "a" and Counter(table)["a"] >= 1


def test_l3_nothing_to_do() -> None:
    """With few packets, one server, or even loads nothing moves; never the last slot of a server, nor to weight 0."""
    even = [10.0] * SLOTS
    assert packets.moves(list("ab" * 128), even, {"a": 1, "b": 1}, 9) == []
    assert packets.moves(list("ab" * 128), [0.1] * SLOTS, {"a": 1, "b": 1}, 9) == []
    assert packets.moves(["a"] * SLOTS, even, {"a": 1}, 9) == [] == packets.moves(["a"] * SLOTS, even, {}, 9)
    table = ["a"] * 255 + ["b"]
    assert all(server == "b" for _, server in packets.moves(table, even, {"a": 1, "b": 1, "c": 0}, 500))
    hot = [1.0] * 255 + [5000.0]
    assert packets.moves(table, hot, {"a": 1, "b": 1}, 5) == []
