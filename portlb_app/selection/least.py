"""`least`: weights that follow the servers' load, so that servers of unequal speed are equally loaded.

A multiplicative integrator. Each server's configured weight has a factor, and a server whose load is above the mean of
its pool loses some of it, in each step::

    factor <- factor * exp(gain * (mean - load) / mean)         at most by half either way

Loads are what the servers report, smoothed (`SMOOTHING`). An integrator behind a lag is well damped as long as gain
times lag is a quarter at most. The lag is how long a connection lives (a slot that moves changes the load of two
servers only as connections end), plus how old the reports are, plus the smoothing. How long connections live is known
by Little's law: open connections / openings a second. So nothing has to be tuned to a service.

A controller that starts takes the factors from the slots that switches have (`taken_from`), so it moves none.

What it leaves alone: loads within `DEAD_BAND` of the mean; pools with fewer than `ENOUGH` open connections for each
server, where the difference is chance; a newcomer, for `BLACKOUT` seconds. The factor of a server whose last report is
older than `FRESH` goes back to 1 within `BACK_WITHIN`. A server that fails is idle and must not draw connections:
what ends at once at this server, more than at the others, counts as if it had stayed open (`load_of`).

The simulations that the numbers are from are unit tests (tests/unit/selection/test_least.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

SMOOTHING = 0.3
"""Part of a new load in the smoothed one, for each second."""
FILTER = 3.0
"""Seconds that the smoothing delays a load."""
DAMPING = 0.25
"""Gain times lag."""
DEAD_BAND = 0.05
LARGEST_STEP = 0.5
"""Of the exponent."""
LEAST, MOST = 1 / 8, 8.0
"""Bounds of a factor."""
ENOUGH = 20
"""Open connections for each server, below which nothing changes."""
FRESH = 10.0
"""Seconds for which a report counts."""
BACK_WITHIN = 60.0
"""Seconds in which the factor of a server without reports goes back to 1, from either bound."""
BLACKOUT = 10.0
"""Seconds for which a newcomer's factor stays."""
LONGEST = 3600.0
"""Seconds a connection may live, as far as the gain goes."""
SPREAD = 0x9E3779B1
"""Odd, so that its multiples run through all slots: those that move are taken from everywhere."""
UNIT = 1024
"""What a weight of 1 becomes in `weights`: a factor is exact to a thousandth."""


@dataclass(frozen=True)
class Report:
    """What a server has reported of a pool, and how long ago (seconds).

    `load`: what is to be equal, in any unit, such as open connections divided by the weight (`load_of`). `open`: its
    open connections. `openings`: a second. `up_for`: seconds since it came into the pool.
    """

    load: float
    open: int
    openings: float
    age: float = 0.0
    up_for: float = math.inf


@dataclass(frozen=True)
class Feedback:
    """What is remembered of one pool: by server the factor, the smoothed load, and when it reported; and when that was.
    """

    factors: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    smoothed: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    heard: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    at: float | None = None


def taken_from(slots: Mapping[str, int], configured: Mapping[str, int]) -> Feedback:
    """The feedback of a pool whose servers have so many slots; one that has none begins anew."""
    weights = {server: configured[server] for server, count in slots.items() if count and configured.get(server)}
    count, total = sum(slots[server] for server in weights), sum(weights.values())
    factors = {server: slots[server] * total / (count * weight) for server, weight in weights.items()}
    return Feedback(MappingProxyType({server: max(LEAST, min(each, MOST)) for server, each in factors.items()}))


def shift(table: Sequence[str], wanted: Mapping[str, int], most: int) -> tuple[str, ...]:
    """The slots of a table of which at most so many have moved, towards so many of each server (`wanted`).

    The first goes from the server that has the most too many to the one that lacks the most, and so on.
    """
    result, surplus = list(table), {server: -count for server, count in wanted.items()}
    for server in table:
        surplus[server] = surplus.get(server, 0) + 1
    for _ in range(most):
        giver, taker = (choose(surplus, key=lambda each: (surplus[each], each)) for choose in (max, min))
        if surplus[giver] <= 0 or surplus[taker] >= 0:
            break
        held = (slot for slot, server in enumerate(result) if server == giver)
        result[min(held, key=lambda slot: slot * SPREAD % len(table))] = taker
        surplus[giver] -= 1
        surplus[taker] += 1
    return tuple(result)


