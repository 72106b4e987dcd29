"""Who waits how long after breaking rules, and what is remembered of it."""

from __future__ import annotations

import pytest

from portlb_app.southbound.refusals import (
    FIRST_SECONDS,
    FORGIVE_SECONDS,
    GRACE,
    HOSTS,
    LOGGED_PER_MINUTE,
    MOST_SECONDS,
    REMEMBERED,
    Refusals,
    host_of,
)

A, B = ("192.0.2.1", 1000), ("192.0.2.2", 1000)


def waits(refusals: Refusals, address: tuple[str, int], now: float) -> float:
    """How long a host has to wait, to a quarter of a second."""
    return next(step / 4 for step in range(1000) if not refusals.must_wait(address, now + step / 4))


def test_each_offence_beyond_the_first_few_doubles_the_wait() -> None:
    refusals, now, seen = Refusals(), 0.0, []
    for number in range(GRACE + 10):
        assert not refusals.must_wait(A, now)
        refusals.record((A[0], 1000 + number), "nonsense", now, is_offence=True)
        seen.append(waits(refusals, A, now))
        now += seen[-1]
    assert seen[:GRACE] == [0] * GRACE
    assert seen[GRACE:] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30]
    assert (FIRST_SECONDS, MOST_SECONDS) == (0.5, 30)
    assert not refusals.must_wait(B, now)


def test_what_is_no_offence_costs_no_time() -> None:
    refusals = Refusals()
    for _ in range(100):
        refusals.record(A, "it left 2 echo requests unanswered", 0.0, is_offence=False)
    assert not refusals.must_wait(A, 0.0)
    assert refusals.status.count == 100


def test_a_bridge_with_a_wrong_setting_never_waits_and_others_of_its_host_neither() -> None:
    """Open vSwitch tries again after 1, 2, 4 s and then each 8 s."""
    refusals, now = Refusals(), 0.0
    for delay in [1, 2, 4] + [8] * 1000:
        now += delay
        assert not refusals.must_wait(A, now)
        refusals.record(A, "it speaks OpenFlow 1.0, not 1.5", now, is_offence=True)


def test_offences_are_forgiven_after_the_wait() -> None:
    refusals = Refusals()
    for _ in range(GRACE + 50):
        refusals.record(A, "nonsense", 0.0, is_offence=True)
    assert waits(refusals, A, 0.0) == MOST_SECONDS
    later = MOST_SECONDS + FORGIVE_SECONDS * (GRACE + 10)
    for _ in range(GRACE):
        refusals.record(A, "nonsense", later, is_offence=True)
        assert not refusals.must_wait(A, later)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_the_64_of_an_ipv6_address_is_one_host(one: str, other: str, is_same: bool) -> None:
    assert (host_of((one, 1)) == host_of((other, 2, 0, 0))) is is_same


def test_memory_is_bounded() -> None:
    refusals = Refusals()
    for number in range(3 * HOSTS):
        refusals.record((f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::1", 1), f"nonsense {number}", 0.0, True)
    assert len(refusals._offenders) == HOSTS
    assert len(refusals.status.last) == REMEMBERED


def test_the_same_refusal_again_takes_no_second_place_in_the_status() -> None:
    refusals = Refusals()
    for number in range(20):
        refusals.record((A[0], number), "nonsense", 0.0, is_offence=False)
    refusals.record(B, "nonsense", 0.0, is_offence=False)
    assert refusals.status.last == (("192.0.2.1:19", "nonsense"), ("192.0.2.2:1000", "nonsense"))
    assert refusals.status.count == 21


def test_the_log_has_a_bound() -> None:
    refusals = Refusals()
    logged = [refusals.record(A, "nonsense", number / 100, is_offence=False) for number in range(100)]
    assert sum(logged) == LOGGED_PER_MINUTE
    assert refusals.record(A, "nonsense", 62, is_offence=False)
