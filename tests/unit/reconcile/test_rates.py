"""What passes ports, by two looks at their counters; and the counters, from a switch's bytes."""

from __future__ import annotations

import struct

import pytest

from portlb_app.openflow.messages import MULTIPART_REPLY, PORT_STATS, Malformed, PortCounts, port_counts
from portlb_app.reconcile.rates import Rates


def counts(received: int, sent: int = 0) -> dict[int, PortCounts]:
    return {1: PortCounts(received, sent, received // 100, sent // 100, 0)}


def test_a_rate_is_the_difference_over_the_time() -> None:
    rates = Rates()
    rates.count(7, counts(1000, 500), 10.0)
    assert rates.of(7, 1) is None
    rates.count(7, counts(5000, 1500), 12.0)
    rate = rates.of(7, 1)
    assert rate is not None and rate[:4] == (2000.0, 500.0, 20.0, 5.0)


def test_a_look_just_after_another_one_changes_nothing() -> None:
    rates = Rates()
    rates.count(7, counts(0), 10.0)
    rates.count(7, counts(900), 10.1)
    assert rates.of(7, 1) is None
    rates.count(7, counts(2000), 12.0)
    rate = rates.of(7, 1)
    assert rate is not None and rate.received == 1000.0


def test_counters_that_begin_anew_count_from_nothing() -> None:
    rates = Rates()
    rates.count(7, counts(10**9), 10.0)
    rates.count(7, counts(3000), 13.0)
    rate = rates.of(7, 1)
    assert rate is not None and rate.received == 1000.0


def test_a_switch_that_is_gone_has_none() -> None:
    rates = Rates()
    for at in (0.0, 10.0):
        rates.count(7, counts(int(at)), at)
        rates.count(8, counts(int(at)), at)
    rates.forget(7)
    assert rates.of(7, 1) is None and rates.of(8, 1) is not None
    rates.keep(())
    assert rates.of(8, 1) is None


def reply(kind: int, body: bytes) -> bytes:
    return struct.pack("!BBHIHH4x", 6, MULTIPART_REPLY, 16 + len(body), 1, kind, 0) + body


def test_counters_are_read_from_a_reply() -> None:
    """What is not counted is all ones; properties behind the counters are skipped."""
    entry = struct.pack("!H2xI8x8Q", 88, 3, 1, 2, 3, 4, 5, 6, 7, (1 << 64) - 1) + bytes(8)
    assert port_counts(reply(PORT_STATS, entry)) == {3: PortCounts(3, 4, 1, 2, 18)}


@pytest.mark.parametrize(
    "message", [reply(1, bytes(24)), reply(PORT_STATS, bytes(80)), reply(PORT_STATS, struct.pack("!H78x", 200))]
)
def test_a_reply_that_contradicts_itself_is_malformed(message: bytes) -> None:
    with pytest.raises(Malformed):
        port_counts(message)
