"""The slots of a pool over time: slow start, budgets, turns, load, backups; tried, live, and after a restart."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from portlb_app.backends import Backends
from portlb_app.backends.states import PORT, Evidence
from portlb_app.config import Config, load
from portlb_app.pipeline import SLOTS
from portlb_app.selection import slots
from portlb_app.selection.turns import elevator, round_robin
from portlb_app.topology.conditions import HeldSlots, PoolKey
from portlb_app.topology.damping import HOLD

WEB: PoolKey = ("web", 80)
LEGACY = {"legacy": "drop"}


def config(names: str = "abcd", servers: dict[str, dict[str, Any]] | None = None, **port: Any) -> Config:
    """One switch and one VIP, with a pool of these servers that says this."""
    entries = {
        name: {"vip": "web", "connector": f"s1:{ord(name)}"} | (servers or {}).get(name, {}) for name in names
    }
    vip = {"address": "10.0.0.100", "mac": "02:00:00:00:00:64", "redirect_ports": {80: {"servers": list(names)} | port}}
    data = {"switches": {"s1": {"dpid": 1, "network": 1}}, "vips": {"web": vip}, "servers": entries}
    return load(json.dumps(data))


def table(backends: Backends, live: Config) -> tuple[str, ...]:
    """The slots that the pool shall have by now."""
    explicit, _ = backends.conditions(live)
    return explicit[WEB].servers if WEB in explicit else backends.tables()[WEB]


def changed(before: tuple[str, ...], after: tuple[str, ...]) -> int:
    """How many slots differ."""
    return sum(old != new for old, new in zip(before, after, strict=True))


def say(backends: Backends, name: str, is_up: bool, now: float) -> None:
    """A server works, or not."""
    backends.see(name, Evidence(PORT, is_up, "says the test", now), now)
    backends.tables()  # as after every event


def run(backends: Backends, live: Config, start: float, seconds: float) -> list[tuple[str, ...]]:
    """The tables, four a second, of so much time."""
    found = []
    for tick in range(int(seconds * 4) + 1):
        backends.tick(start + tick / 4)
        found.append(table(backends, live))
    return found


def started(live: Config, now: float = 0.0) -> Backends:
    """A controller whose switches hold what the configuration says, and whose servers work."""
    backends = Backends(live)
    backends.know([WEB])
    for name in live.server_by_name:
        say(backends, name, True, now)
    backends.tick(now)
    return backends


def test_a_server_that_is_back_gets_its_slots_one_by_one() -> None:
    """Down at once, and back in 30 s; the end is the table of the beginning, and only its own slots have moved."""
    live = config(slow_start=30)
    backends = started(live)
    whole = table(backends, live)
    assert whole == slots(tuple("abcd")), "not at the start of the controller"
    say(backends, "b", False, 10.0)
    without = table(backends, live)
    assert "b" not in without and changed(whole, without) == Counter(whole)["b"]
    say(backends, "b", True, 20.0)
    first = table(backends, live)
    assert Counter(first)["b"] == 1
    tables = run(backends, live, 20.0, 30)
    counts = [Counter(each)["b"] for each in tables]
    assert counts == sorted(counts) and counts[60] == pytest.approx(32, abs=1)
    assert tables[-1] == whole
    assert sum(changed(*pair) for pair in zip([first, *tables], tables)) + 1 == Counter(whole)["b"]
    assert max(max(Counter(each).values()) for each in tables) <= 1.35 * SLOTS / 4
    assert run(backends, live, 51.0, 5)[-1] == whole


def test_down_again_in_its_slow_start() -> None:
    """Its slots leave at once, and the next time it begins anew. All servers at once do not wait for each other."""
    live = config(slow_start=30)
    backends = started(live)
    say(backends, "b", False, 10.0)
    say(backends, "b", True, 20.0)
    half = run(backends, live, 20.0, 15)[-1]
    say(backends, "b", False, 36.0)
    assert "b" not in table(backends, live) and "b" in half
    say(backends, "b", True, 37.0)
    assert Counter(table(backends, live))["b"] == 1
    assert run(backends, live, 37.0, 31)[-1] == slots(tuple("abcd"))
    for name in "abcd":
        say(backends, name, False, 80.0)
        table(backends, live)
    for name in "abcd":
        say(backends, name, True, 90.0)
        assert table(backends, live)
    shares = Counter(run(backends, live, 90.0, 0.25)[-1])
    assert set(shares) == set("abcd") and max(shares.values()) > 200, "the others start slowly beside the first one"


def test_a_restart_goes_on_from_what_switches_hold() -> None:
    """In the middle of a slow start: the successor moves nothing at once, and is as fast as the one before."""
    live = config(slow_start=30)
    one = started(live)
    say(one, "b", False, 10.0)
    say(one, "b", True, 20.0)
    half = run(one, live, 20.0, 15)[-1]
    two = Backends(live)
    two.held(WEB, HeldSlots(half), 100.0)
    two.tick(100.0)
    assert table(two, live) == half
    for name in "abcd":
        say(two, name, True, 101.0)
    counts = [Counter(each)["b"] for each in run(two, live, 100.0, 16)]
    assert counts[20] == pytest.approx(42, abs=2) and counts[-1] == 64


def test_one_that_the_switches_have_without_slots_starts_slowly() -> None:
    """It was down when the controller ended; it is back after a while, and slow start begins then."""
    live = config(slow_start=10)
    one = started(live)
    say(one, "c", False, 1.0)
    two = Backends(live)
    two.held(WEB, HeldSlots(table(one, live)), 50.0)
    for name in "abcd":
        say(two, name, True, 50.0)
    assert "c" not in run(two, live, 50.0, HOLD - 0.5)[-1]
    tables = run(two, live, 51.0, HOLD + 15)
    counts = [Counter(each)["c"] for each in tables]
    assert counts == sorted(counts) and 1 in counts and counts[-1] == 64


@pytest.mark.parametrize(("moves", "seconds"), [("2/s", 32), ("20/s", 3.2)])
def test_a_changed_configuration_with_a_budget(moves: str, seconds: float) -> None:
    """A new server gets its slots at that pace, whether the change is tried or live; the least possible move."""
    before, after = config("abc", moves=moves), config("abcd", moves=moves)
    backends = started(before)
    old = table(backends, before)
    proposed, _ = backends.conditions(after)
    assert WEB in proposed and proposed[WEB].servers == old, "nothing moves in a trial"
    backends.adopt(after, 5.0)
    assert table(backends, after) == old
    say(backends, "d", True, 5.0)
    tables = run(backends, after, 5.0, seconds + 2)
    assert changed(old, tables[-1]) == 64 == Counter(tables[-1])["d"]
    half = Counter(tables[int(seconds * 2)])["d"]
    assert half == pytest.approx(32, abs=4)
    assert sum(changed(*pair) for pair in zip(tables, tables[1:])) + changed(old, tables[0]) == 64


def test_a_changed_configuration_at_once() -> None:
    """As few slots as possible move, and all at once, whether it is tried or live, and the port says so or nothing."""
    plain, wanted = started(config("abcd")), config("abc")
    had = table(plain, config("abcd"))
    tried = plain.conditions(wanted)[0][WEB].servers
    plain.adopt(wanted, 1.0)
    assert table(plain, wanted) == tried and changed(had, tried) == 64 == Counter(had)["d"]
    plain.adopt(config("abcd"), 2.0)
    assert table(plain, config("abcd")) == had
    before, after = config("abcd", moves="free"), config("abc", moves="free")
    backends = started(before)
    old = table(backends, before)
    proposed, _ = backends.conditions(after)
    backends.adopt(after, 5.0)
    assert table(backends, after) == proposed[WEB].servers
    assert changed(old, table(backends, after)) == 64
    backends.adopt(before, 6.0)
    say(backends, "d", True, 6.0)
    assert table(backends, before) == old


def test_one_of_fifty() -> None:
    """In a large pool no more slots move than must, also when the configuration changes."""
    names = "".join(map(chr, range(65, 65 + 26))) + "".join(map(chr, range(97, 97 + 24)))
    whole, less = config(names), config(names[:-1])
    backends = started(whole)
    old = table(backends, whole)
    backends.adopt(less, 1.0)
    assert changed(old, table(backends, less)) == Counter(old)[names[-1]] <= 1.1 * len(old) / 50
    new = table(backends, less)
    backends.adopt(whole, 2.0)
    say(backends, names[-1], True, 2.0)
    assert changed(new, table(backends, whole)) <= 1.1 * len(old) / 50


def test_never() -> None:
    """A new server waits; it gets the slots of one that does not work, and keeps them when that is back."""
    before, after = config("abc", moves="never"), config("abcd", moves="never")
    backends = started(before)
    old = table(backends, before)
    backends.adopt(after, 5.0)
    say(backends, "d", True, 5.0)
    assert run(backends, after, 5.0, 60)[-1] == old
    say(backends, "a", False, 70.0)
    new = table(backends, after)
    assert {slot for slot, name in enumerate(old) if name == "a"} == {
        slot for slot, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1]
    }
    assert Counter(new)["d"] >= 63
    say(backends, "a", True, 80.0)
    assert run(backends, after, 80.0, 60)[-1] == new


@pytest.mark.parametrize("kind", ["random", "round-robin", "elevator"])
def test_l1_turns(kind: str) -> None:
    """Every period all slots get other servers; what a switch holds stays until then; one that is down has none."""
    live = config(selection={"kind": kind, "period": 10}, legacy="drop")
    backends = started(live, 3.0)
    assert table(backends, live) == slots(tuple("abcd")), "until the first turn"
    tables = run(backends, live, 3.0, 60)
    kinds = [tables[0], *(new for old, new in zip(tables, tables[1:]) if new != old)]
    assert len(kinds) == 7 - (kind == "elevator"), "at an end the elevator stays for one more"
    assert all(set(Counter(each).values()) == {64} for each in kinds)
    assert all(changed(*pair) > 120 for pair in zip(kinds[1:], kinds[2:]) if pair[0] != pair[1])
    weights = dict.fromkeys("abcd", 1)
    if kind != "random":
        algorithm = {"round-robin": round_robin, "elevator": elevator}[kind]
        assert tables[-1] == algorithm(weights, SLOTS, 6)
    say(backends, "a", False, 64.0)
    assert set(table(backends, live)) == set("bcd")
    two = Backends(live)
    two.held(WEB, HeldSlots(tables[-1]), 63.5)
    assert run(two, live, 63.5, 6)[-1] == tables[-1], "the successor waits for the next turn"
    assert run(two, live, 69.75, 1)[-1] != tables[-1]


def test_l3_packets() -> None:
    """Slots leave the server whose slots get most packets, one a second; then they stay, also after a restart."""
    live = config(selection={"kind": "least-packets"})
    backends = started(live)
    old = table(backends, live)
    rates = [100 if name == "a" else 10 for name in old]
    for look in range(80):
        backends.tick(2.0 * look)
        backends.count(1, {WEB: [look * rate for rate in rates]}, 2.0 * look)
    new = table(backends, live)
    load = Counter[str]()
    for name, number in zip(new, rates, strict=True):
        load[name] += number
    assert max(load.values()) <= 1.12 * sum(rates) / 4
    assert changed(old, new) <= 60
    two = Backends(live)
    two.held(WEB, HeldSlots(new), 500.0)
    assert run(two, live, 500.0, 20)[-1] == new
    for counts in ([1] * 7, [9] * 7, [5000] * SLOTS, [1] * SLOTS):
        two.count(1, {WEB: counts, ("web", 99): counts}, 600.0)
    assert table(two, live) == new, "counts of other tables, and those that begin anew, say nothing"


def test_backups() -> None:
    """They have slots while no server of a lower priority works, and those that are back have their own again."""
    live = config(servers={"c": {"backup": True}, "d": {"priority": 9}})
    backends = started(live)
    whole = table(backends, live)
    assert set(whole) == set("ab") and Counter(whole)["a"] == 128
    say(backends, "a", False, 1.0)
    assert set(table(backends, live)) == {"b"}
    say(backends, "b", False, 2.0)
    assert set(table(backends, live)) == {"c"}
    say(backends, "c", False, 3.0)
    assert set(table(backends, live)) == {"d"}
    say(backends, "a", True, 4.0)
    say(backends, "b", True, 5.0)
    assert table(backends, live) == whole
    two = Backends(live)
    two.held(WEB, HeldSlots(whole, is_default=True), 10.0)
    two.tick(10.0)
    assert table(two, live) == whole, "backups without slots are not taken for down"
    say(two, "a", False, 11.0)
    say(two, "b", False, 11.0)
    assert set(table(two, live)) == {"c"}


def test_where_the_controller_takes_turns_slots_stay_and_it_knows_who_takes_part() -> None:
    """Slots move as with a hash, when servers change and not every period; weights are those that are used now."""
    own = {name: {"service_ports": [{"port": 8000 + at, "application": 80}]} for at, name in enumerate("abcd")}
    own["d"]["weight"] = 2
    live = config("abcd", own, selection={"kind": "elevator", "turns": "controller"}, **LEGACY)
    backends = started(live)
    assert WEB not in backends.conditions(live)[0], "all follows from the configuration"
    assert len(set(run(backends, live, 0.0, 300.0))) == 1
    say(backends, "b", False, 301.0)
    found = backends.conditions(live)[0][WEB]
    assert found.turns == (("a", 1), ("c", 1), ("d", 2)) and "b" not in found.servers
    plain = config("abcd", own, selection="hash", **LEGACY)
    same = started(plain)
    say(same, "b", False, 301.0)
    assert same.conditions(plain)[0][WEB].servers == found.servers
    assert same.conditions(plain)[0][WEB].turns is None
