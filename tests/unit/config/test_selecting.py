"""How a redirect port selects servers: values, defaults, and every combination that is refused."""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any

import pytest

from portlb_app.config import Algorithm, Config, ConfigError, Moves, Selecting, Turns, When, load
from portlb_app.pipeline import SLOTS


def text(port: dict[str, Any], servers: dict[str, dict[str, Any]] | None = None, **vip: Any) -> str:
    """A configuration in which port 80 says this; port 81 is another pool."""
    made = {name: {"vip": "web", "connector": f"s1:{number}"} for number, name in enumerate("abc", 2)}
    for name, keys in (servers or {}).items():
        made.setdefault(name, {"vip": "web", "connector": f"s1:{len(made) + 2}"}).update(keys)
    entry = {"address": "10.0.0.100", "mac": "02:00:00:00:00:64"} | vip
    entry["redirect_ports"] = {80: {"servers": ["a", "b"]} | port, 81: {"servers": ["c"]}}
    return json.dumps({"switches": {"s1": {"dpid": 1, "network": 1}}, "vips": {"web": entry}, "servers": made})


def pool(port: dict[str, Any], **vip: Any) -> Any:
    """Port 80 of that configuration."""
    return load(text(port, **vip)).vips[0].redirect_ports[0]


def errors(*arguments: Any, **vip: Any) -> list[str]:
    """What is wrong with it."""
    with pytest.raises(ConfigError) as caught:
        load(text(*arguments, **vip))
    return [str(each) for each in caught.value.errors]


def test_by_default_a_slot_decides() -> None:
    """As ever: by a hash, all changes at once."""
    given = pool({})
    assert given.selecting == Selecting() == Selecting(Algorithm.HASH)
    assert (given.moves, given.slow_start, given.when, given.group_bits) == (None, 0, (), 0)
    assert not given.selecting.reshuffles


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("hash", Selecting()),
        ("source", Selecting(Algorithm.SOURCE)),
        ({"kind": "source", "prefix4": 24, "prefix6": 64}, Selecting(Algorithm.SOURCE, 24, 64)),
        ({"kind": "random", "period": 5}, Selecting(Algorithm.RANDOM, period=5)),
        ("round-robin", Selecting(Algorithm.ROUND_ROBIN)),
        ({"kind": "elevator", "period": 2}, Selecting(Algorithm.ELEVATOR, period=2)),
        ("least", Selecting(Algorithm.LEAST)),
        ("least-packets", Selecting(Algorithm.LEAST_PACKETS)),
    ],
)
def test_algorithms(given: Any, meant: Selecting) -> None:
    """A bare word, or a mapping with what an algorithm needs."""
    assert pool({"selection": given}).selecting == meant


@pytest.mark.parametrize(("given", "meant"), [("free", None), ("never", 0), ("1/s", 1), ("25/s", 25)])
def test_moves(given: str, meant: int | None) -> None:
    """How many slots a second, and as text again."""
    moves = pool({"moves": given}).moves
    assert moves == Moves(meant) and str(moves) == given


def test_when() -> None:
    """In the order of the file."""
    given = [
        {"source": "192.0.2.0/24", "pool": 81},
        {"dscp": 46, "vlan": 12, "pool": 81},
        {"source": "fd00::/8", "pool": 81},
    ]
    made = pool({"when": given}, address=["10.0.0.100", "fd00::100"])
    assert made.when == (
        When(81, ip_network("192.0.2.0/24")),
        When(81, None, 46, 12),
        When(81, ip_network("fd00::/8")),
    )
    vip = load(text({"when": given[:2]})).vips[0]
    assert vip.receivers(vip.redirect_ports[0]) == ("a", "b", "c")
    assert vip.receivers(vip.redirect_ports[1]) == ("c",)


def test_backups_and_priorities() -> None:
    """A backup is of the second priority; others say a number."""
    config: Config = load(text({}, {"b": {"backup": True}, "c": {"priority": 7}, "a": {"backup": False}}))
    assert [server.priority for server in config.servers] == [0, 1, 7]