def step(before: Feedback, configured: Mapping[str, int], reports: Mapping[str, Report], now: float) -> Feedback:
    """The feedback at `now`, about once a second. `configured`: the weights of the pool's servers that get connections.

    A server that is not among them is forgotten.
    """
    passed = min(max(now - before.at, 0.0), FRESH) if before.at is not None else 0.0
    factors = {server: before.factors.get(server, 1.0) for server in configured}
    fresh = {name: each for name, each in reports.items() if name in configured and each.age <= FRESH}
    kept = (1 - SMOOTHING) ** passed
    known = before.smoothed
    smoothed = {name: each.load + kept * (known.get(name, each.load) - each.load) for name, each in fresh.items()}
    heard = {server: before.heard.get(server, now) for server in configured} | {
        server: now - each.age for server, each in fresh.items()
    }
    back = math.log(MOST) * passed / BACK_WITHIN
    for server in (server for server, at in heard.items() if now - at > FRESH):
        exponent = math.log(factors[server])
        factors[server] = math.exp(math.copysign(max(0.0, abs(exponent) - back), exponent))
    judged = {server: smoothed[server] for server, each in fresh.items() if each.up_for >= BLACKOUT}
    if len(judged) > 1 and passed and sum(each.open for each in fresh.values()) >= ENOUGH * len(fresh):
        mean = sum(judged.values()) / len(judged)
        gain = DAMPING * passed / _lag(fresh)
        for server, load in judged.items():
            error = (mean - load) / mean if mean else 0.0
            if abs(error) > DEAD_BAND:
                factors[server] *= math.exp(max(-LARGEST_STEP, min(gain * error, LARGEST_STEP)))
        factors = _centred(factors, configured)
    bounded = {server: max(LEAST, min(factor, MOST)) for server, factor in factors.items()}
    return Feedback(MappingProxyType(bounded), MappingProxyType(smoothed), MappingProxyType(heard), now)


def weights(feedback: Feedback, configured: Mapping[str, int]) -> dict[str, int]:
    """The weights that the slots are shared by; equal to the configured ones but for a common factor at first."""
    return {
        server: max(1, round(weight * UNIT * feedback.factors.get(server, 1.0))) if weight else 0
        for server, weight in configured.items()
    }


def load_of(open_connections: int, failed: float, lifetime: float, weight: int, pressure: float = 0.0) -> float:
    """The load of a server: its open connections, and those that would be open if they had not failed, for its weight.

    `failed`: connections a second that ended at once, more than at the pool's other servers; `lifetime`: seconds that a
    connection of the pool lives. `pressure` (0 to 1) is the part of the time that the host's work waits: a host that is
    stuck counts as up to twice as loaded.
    """
    return (open_connections + failed * min(lifetime, LONGEST)) * (1 + pressure) / max(weight, 1)


def lifetime(reports: Mapping[str, Report]) -> float:
    """Seconds that a connection lives, by Little's law; `LONGEST` if none opens."""
    openings = sum(each.openings for each in reports.values())
    return min(sum(each.open for each in reports.values()) / openings, LONGEST) if openings else LONGEST


def _lag(fresh: Mapping[str, Report]) -> float:
    age = sum(max(each.age, 0.0) for each in fresh.values()) / len(fresh)
    return lifetime(fresh) + age + FILTER


def _centred(factors: Mapping[str, float], configured: Mapping[str, int]) -> dict[str, float]:
    """Factors of the same proportions under which the weights have the configured sum: so none drifts to a bound."""
    total = sum(configured[server] * factor for server, factor in factors.items())
    scale = sum(configured.values()) / total if total else 1.0
    return {server: factor * scale for server, factor in factors.items()}
