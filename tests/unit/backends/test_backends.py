"""What is seen and wanted of servers decides about the slots of their pools, and about nothing else."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from portlb_app import selection
from portlb_app.backends import HAD_NONE, Backends
from portlb_app.backends.states import PORT, Evidence, Seen
from portlb_app.config import Config, load
from portlb_app.pipeline import SLOTS
from portlb_app.selection import slots
from portlb_app.topology.conditions import ALL_SERVERS, HeldSlots, PoolKey
from portlb_app.topology.damping import HOLD
from tests.support import generate

NAMES = ("a", "b", "c", "d")
WEB: PoolKey = ("web", 80)
DEFAULT = slots(NAMES)


def config(names: tuple[str, ...] = NAMES, **weights: int) -> Config:
    """One switch and one VIP with a pool of these servers."""
    servers = {
        name: {"vip": "web", "connector": f"s1:{2 + at}", "service_ports": [8000 + at], "weight": weights.get(name, 1)}
        for at, name in enumerate(names)
    }
    switches = {"s1": {"dpid": 1, "network": 1}}
    vip = {"address": "10.0.0.100", "mac": "02:00:00:00:00:64", "redirect_ports": {80: {"servers": list(names)}}}
    return load(generate.text({"switches": switches, "vips": {"web": vip}, "servers": servers}))


def port(is_up: bool, since: float = 0.0) -> Evidence:
    """What a switch says about a connector."""
    return Evidence(PORT, is_up, "port s1:2 is up" if is_up else "port s1:2 is set down", since)


def table(backends: Backends, live: Config, key: PoolKey = WEB) -> tuple[str, ...]:
    """The slots that a pool shall have."""
    explicit, _ = backends.conditions(live)
    return explicit[key].servers if key in explicit else backends._pools[key].default


def seen(backends: Backends, name: str, key: PoolKey = WEB) -> Seen:
    """What is seen of a server."""
    return next(each.seen[key].seen for each in backends.servers() if each.name == name)


def moved(before: tuple[str, ...], after: tuple[str, ...]) -> set[str]:
    """The servers whose slots others have now."""
    return {old for old, new in zip(before, after, strict=True) if old != new}


def test_nothing_special_is_nothing() -> None:
    """Without any news the configuration alone decides; so it does with servers that are up."""
    live = config()
    backends = Backends(live)
    assert backends.conditions(live) == ({}, frozenset())
    for name in NAMES:
        backends.see(name, port(True), 1)
    assert backends.conditions(live) == ({}, frozenset())
    assert {seen(backends, name) for name in NAMES} == {Seen.UP}


def test_the_same_object_until_something_changes() -> None:
    """Every event asks; a large network has many pools."""
    live, proposed = config(), config(("a", "b"))
    backends = Backends(live)
    backends.see("a", port(False), 1)
    first, other = backends.conditions(live), backends.conditions(proposed)
    assert backends.conditions(live) is first and backends.conditions(proposed) is other
    backends.see("a", port(False, 2), 2)
    assert backends.conditions(live) is first, "nothing new"
    backends.see("b", port(False), 2)
    assert backends.conditions(live) is not first


def test_a_dead_server_loses_its_slots_and_has_the_same_again() -> None:
    """And no slot of any other moves, either time."""
    live = config()
    backends = Backends(live)
    backends.see("b", port(False), 1)
    without = table(backends, live)
    assert moved(DEFAULT, without) == {"b"} and Counter(without) == quotas(dict.fromkeys("acd", 1))
    assert set(table(backends, live, ("web", ALL_SERVERS))) == set("acd")
    backends.see("b", port(True), 2)
    assert backends.conditions(live) == ({}, frozenset())


def test_one_after_the_other() -> None:
    """Each that goes moves its own slots alone."""
    live = config()
    backends = Backends(live)
    before = DEFAULT
    for name in "abc":
        backends.see(name, port(False), 1)
        after = table(backends, live)
        assert moved(before, after) == {name}
        before = after
    assert set(before) == {"d"}


def test_if_all_are_down_the_slots_stay() -> None:
    """There is nothing better, and it shows."""
    live = config()
    backends = Backends(live)
    for name in "abc":
        backends.see(name, port(False), 1)
    last = table(backends, live)
    backends.see("d", port(False), 2)
    assert table(backends, live) == last
    assert {each.key: each.fails_open for each in backends.pools()} == {WEB: True}
    backends.see("b", port(True), 3)
    assert set(table(backends, live)) == {"b"}


def test_down_by_any_evidence() -> None:
    """A check says down, the port says up: down, with the check's reason; and when the check is silent, up."""
    live = config()
    backends = Backends(live)
    backends.see("a", port(True), 1)
    backends.see("a", Evidence("check:http", False, "503", 2), 2)
    (state,) = (each for each in backends.servers() if each.name == "a")
    assert (state.seen[WEB].seen, state.seen[WEB].reason, state.seen[WEB].since) == (Seen.DOWN, "503", 2)
    assert "a" not in table(backends, live)
    backends.forget("a", "check:http", 3)
    assert seen(backends, "a") is Seen.UP and backends.conditions(live) == ({}, frozenset())


