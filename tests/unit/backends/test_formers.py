"""Which servers a slot remembers, and for how long."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from portlb_app.backends.formers import LISTS, QUIET, Formers, Slots
from portlb_app.pipeline import FORMERS

DAY = 86400.0
ALL = frozenset("abcd")


def moved(*tables: str, leaving: frozenset[str] = ALL) -> Formers:
    """What is remembered of a pool that had these tables one after the other, a second apart."""
    formers = Formers()
    for now, (before, after) in enumerate(zip(tables, tables[1:], strict=False)):
        formers.move(tuple(before), tuple(after), leaving, float(now))
    return formers


def words(formers: Formers) -> list[str]:
    return ["".join(names) for names in formers.slots]


def test_a_slot_that_moves_remembers_its_server() -> None:
    """The latest first, six at most, and never the one that it has."""
    assert moved("aabb", "aabb").slots == ()
    assert words(moved("aabb", "aaba")) == ["", "", "", "b"]
    assert words(moved("a", "b", "c")) == ["ba"]
    assert words(moved(*"abcdefgh", leaving=frozenset("abcdefgh"))) == ["gfedcb"]
    assert words(moved("a", "b", "c", "b")) == ["ca"]
    assert words(moved("a", "b", "a")) == ["b"]


def test_a_server_that_is_down_or_closed_leaves_nothing_behind() -> None:
    """It has no connections any more; what the slot knows of earlier ones stays."""
    assert moved("aa", "bb", leaving=frozenset("b")).slots == ()
    formers = moved("aa", "bb")
    formers.move(tuple("bb"), tuple("cc"), frozenset("ac"), 1.0)
    assert words(formers) == ["a", "a"]


def test_a_server_is_forgotten_in_time() -> None:
    """When nothing was handed back for it, when the bound is reached, or when it is gone from the configuration."""
    formers = moved("aab", "bbc")
    assert not formers.expire(QUIET - 1, DAY, ALL)
    formers.use("a", QUIET - 1)
    assert formers.expire(QUIET, DAY, ALL)
    assert words(formers) == ["a", "a", ""]
    for now in range(int(QUIET), int(DAY), int(QUIET / 2)):
        formers.use("a", float(now))
        assert not formers.expire(float(now), DAY, ALL)
    assert formers.expire(DAY, DAY, ALL) and formers.slots == () and not formers.since
    formers = moved("ab", "ba")
    assert formers.expire(1.0, DAY, frozenset("a"))
    assert words(formers) == ["a", ""]


def test_a_move_starts_the_time_again() -> None:
    """Connections that were opened after the slot came back may be open, too."""
    formers = moved("a", "b")
    formers.move(("b",), ("a",), ALL, 1000.0)
    formers.move(("a",), ("b",), ALL, 2000.0)
    assert not formers.expire(2000.0 + QUIET - 1, DAY, ALL)
    assert formers.expire(2000.0 + QUIET, DAY, ALL)


def test_those_that_do_not_work_are_not_named_meanwhile() -> None:
    formers = moved("a", "b", "c")
    assert formers.named(frozenset("ac")) == (("a",),)
    assert formers.named(ALL) == (("b", "a"),)
    assert formers.named(frozenset("c")) == ()


def test_another_number_of_slots() -> None:
    """Packets get other slots then, so what is known of slots says nothing."""
    formers = moved("ab", "ba")
    formers.move(tuple("ba"), tuple("baba"), ALL, 2.0)
    assert formers.slots == () and not formers.since
    assert moved("", "ab").slots == () and moved("ab", "").slots == ()


def test_what_a_switch_holds() -> None:
    """A controller that starts does not know for how long; the time begins anew."""
    formers = Formers()
    formers.held((("b", "a"), ()), 50.0)
    assert words(formers) == ["ba", ""]
    assert not formers.expire(50.0 + QUIET - 1, DAY, ALL) and formers.expire(50.0 + QUIET, DAY, ALL)


def lists(table: Sequence[str], slots: Slots) -> set[tuple[str, ...]]:
    """What switches may have a flow for: each slot's server and its former ones, without the first ones of them."""
    chains = [(server, *earlier) for server, earlier in zip(table, slots, strict=True) if earlier]
    return {chain[at:] for chain in chains for at in range(len(chain))}


@pytest.mark.parametrize(("servers", "rounds", "least"), [(20, 2, 2), (20, 8, 2), (1000, 8, 1)])
def test_a_pool_remembers_so_many_lists_of_servers_at_most(servers: int, rounds: int, least: int) -> None:
    """What its slots had the longest ago goes first, and the latest of all last."""
    count, names = 32 * 256, [f"s{number}" for number in range(servers)]
    chance = random.Random(1)
    tables = [tuple(chance.choices(names, k=count)) for _ in range(rounds + 1)]
    formers = Formers()
    for now, (before, after) in enumerate(zip(tables, tables[1:], strict=False)):
        formers.move(before, after, frozenset(names), float(now))
        assert len(lists(after, formers.slots)) <= LISTS
    assert max(map(len, formers.slots)) < least + 1
    latest = [names[:1] for names, old, new in zip(formers.slots, tables[-2], tables[-1], strict=True) if old != new]
    assert sum(map(bool, latest)) >= (len(latest) if servers == 20 else LISTS // 2)
    assert formers.since.keys() == {name for names in formers.slots for name in names}


def test_a_pool_of_one_group_remembers_everything() -> None:
    """256 slots have 7 lists each at most."""
    assert 256 * (1 + FORMERS) <= LISTS
