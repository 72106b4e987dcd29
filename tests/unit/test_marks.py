"""Marks: MAC addresses that stand for the servers a slot had before. The agent's C code has the same prefix."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portlb_app.compiler.numbering import mark_numbers
from portlb_app.openflow import mac_text
from portlb_app.pipeline import (
    FORMERS,
    GROUP_MACS,
    MARKS,
    NO_MARK,
    NUMBERS,
    is_mark,
    load_formers,
    load_server,
    mark,
    parse_formers,
)

AGENT = Path(__file__).parents[2] / "portlb_app/agent/bpf/server/second_chance.h"
NAMES = st.lists(st.text("ab1-", min_size=1, max_size=8), max_size=FORMERS, unique=True)


@given(st.integers(0, (1 << 24) - 1), NAMES)
def test_a_mark_is_an_address_that_no_host_has(vip: int, names: list[str]) -> None:
    made = mark(vip, tuple(names))
    assert is_mark(made) and made & MARKS[1] == MARKS[0]
    assert made & GROUP_MACS[1] != GROUP_MACS[0], "a host's address"
    assert made >> 41 & 1, "locally administered"
    assert (made == NO_MARK) == (not names)


@given(st.integers(0, (1 << 48) - 1))
def test_no_other_address_is_a_mark(address: int) -> None:
    assert is_mark(address) == (address >> 32 == 0x524C)


def test_marks_differ() -> None:
    """By VIP, by servers and by their order; and they stay the same for ever."""
    made = {mark(vip, names) for vip in (1, 2) for names in (("a",), ("b",), ("a", "b"), ("b", "a"), ("ab",))}
    assert len(made) == 10
    assert mac_text(mark(1, ("a", "b"))) == "52:4c:57:d3:8d:ad"


@given(st.lists(st.integers(1, NUMBERS - 1), max_size=FORMERS))
def test_a_bucket_tells_the_former_servers(numbers: list[int]) -> None:
    assert parse_formers((load_server(7), *load_formers(numbers))) == tuple(numbers)


def test_the_agent_reads_the_same() -> None:
    found = re.search(r"#define MARK_PREFIX bpf_htons\((\w+)\)", AGENT.read_text(encoding="utf-8"))
    assert found and int(found[1], 16) == MARKS[0] >> 32


@given(st.sets(st.text("ab1-", min_size=1, max_size=8), max_size=300))
def test_every_server_of_a_vip_has_a_number(names: set[str]) -> None:
    numbers = mark_numbers(names)
    assert len(set(numbers.values())) == len(names) and all(0 < number < NUMBERS for number in numbers.values())


@pytest.mark.parametrize("gone", ["s7", "s250"])
def test_a_number_stays_when_others_go(gone: str) -> None:
    names = {f"s{number}" for number in range(300)}
    before, after = mark_numbers(names), mark_numbers(names - {gone})
    assert sum(before[name] != number for name, number in after.items()) <= 1
