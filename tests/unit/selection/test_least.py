"""Weights that follow the servers' load: the rules one by one, and whole pools in virtual time."""

from __future__ import annotations

import heapq
import math
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from portlb_app.selection import least, quotas
from portlb_app.selection.least import Feedback, Report

EQUAL = {f"s{number}": 1 for number in range(10)}
SLOW = ("s8", "s9")
SLOTS = 256


@dataclass
class Pool:
    """A pool in virtual time: Poisson arrivals, exponential lives, one look a second.

    `capacity` divides what a server reports; `slower` multiplies how long a server's connections live.
    """

    rate: float
    lives: float
    capacity: Mapping[str, float] = field(default_factory=dict)
    slower: Mapping[str, float] = field(default_factory=dict)
    feedback: bool = True
    late: int = 0
    most_moves: int = 1
    seed: int = 1
    moved: int = 0
    ratios: list[float] = field(default_factory=list)
    """Fullest server / mean, second by second."""

    def run(self, seconds: int) -> Pool:
        """Let so much time pass."""
        chance, names = random.Random(self.seed), list(EQUAL)
        table = [names[slot % len(names)] for slot in range(SLOTS)]
        chance.shuffle(table)
        held, ends, opened = dict.fromkeys(names, 0), list[tuple[float, str]](), dict.fromkeys(names, 0)
        state, history, now, look = Feedback(), list[dict[str, Report]](), 0.0, 1.0
        while now < seconds:
            now += chance.expovariate(self.rate)
            while look <= now:
                while ends and ends[0][0] <= look:
                    held[heapq.heappop(ends)[1]] -= 1
                history.append({name: self._report(name, held, opened) for name in names})
                opened = dict.fromkeys(names, 0)
                loads = [each.load for each in history[-1].values()]
                whole = sum(held.values()) / sum(self.capacity.get(name, 1.0) for name in names)
                self.ratios.append(max(loads) / whole if whole else 1.0)
                if self.feedback:
                    state = least.step(state, EQUAL, history[max(0, len(history) - 1 - self.late)], look)
                    self._move(table, quotas(least.weights(state, EQUAL), SLOTS))
                look += 1.0
            while ends and ends[0][0] <= now:
                held[heapq.heappop(ends)[1]] -= 1
            server = table[chance.randrange(SLOTS)]
            held[server] += 1
            opened[server] += 1
            heapq.heappush(ends, (now + chance.expovariate(1 / (self.lives * self.slower.get(server, 1.0))), server))
        return self

    def _report(self, name: str, held: Mapping[str, int], opened: Mapping[str, int]) -> Report:
        return Report(held[name] / self.capacity.get(name, 1.0), held[name], float(opened[name]), float(self.late))

    def _move(self, table: list[str], wanted: Mapping[str, int]) -> None:
        shifted = least.shift(table, wanted, self.most_moves)
        self.moved += sum(old != new for old, new in zip(table, shifted, strict=True))
        table[:] = shifted

    def mean(self, first: int, last: int) -> float:
        """Mean of the ratio in these seconds."""
        return statistics.mean(self.ratios[first:last])


def slow_by_capacity(**options: object) -> Pool:
    """Two servers with a third of the capacity, 200 connections a second that live 5 s."""
    return Pool(200, 5.0, capacity=dict.fromkeys(SLOW, 1 / 3), **options)  # type: ignore[arg-type]


def slow_by_time(**options: object) -> Pool:
    """Two servers that take three times as long."""
    return Pool(200, 5.0, slower=dict.fromkeys(SLOW, 3.0), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [slow_by_capacity, slow_by_time], ids=["capacity", "time"])
@pytest.mark.parametrize("late", [0, 3])
def test_two_servers_a_third_as_fast(make: Callable[..., Pool], late: int) -> None:
    """Below 1.25 times the mean within 90 s, at one slot a second; two to three times the mean without."""
    still = [make(feedback=False, seed=1).run(90).mean(30, 90)]
    moved = [make(late=late, seed=seed).run(140) for seed in (1, 2)]
    assert min(still) > 1.9
    assert statistics.mean(pool.mean(90, 140) for pool in moved) < 1.25
    assert all(pool.moved <= 140 for pool in moved)


