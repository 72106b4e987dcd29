"""What is wanted of servers: drain, maintenance and weights, by the file and by overrides."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portlb_app.backends import Backends
from portlb_app.backends.states import PORT, Evidence
from portlb_app.config import Config, Wanted, load
from portlb_app.config.overrides import NONE, Key, Override, Overrides, Value
from portlb_app.pipeline import SLOTS
from portlb_app.selection import quotas, slots
from portlb_app.topology.conditions import HeldSlots, PoolKey
from tests.support import generate

NAMES = ("a", "b", "c", "d")
WEB: PoolKey = ("web", 80)
DEFAULT = slots(NAMES)


def config(**of_b: object) -> Config:
    """Four servers of one pool; what the file says about b."""
    servers = {
        name: {"vip": "web", "connector": f"s1:{2 + at}", **(of_b if name == "b" else {})}
        for at, name in enumerate(NAMES)
    }
    switches = {"s1": {"dpid": 1, "network": 1}}
    vip = {"address": "10.0.0.100", "mac": "02:00:00:00:00:64", "redirect_ports": {80: {"servers": list(NAMES)}}}
    return load(generate.text({"switches": switches, "vips": {"web": vip}, "servers": servers}))


def wish(live: Config, key: Key, value: Value, server: str = "b", before: Overrides = NONE) -> Overrides:
    return before.put(live.server_by_name[server], key, value, Override(value, value))


def shares(table: tuple[str, ...]) -> dict[str, int]:
    return dict(Counter(table))


def test_a_server_that_drains_has_no_slots_and_is_not_closed() -> None:
    live = config()
    backends = Backends(live)
    backends.override(wish(live, "state", Wanted.DRAIN), 1.0)
    explicit, closed = backends.conditions(live)
    assert closed == frozenset()
    after = explicit[WEB].servers
    assert {old for old, new in zip(DEFAULT, after, strict=True) if old != new} == {"b"}
    assert shares(after) == quotas(dict.fromkeys("acd", 1), SLOTS)


def test_maintenance_closes_it() -> None:
    live = config()
    backends = Backends(live, wish(live, "state", Wanted.MAINT))
    explicit, closed = backends.conditions(live)
    assert closed == {"b"} and "b" not in explicit[WEB].servers
    assert Backends(config(state="maint")).conditions(config(state="maint"))[1] == {"b"}, "by the file, too"


@pytest.mark.parametrize("value", [Wanted.DRAIN, Wanted.MAINT, 0])
def test_ready_again_it_has_the_same_slots(value: Value) -> None:
    """To the slot, and whatever the table was."""
    live = config()
    backends = Backends(live)
    for history in (1, 2):
        before = backends.tables()[WEB]
        backends.override(wish(live, "weight" if value == 0 else "state", value), 1.0)
        assert "b" not in backends.tables()[WEB]
        backends.override(NONE, 2.0)
        assert backends.tables()[WEB] == before
        other = DEFAULT[1:] + DEFAULT[:1]
        if history == 1:
            backends = Backends(live)
            assert backends.held(WEB, HeldSlots(other), 0.0)
            assert backends.tables()[WEB] == other
    assert backends.tables()[WEB] == other


def test_one_that_failed_while_another_drained_comes_back_as_well() -> None:
    live = config()
    backends = Backends(live)
    backends.override(wish(live, "state", Wanted.DRAIN), 1.0)
    backends.see("c", Evidence(PORT, False, "port s1:4 is set down", 2.0), 2.0)
    assert set(backends.tables()[WEB]) == {"a", "d"}
    backends.override(NONE, 3.0)
    assert set(backends.tables()[WEB]) == {"a", "b", "d"}
    backends.see("c", Evidence(PORT, True, "port s1:4 is up", 4.0), 4.0)
    assert shares(backends.tables()[WEB]) == shares(DEFAULT)


def test_weights_are_exact_to_a_slot_and_move_few() -> None:
    live = config()
    backends = Backends(live)
    weighed = {"a": 1, "b": 5, "c": 1, "d": 1}
    backends.override(wish(live, "weight", 5), 1.0)
    after = backends.conditions(live)[0][WEB].servers
    assert shares(after) == quotas(weighed, SLOTS)
    assert sum(old != new for old, new in zip(DEFAULT, after, strict=True)) == shares(after)["b"] - shares(DEFAULT)["b"]
    backends.override(NONE, 2.0)
    assert shares(backends.tables()[WEB]) == shares(DEFAULT)


def test_an_override_has_slots_that_the_file_denies() -> None:
    """The tables of the file alone would have none for it, so they are said."""
    live = config(state="drain")
    assert "b" not in slots(NAMES, (1, 0, 1, 1))
    backends = Backends(live, wish(live, "state", Wanted.READY))
    assert shares(backends.conditions(live)[0][WEB].servers) == shares(DEFAULT)
    both = wish(live, "weight", 3, before=wish(live, "state", Wanted.READY))
    backends.override(both, 1.0)
    assert shares(backends.conditions(live)[0][WEB].servers) == quotas({"a": 1, "b": 3, "c": 1, "d": 1}, SLOTS)


def test_a_proposed_configuration_has_what_it_says() -> None:
    """An override holds for it as long as it says the same as the live one, and goes with the configuration if not."""
    live = config()
    backends = Backends(live, wish(live, "state", Wanted.DRAIN))
    same, other = config(service_ports=[1]), config(state="maint")
    assert "b" not in backends.conditions(same)[0][WEB].servers and backends.conditions(same)[1] == frozenset()
    assert backends.conditions(other)[1] == {"b"}
    assert backends.conditions(live)[1] == frozenset()
    assert backends.conditions(config())[0][WEB].servers == backends.conditions(live)[0][WEB].servers
    backends.adopt(other, 1.0)
    assert backends.conditions(other)[1] == {"b"}


def test_what_would_be_changes_nothing() -> None:
    live = config()
    backends = Backends(live)
    before = backends.conditions(live)
    would = backends.tables(wish(live, "state", Wanted.DRAIN))[WEB]
    assert "b" not in would and backends.conditions(live) is before
    backends.override(wish(live, "state", Wanted.DRAIN), 1.0)
    assert backends.tables()[WEB] == would


def test_the_last_one_of_a_pool_leaves_it_empty() -> None:
    live = config()
    overrides = NONE
    for name in NAMES:
        overrides = wish(live, "state", Wanted.DRAIN, name, overrides)
    backends = Backends(live, overrides)
    assert backends.conditions(live)[0][WEB].servers == ()
    backends.override(NONE, 1.0)
    assert backends.tables()[WEB] == DEFAULT


def test_a_successor_moves_no_slot_of_one_that_drains() -> None:
    """It knows the override from its file, and the slots from a switch: whatever has drained stays out of them."""
    live = config()
    overrides = wish(live, "state", Wanted.DRAIN)
    first = Backends(live, overrides)
    held = first.tables()[WEB]
    second = Backends(live, overrides)
    second.held(WEB, HeldSlots(held), 0.0)
    assert second.tables()[WEB] == held
    second.see("b", Evidence(PORT, True, "port s1:3 is up", 1.0), 1.0)
    assert second.tables()[WEB] == held
    second.override(NONE, 2.0)
    assert shares(second.tables()[WEB]) == shares(DEFAULT)


STEPS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from([Wanted.READY, Wanted.DRAIN, Wanted.MAINT, 0, 1, 2, 256])),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_any_order_of_wishes(steps: list[tuple[str, Value]]) -> None:
    """Those that are wanted ready share all slots by their weights, no others have any, and no slot moves in vain."""
    live, overrides = config(), NONE
    backends = Backends(live)
    for name, value in steps:
        before = backends.tables()[WEB]
        overrides = wish(live, "state" if isinstance(value, Wanted) else "weight", value, name, overrides)
        backends.override(overrides, 1.0)
        after, used = backends.tables()[WEB], overrides.over(live)
        weights = {server.name: server.weight for server in used.servers if server.wanted is Wanted.READY}
        assert shares(after) == (quotas(weights, SLOTS) if weights else {})
        assert backends.conditions(live)[1] == {each.name for each in used.servers if each.wanted is Wanted.MAINT}
        if before and after:
            least = sum(max(0, count - shares(before).get(server, 0)) for server, count in shares(after).items())
            assert sum(old != new for old, new in zip(before, after, strict=True)) == least
