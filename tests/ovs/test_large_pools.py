"""Large pools through a real switch: as even as if each connection drew its server by lot (tests/bench/even.py).

The packets of a connection find one server, whatever they are: each group of the pool here has a server of its own.
"""

from __future__ import annotations

from statistics import mean

import pytest

from portlb_app.pipeline import SLOTS
from tests.ovs import even
from tests.ovs.switch import Switch


def test_two_hundred_servers_have_even_shares(switch: Switch) -> None:
    """The fullest is as full as chance makes it; 256 slots would give it 1.56 times its share before any chance."""
    servers, syns, seeds = 200, 10_000, range(2)
    counts, flows = even.shares(switch, {f"s{number}": 1 for number in range(servers)}, syns, seeds)
    assert [each.total() for each in counts] == [syns] * len(seeds), "each arrives once"
    fullest = mean(max(each.values()) * servers / syns for each in counts)
    assert fullest <= 1.05 * even.ideal_fullest(servers, syns), counts
    assert flows <= (SLOTS << 5) + 2 * (1 << 5), "a datapath flow for each slot, and for each group"


@pytest.mark.parametrize("weights", [{"a": 1, "b": 2, "c": 5, "d": 0}])
def test_shares_follow_weights(switch: Switch, weights: dict[str, int]) -> None:
    """Every server has its weight's share of 10,000 connections to within 1 % of all; weight 0 gets none."""
    (counts,), _ = even.shares(switch, weights, 10_000, range(1))
    assert counts.total() == 10_000 and not counts["d"]
    for name, weight in weights.items():
        assert counts[name] / 10_000 == pytest.approx(weight / 8, abs=0.01), counts