@pytest.mark.parametrize("late", [0, 3])
def test_equal_servers_are_not_made_worse(late: int) -> None:
    """By 0.03 at most."""
    still = statistics.mean(Pool(200, 5.0, feedback=False, seed=seed).run(120).mean(30, 120) for seed in (1, 2, 3))
    moved = [Pool(200, 5.0, late=late, seed=seed).run(120) for seed in (1, 2, 3)]
    assert statistics.mean(pool.mean(30, 120) for pool in moved) < still + 0.03
    assert statistics.mean(pool.moved for pool in moved) < 0.5 * 120


def test_long_connections_get_a_small_gain() -> None:
    """60 s: the backlog has to end first, and the weights do not overshoot meanwhile."""
    pool = Pool(50, 60.0, slower=dict.fromkeys(SLOW, 3.0), most_moves=8, seed=1).run(900)
    assert pool.mean(600, 900) < 1.25


# ---- the rules ----


def reports(opens: Sequence[int] | Mapping[str, int], **options: float) -> dict[str, Report]:
    """Equal servers with so many open connections, each of which lives 5 s."""
    named = opens if isinstance(opens, Mapping) else dict(zip(EQUAL, opens, strict=True))
    return {name: Report(number, number, number / 5, **options) for name, number in named.items()}


def after(seconds: int, given: Mapping[str, Report], state: Feedback | None = None, start: int = 0) -> Feedback:
    """The feedback after so many equal reports, one a second."""
    state = state or Feedback()
    for second in range(start, start + seconds + 1):
        state = least.step(state, EQUAL, given, float(second))
    return state


FULL = [100] * 9 + [300]


def test_the_loaded_one_loses_weight() -> None:
    """And all together keep what was configured."""
    state = after(20, reports(FULL))
    found = least.weights(state, EQUAL)
    assert found["s9"] < 0.8 * least.UNIT < least.UNIT < found["s0"]
    assert sum(found.values()) == pytest.approx(10 * least.UNIT, rel=0.01)


def test_the_first_step_changes_nothing() -> None:
    """There is no time in it yet: equal weights, whatever their unit."""
    assert set(least.weights(least.step(Feedback(), EQUAL, reports(FULL), 7.0), EQUAL).values()) == {least.UNIT}
    assert least.weights(Feedback(), {"a": 2, "b": 0}) == {"a": 2 * least.UNIT, "b": 0}


def test_a_difference_of_chance_changes_nothing() -> None:
    """Within the dead band; and with fewer than 20 open connections for each server whatever the difference."""
    assert set(after(50, reports([100] * 5 + [104] * 5)).factors.values()) == {1.0}
    assert set(after(50, reports([15] * 9 + [45])).factors.values()) == {1.0}
    assert after(50, reports([17] * 9 + [51])).factors["s9"] < 1.0


def test_factors_are_bounded() -> None:
    """However long one is empty and another full."""
    state = after(5000, reports([10] * 5 + [1000] * 5))
    assert set(state.factors.values()) <= {least.LEAST, least.MOST} | {
        factor for factor in state.factors.values() if least.LEAST < factor < least.MOST
    }
    assert max(state.factors.values()) <= least.MOST and min(state.factors.values()) >= least.LEAST


def test_one_step_is_bounded() -> None:
    """A clock that has stood still, or a load out of all proportion."""
    wild = reports({**dict.fromkeys(EQUAL, 30), "s9": 10**9})
    wild = {name: Report(each.load, each.open, 1e9) for name, each in wild.items()}
    state = least.step(least.step(Feedback(), EQUAL, wild, 0.0), EQUAL, wild, 1e6)
    assert min(state.factors.values()) >= math.exp(-2 * least.LARGEST_STEP) / 2