def test_evidence_about_one_pool() -> None:
    """A check of one redirect port says nothing about another."""
    live = config()
    backends = Backends(live)
    backends.see("a", Evidence("check:http", False, "503", 1, WEB), 1)
    assert "a" not in table(backends, live) and "a" in table(backends, live, ("web", ALL_SERVERS))


def test_drained_by_the_configuration() -> None:
    """Then that it has no slots says nothing about it; and it has its own again when it is ready."""
    live, ready = config(a=0), config()
    backends = Backends(live)
    assert backends.conditions(live) == ({}, frozenset())
    backends.held(WEB, HeldSlots(slots(NAMES, (0, 1, 1, 1)), is_default=True), 1)
    assert seen(backends, "a") is Seen.UNKNOWN
    backends.see("b", port(False), 2)
    assert set(table(backends, live)) == {"c", "d"}
    backends.adopt(ready, 3)
    assert set(table(backends, ready)) == {"a", "c", "d"}


def quotas(weights: dict[str, int]) -> dict[str, int]:
    """How many slots each server has."""
    return selection.quotas(weights, SLOTS)


SHUFFLED = tuple(random.Random("held").sample(DEFAULT, SLOTS))


def test_what_a_switch_holds_is_kept() -> None:
    """After a restart the first word decides, whatever slots it has, and nothing moves."""
    live = config()
    backends = Backends(live)
    assert not backends.is_known(WEB) and backends.is_known(("web", ALL_SERVERS)), "that has no group to be read"
    for name in NAMES:
        backends.see(name, port(True), 1)
    assert backends.held(WEB, HeldSlots(SHUFFLED), 1) and backends.is_known(WEB)
    assert not backends.held(WEB, HeldSlots(DEFAULT, is_default=True), 2)
    backends.tick(100)
    assert table(backends, live) == SHUFFLED
    backends.see("c", port(False), 3)
    assert moved(SHUFFLED, table(backends, live)) == {"c"}
    backends.see("c", port(True), 4)
    assert table(backends, live) == SHUFFLED


def test_the_configuration_s_own_slots_are_nothing_special() -> None:
    """As most switches hold them."""
    live = config()
    backends = Backends(live)
    assert backends.held(WEB, HeldSlots(DEFAULT, is_default=True), 1)
    assert backends.conditions(live) == ({}, frozenset())
    assert {seen(backends, name) for name in NAMES} == {Seen.UP}


def test_a_server_without_slots_is_taken_for_down() -> None:
    """Somebody found it so; its port says otherwise, but nothing moves at once."""
    live = config()
    before = Backends(live)
    before.see("b", port(False), 0)
    held = table(before, live)
    backends = Backends(live)
    for name in NAMES:
        backends.see(name, port(True), 1)
    backends.held(WEB, HeldSlots(held), 1)
    assert table(backends, live) == held and seen(backends, "b") is Seen.DOWN
    assert seen(backends, "b", ("web", ALL_SERVERS)) is Seen.DOWN
    (state,) = (each for each in backends.servers() if each.name == "b")
    assert state.seen[WEB].reason == HAD_NONE
    backends.tick(1 + HOLD / 2)
    assert table(backends, live) == held
    backends.tick(1 + HOLD)
    assert table(backends, live) == DEFAULT and seen(backends, "b") is Seen.UP


def test_without_evidence_it_stays_down() -> None:
    """Its switch may be away."""
    live = config()
    backends = Backends(live)
    backends.held(WEB, HeldSlots(slots(("a", "c", "d"))), 1)
    backends.tick(1000)
    assert seen(backends, "b") is Seen.DOWN and "b" not in table(backends, live)