MISTAKES: list[tuple[dict[str, Any], list[str]]] = [
    (
        {"selection": "fastest"},
        [
            "selection.kind: should be 'hash', 'source', 'random', 'round-robin', 'elevator', 'least' or "
            "'least-packets'"
        ],
    ),
    ({"selection": 7}, ["selection: is a mapping of kind, prefix4, prefix6, period, turns, rate"]),
    ({"selection": {"prefix4": 24}}, ["selection.kind: is missing"]),
    ({"selection": {"kind": "hash", "seed": 3}}, ["selection.seed: unknown key"]),
    ({"selection": {"kind": "hash", "prefix4": 24}}, ["selection.prefix4: needs kind: source"]),
    ({"selection": {"kind": "least", "prefix6": 64}}, ["selection.prefix6: needs kind: source"]),
    ({"selection": {"kind": "source", "prefix4": 33}}, ["selection.prefix4: should be less than or equal to 32"]),
    ({"selection": {"kind": "source", "prefix6": 0}}, ["selection.prefix6: should be greater than or equal to 1"]),
    ({"selection": {"kind": "source", "period": 9}}, ["selection.period: needs kind: random, round-robin or elevator"]),
    ({"selection": {"kind": "random", "period": 0}}, ["selection.period: should be greater than or equal to 1"]),
    ({"selection": {"kind": "least", "turns": "slots"}}, ["selection.turns: needs kind: round-robin or elevator"]),
    (
        {"selection": {"kind": "random", "turns": "controller"}},
        ["selection.turns: needs kind: round-robin or elevator"],
    ),
    ({"selection": {"kind": "elevator", "turns": "mine"}}, ["selection.turns: should be 'slots' or 'controller'"]),
    ({"selection": {"kind": "elevator", "rate": 5}}, ["selection.rate: needs turns: controller"]),
    ({"selection": {"kind": "elevator", "rate": 1001}}, ["selection.rate: should be less than or equal to 1000"]),
    ({"moves": "fast"}, ["moves: free, never, or a number of slots a second like 2/s is expected"]),
    ({"moves": 2}, ["moves: free, never, or a number of slots a second like 2/s is expected"]),
    ({"moves": "0/s"}, ["moves: free, never, or a number of slots a second like 2/s is expected"]),
    ({"slow_start": 3601}, ["slow_start: should be less than or equal to 3600"]),
    ({"slow_start": -1}, ["slow_start: should be greater than or equal to 0"]),
    ({"selection": "random", "moves": "never"}, ["moves: selection: random moves all slots every period: free"]),
    ({"selection": "random", "slow_start": 5}, ["slow_start: selection: random moves all slots every period"]),
    (
        {"selection": "elevator", "legacy": "balance"},
        [
            "selection: elevator moves all slots every period, and breaks connections of plain clients "
            "(legacy: balance): say moves: free if that is wanted"
        ],
    ),
    (
        {"selection": "source", "signal": "option"},
        ["signal: with selection: source the controller cannot tell a SYN's slot: flag, or legacy: balance or pin"],
    ),
    ({"when": [{"dscp": 1, "pool": 80}]}, ["when[0].pool: 80 is this port's own pool"]),
    ({"when": [{"dscp": 1, "pool": 99}]}, ["when[0].pool: 99 is no redirect port of web"]),
    ({"when": [{"dscp": 1}]}, ["when[0].pool: is missing"]),
    ({"when": [{"pool": 81}]}, ["when[0]: says nothing of a packet: source, dscp or vlan"]),
    ({"when": [{"pool": 81, "dscp": 64}]}, ["when[0].dscp: should be less than or equal to 63"]),
    ({"when": [{"pool": 81, "vlan": 4095}]}, ["when[0].vlan: should be less than or equal to 4094"]),
    ({"when": [{"pool": 81, "dscp": 1}, {"pool": 81, "dscp": 1}]}, ["when[1]: matches the same packets as when[0]"]),
    ({"when": [{"pool": 81, "source": "fd00::/8"}]}, ["when[0].source: web has no IPv6 address"]),
    ({"when": ["a"]}, ["when[0]: is a mapping of pool, source, dscp, vlan"]),
    (
        {"when": [{"pool": 81, "source": "192.0.2.1/24"}]},
        ["when[0].source: a network like 192.0.2.0/24 or 2001:db8::/32 is expected: 192.0.2.1/24 has host bits set"],
    ),
    (
        {"when": [{"pool": 81, "source": 7}]},
        ["when[0].source: a network like 192.0.2.0/24 or 2001:db8::/32 is expected"],
    ),
    ({"when": [{"pool": 81, "vlan": 1}] * 17}, ["when: List should have at most 16 items after validation, not 17"]),
]  # fmt: skip