def test_old_reports_lead_back() -> None:
    """To what is configured, within a minute; what is heard again counts at once."""
    state = after(60, reports(FULL))
    away = {name: each for name, each in reports(FULL).items() if name != "s9"}
    held = state.factors["s9"]
    state = after(int(least.FRESH), away, state, 60)
    assert state.factors["s9"] == pytest.approx(held, rel=0.02)
    state = after(20, away, state, 70)
    assert held < state.factors["s9"] < 1.0
    assert after(60, away, state, 90).factors["s9"] == pytest.approx(1.0, abs=0.2)
    silent = after(80, {}, state, 90)
    assert all(factor == pytest.approx(1.0) for factor in silent.factors.values())


def test_a_controller_that_starts_takes_what_there_is() -> None:
    """The slots say what the factors were. Nothing moves until reports have come, and for a while if none comes."""
    held = dict(zip(EQUAL, [30] * 8 + [8] * 2, strict=True))
    state = least.taken_from(held, EQUAL)
    assert quotas(least.weights(state, EQUAL), SLOTS) == held
    assert quotas(least.weights(after(9, {}, state), EQUAL), SLOTS) == held
    assert least.taken_from({"a": 0, "z": 5}, {"a": 1, "b": 1}).factors == {}
    assert least.taken_from({"a": 100, "b": 0}, {"a": 1, "b": 1}).factors == {"a": 1.0}


def test_slots_move_one_by_one() -> None:
    """From the one with the most too many to the one that lacks the most; no more than asked for, and no others."""
    table = ("a", "b", "c", "d") * 64
    wanted = {"a": 40, "b": 60, "c": 92, "d": 64}
    before = table
    for _ in range(28):
        after_it = least.shift(before, wanted, 1)
        assert [(old, new) for old, new in zip(before, after_it, strict=True) if old != new][0][1] == "c"
        before = after_it
    assert {name: before.count(name) for name in wanted} == wanted
    assert least.shift(before, wanted, 8) == before
    assert least.shift(table, wanted, 100) == before
    assert len({slot // 64 for slot in range(256) if table[slot] != before[slot]}) == 4, "from everywhere"


def test_a_newcomer_is_left_alone() -> None:
    """It is empty at first: that says nothing about it."""
    young = {**reports([100] * 9 + [1]), "s9": Report(1, 1, 20, up_for=5.0)}
    assert after(9, young).factors["s9"] == pytest.approx(1.0)
    assert after(9, reports([100] * 9 + [1])).factors["s9"] > 1.05


def test_a_server_that_leaves_is_forgotten() -> None:
    """And begins anew."""
    state = after(20, reports(FULL))
    others = {name: 1 for name in EQUAL if name != "s9"}
    state = least.step(state, others, reports(FULL), 21.0)
    assert "s9" not in state.factors
    assert least.step(state, EQUAL, reports([100] * 10), 21.0).factors["s9"] == 1.0


def test_alone_there_is_nothing_to_follow() -> None:
    """One server gets everything."""
    state = Feedback()
    for second in range(20):
        state = least.step(state, {"a": 3}, {"a": Report(500, 500, 9)}, float(second))
    assert state.factors == {"a": 1.0}
    assert least.step(Feedback(), {}, {}, 0.0).factors == {}


def test_configured_weights_stay_in_proportion() -> None:
    """A server of weight 2 has the same load with twice the connections: nothing moves."""
    configured = {"a": 1, "b": 2}
    state = Feedback()
    for second in range(30):
        load = {name: Report(least.load_of(number, 0, 5, configured[name]), number, 9) for name, number in NUMBERS}
        state = least.step(state, configured, load, float(second))
    assert least.weights(state, configured) == {"a": least.UNIT, "b": 2 * least.UNIT}


NUMBERS = (("a", 100), ("b", 200))


def test_what_fails_at_once_is_load() -> None:
    """40 failures a second, where connections live 5 s, are like 200 open connections. So is a host that is stuck."""
    assert least.load_of(10, 40, 5, 1) == 210
    assert least.load_of(100, 0, 5, 2, pressure=0.5) == 75
    assert least.lifetime(reports([100] * 10)) == pytest.approx(5)
    assert least.lifetime({"a": Report(1, 50, 0)}) == least.LONGEST