def test_evidence_against_a_server_with_slots() -> None:
    """The controller before died before it could act on it."""
    live = config()
    backends = Backends(live)
    backends.see("b", port(False), 1)
    backends.held(WEB, HeldSlots(DEFAULT, is_default=True), 1)
    assert moved(DEFAULT, table(backends, live)) == {"b"}


def test_servers_that_are_not_in_the_configuration_any_more() -> None:
    """Their slots go to others; those of a version that does not say whose they are say nothing."""
    live = config()
    backends = Backends(live)
    held = tuple(None if name == "a" else name for name in SHUFFLED)
    backends.held(WEB, HeldSlots(held), 1)
    after = table(backends, live)
    assert all(new == old for old, new in zip(held, after, strict=True) if old is not None)
    old = Backends(live)
    assert not old.held(WEB, HeldSlots((None,) * SLOTS), 1) and old.is_known(WEB)
    assert old.conditions(live) == ({}, frozenset())


def test_weights_that_changed_meanwhile() -> None:
    """The file has the last word about shares; no more slots move than they need."""
    live = config(b=2)
    backends = Backends(live)
    backends.held(WEB, HeldSlots(SHUFFLED), 1)
    after = table(backends, live)
    wanted = quotas({"a": 1, "b": 2, "c": 1, "d": 1})
    assert Counter(after) == wanted
    assert sum(old != new for old, new in zip(SHUFFLED, after, strict=True)) == wanted["b"] - SLOTS // 4


def test_a_proposed_configuration_changes_nothing() -> None:
    """It gets what it would have, and becomes live with just that."""
    live, proposed = config(), config(("a", "b", "c", "e"), b=3)
    backends = Backends(live)
    backends.held(WEB, HeldSlots(SHUFFLED), 1)
    backends.see("c", port(False), 1)
    before, wanted = backends.conditions(live), backends.conditions(proposed)
    assert set(wanted[0][WEB].servers) == {"a", "b", "e"}
    assert backends.conditions(live) is before
    backends.adopt(proposed, 2)
    assert backends.conditions(proposed) == wanted
    assert [each.name for each in backends.servers()] == ["a", "b", "c", "e"]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_changes(data: st.DataObject) -> None:
    """Shares are those of the servers that serve, by weight; no slot moves without need; all up again is as before."""
    names = NAMES + ("e", "f")
    live = config(names, **{name: data.draw(st.integers(1, 9), name) for name in names})
    backends = Backends(live)
    if data.draw(st.booleans(), "explicit"):
        first = tuple(data.draw(st.randoms(use_true_random=False)).sample(table(backends, live), SLOTS))
        backends.held(WEB, HeldSlots(first), 0)
    first = before = table(backends, live)
    down: set[str] = set()
    for now in range(data.draw(st.integers(1, 8), "events")):
        name = data.draw(st.sampled_from(names))
        down ^= {name}
        backends.see(name, port(name not in down, now), now)
        after = table(backends, live)
        serving = {each: backends._pools[WEB].weight_of[each] for each in names if each not in down}
        if serving:
            had, has = Counter(before), Counter(after)
            assert has == quotas(serving)
            least = sum(max(0, has[each] - had[each]) for each in names)
            assert sum(old != new for old, new in zip(before, after, strict=True)) == least
        else:
            assert after == before
        before = after
    for name in sorted(down):
        backends.see(name, port(True, 99), 99)
    assert Counter(table(backends, live)) == Counter(first)


def test_more_slots_than_the_configuration_asks_for() -> None:
    """A pool that has shrunk keeps its groups, and moves no slot for it."""
    live = config()
    backends = Backends(live)
    backends.held(WEB, HeldSlots(slots(NAMES, (), 1)), 1)
    assert table(backends, live) == slots(NAMES, (), 1)
    backends.see("a", port(False), 2)
    assert moved(slots(NAMES, (), 1), table(backends, live)) == {"a"}


def test_a_server_that_is_not_there_is_ignored() -> None:
    """News about it may come late."""
    live = config()
    backends = Backends(live)
    backends.see("x", port(False), 1)
    backends.forget("x", PORT, 1)
    assert not backends.held(("web", 81), HeldSlots(DEFAULT), 1) and backends.is_known(("web", 81))
    assert backends.conditions(live) == ({}, frozenset())
    backends.adopt(replace(live, servers=live.servers), 2)
    assert backends.conditions(live)[0] == {}
