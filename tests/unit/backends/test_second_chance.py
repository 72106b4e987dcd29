"""Slots remember their servers through changes of a pool, failures, and a controller that starts anew."""

from __future__ import annotations

from portlb_app import compiler
from portlb_app.backends import Backends
from portlb_app.backends.formers import QUIET
from portlb_app.backends.states import PORT, Evidence
from portlb_app.compiler.held import held_slots
from portlb_app.config import Config, load
from portlb_app.pipeline import mark
from portlb_app.selection import slots
from portlb_app.topology.conditions import Conditions, PoolKey, PoolSlots
from tests.support import generate

WEB: PoolKey = ("web", 80)
DAY = 24 * 3600.0


def config(pool: str, servers: str = "abcd", legacy: str = "balance", **more: object) -> Config:
    """One switch and one VIP with these servers, some of them in its pool."""
    named = {
        name: {"vip": "web", "connector": f"s1:{2 + at}", "service_ports": [8000 + at]}
        for at, name in enumerate(servers)
    }
    port = {"servers": list(pool), "legacy": legacy, **more}
    vip = {"address": "10.0.0.100", "mac": "02:00:00:00:00:64", "redirect_ports": {80: port}}
    return load(generate.text({"switches": {"s1": {"dpid": 1, "network": 1}}, "vips": {"web": vip}, "servers": named}))


def told(backends: Backends, live: Config) -> PoolSlots:
    """What the pool shall have, as far as that does not follow from its configuration alone."""
    return backends.conditions(live)[0].get(WEB, PoolSlots())


def formers(backends: Backends, live: Config) -> set[str]:
    """All former servers of the pool's slots."""
    return {name for names in told(backends, live).formers for name in names}


def changed(*pools: str) -> tuple[Backends, Config]:
    """The pool was these, one after the other, a second apart."""
    live = config(pools[0])
    backends = Backends(live)
    for now, pool in enumerate(pools[1:], 1):
        live = config(pool)
        backends.adopt(live, float(now))
        assert told(backends, live).servers
    return backends, live


def test_a_server_that_leaves_its_pool_is_remembered_by_the_slots_it_had() -> None:
    live, proposed = config("abcd"), config("abc")
    backends = Backends(live)
    assert told(backends, live) == PoolSlots()
    before, after = slots(("a", "b", "c", "d")), told(backends, proposed).servers
    expected = tuple((old,) if old != new else () for old, new in zip(before, after, strict=True))
    assert ("d",) in expected
    assert told(backends, proposed) == PoolSlots(after, expected), "already while it is proposed"
    assert told(backends, live) == PoolSlots()
    backends.adopt(proposed, 1)
    assert told(backends, proposed) == PoolSlots(after, expected)


def test_nothing_is_remembered_where_it_is_off() -> None:
    """By default that is where plain clients do not follow the slots."""
    for off in ({"legacy": "drop"}, {"second_chance": False}):
        backends = Backends(config("abcd", **off))
        live = config("abc", **off)
        backends.adopt(live, 1)
        assert told(backends, live).servers and told(backends, live).formers == ()


def test_a_server_that_is_down_is_not_named() -> None:
    """Whether it went before its slots or after."""
    backends, live = changed("abcd", "abc")
    assert "d" in formers(backends, live)
    backends.see("d", Evidence(PORT, False, "port s1:5 has no carrier", 2), 2)
    assert "d" not in formers(backends, live)
    backends.see("d", Evidence(PORT, True, "port s1:5 is up", 3), 3)
    assert "d" in formers(backends, live)
    backends.see("c", Evidence(PORT, False, "port s1:4 has no carrier", 4), 4)
    assert "c" not in told(backends, live).servers
    assert "c" not in formers(backends, live) and "d" in formers(backends, live)


def test_a_server_that_is_gone_is_forgotten() -> None:
    backends, _ = changed("abcd", "abc")
    gone = config("abc", servers="abc")
    backends.adopt(gone, 2)
    backends.tick(2)
    assert "d" not in formers(backends, gone)


def test_what_is_used_stays() -> None:
    """By what switches count for its marks; at last the bound ends it."""
    backends, live = changed("abcd", "abc")
    number = live.vips[0].number
    for now in range(0, int(DAY), int(QUIET / 2)):
        backends.handed_back(WEB, number, mark(number, ("d",)), now)
        backends.tick(now)
        assert "d" in formers(backends, live)
    backends.tick(DAY + 1)
    assert told(backends, live).formers == ()


def test_what_is_not_used_goes() -> None:
    backends, live = changed("abcd", "abc")
    number = live.vips[0].number
    backends.handed_back(WEB, number, mark(number, ("a",)), QUIET / 2)
    backends.tick(1 + QUIET)
    assert told(backends, live).formers == ()


def test_a_controller_that_starts_reads_it() -> None:
    """From any switch that has the pool; and what it then wants is what the switch holds."""
    backends, live = changed("abcd", "abc", "ab", "abd")
    held = told(backends, live)
    assert max(map(len, held.formers)) > 1
    (state,) = compiler.compile(live, Conditions(slots={WEB: held})).values()
    (switch,) = live.switches
    read = held_slots(live, switch, state.group_by_number)[WEB]
    assert read.servers == held.servers and read.formers == held.formers
    successor = Backends(live)
    successor.held(WEB, read, 100)
    assert told(successor, live) == held
    (same,) = compiler.compile(live, Conditions(slots=successor.conditions(live)[0])).values()
    assert same == state
    successor.tick(100 + QUIET)
    assert told(successor, live).formers == ()