@pytest.mark.parametrize(("port", "messages"), MISTAKES)
def test_a_mistake_has_its_path(port: dict[str, Any], messages: list[str]) -> None:
    """Unknown words and combinations are refused, each at its place."""
    assert errors(port) == [f"vips.web.redirect_ports.80.{message}" for message in messages]


OWN = {name: {"service_ports": [{"port": 8000 + at, "application": 80}]} for at, name in enumerate("ab")}
BY_TURNS = {"kind": "round-robin", "turns": "controller"}


def test_turns_of_the_controller() -> None:
    """Slots move as with a hash then, so no connection that stays on its slot breaks."""
    made = load(text({"selection": BY_TURNS, "legacy": "balance"}, OWN)).vips[0].redirect_ports[0]
    assert made.selecting == Selecting(Algorithm.ROUND_ROBIN, turns=Turns.CONTROLLER, rate=500)
    assert not made.selecting.reshuffles and Selecting(Algorithm.ROUND_ROBIN).reshuffles


@pytest.mark.parametrize(
    ("port", "message"),
    [
        ({"selection": {**BY_TURNS, "period": 9}}, "selection.period: with turns: controller each SYN is a turn"),
        ({"slow_start": 5}, "slow_start: with turns: controller a server gets its turns at once"),
        (
            {"when": [{"dscp": 1, "pool": 81}]},
            "when: with turns: controller all SYNs are of this port's own pool",
        ),
    ],
)
def test_what_turns_of_the_controller_do_not_go_with(port: dict[str, Any], message: str) -> None:
    """Each is refused at its place."""
    assert errors({"selection": BY_TURNS} | port, OWN) == [f"vips.web.redirect_ports.80.{message}"]


def test_turns_of_the_controller_need_servers_that_redirect() -> None:
    """All other connections go on by their slots, which may be other servers'."""
    assert errors({"selection": BY_TURNS}, {"a": OWN["a"], "b": {"service_ports": [8001]}}) == [
        "vips.web.redirect_ports.80.selection.turns: b cannot redirect from 80: it needs a service port whose "
        "application is 80: other connections go on by their slots"
    ]


def test_what_is_said_twice() -> None:
    """A server is a backup or has a priority; and a source pool has no room for more servers than slots."""
    assert errors({}, {"a": {"backup": True, "priority": 2}}) == [
        "servers.a.backup: the priority says that already: choose one of them"
    ]
    assert errors({}, {"a": {"backup": 1}, "b": {"priority": 256}}) == [
        "servers.a.backup: true or false is expected",
        "servers.b.priority: should be less than or equal to 255",
    ]
    many = {f"n{number}": {} for number in range(SLOTS + 1)}
    assert errors({"selection": "source", "servers": list(many)}, many) == [
        "vips.web.redirect_ports.80.servers: selection: source has 256 slots, and so many servers at most"
    ]
    assert pool({"selection": "random", "legacy": "balance", "moves": "free"}).moves == Moves(None)
    assert pool({"selection": "random", "legacy": "drop"}).selecting.reshuffles
