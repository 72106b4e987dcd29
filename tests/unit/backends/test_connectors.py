"""What switches say about ports is evidence about the servers there."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from portlb_app.backends.connectors import Connectors
from portlb_app.config import load
from portlb_app.openflow.messages import Port
from portlb_app.topology.damping import HOLD, MAX_HOLD
from tests.support import generate

CONFIG = load(
    generate.text(
        {
            "switches": {"s1": {"dpid": 1, "network": 1}, "s2": {"dpid": 2, "network": 1}},
            "vips": {
                "web": {"address": "10.0.0.100", "mac": "02:00:00:00:00:64", "rewrite": "mac"},
                "other": {"address": "10.0.0.101", "mac": "02:00:00:00:00:65"},
            },
            "servers": {
                **{
                    name: {"vip": "web", "connector": f"s1:{port}", "service_ports": [8000 + number], "mac": mac}
                    for number, (name, port, mac) in enumerate(
                        (("a", 2, "02:00:00:00:01:01"), ("b", 2, "02:00:00:00:01:02"), ("c", 3, "02:00:00:00:01:03"))
                    )
                },
                "d": {"vip": "other", "connector": "s2:2", "service_ports": [80]},
            },
        }
    )
)
UP = {1: Port(1, "net"), 2: Port(2, "ab"), 3: Port(3, "c"), 9: Port(9, "other")}


@pytest.fixture
def connectors() -> Connectors:
    made = Connectors()
    made.adopt(CONFIG, 0)
    return made


def said(connectors: Connectors, now: float) -> dict[str, str]:
    """What is new about servers, as text."""
    return {server: f"{'up' if each.is_up else 'down'}: {each.reason}" for server, each in connectors.news(now)}


def without(*numbers: int) -> Mapping[int, Port]:
    """All ports but these."""
    return {number: port for number, port in UP.items() if number not in numbers}


def test_once(connectors: Connectors) -> None:
    """Everything that is new, and nothing twice; a switch that says nothing leads to nothing."""
    assert said(connectors, 0) == {}
    connectors.see(1, UP, 1)
    assert said(connectors, 1) == {"a": "up: port s1:2 is up", "b": "up: port s1:2 is up", "c": "up: port s1:3 is up"}
    connectors.see(1, without(9), 2)
    assert said(connectors, 2) == {}


@pytest.mark.parametrize(
    "port, problem",
    [
        (None, "is missing"),
        (Port(2, "ab", is_enabled=False), "is set down"),
        (Port(2, "ab", has_carrier=False), "has no carrier"),
    ],
)
def test_down_at_once_and_up_after_a_while(connectors: Connectors, port: Port | None, problem: str) -> None:
    """All servers of the connector; the port's neighbours are not concerned."""
    connectors.see(1, UP, 0)
    list(connectors.news(0))
    ports = {**without(2), **({2: port} if port else {})}
    connectors.see(1, ports, 5)
    assert said(connectors, 5) == {name: f"down: port s1:2 {problem}" for name in "ab"}
    connectors.see(1, UP, 6)
    assert said(connectors, 6) == said(connectors, 6 + HOLD / 2) == {}
    assert said(connectors, 6 + HOLD) == {name: "up: port s1:2 is up" for name in "ab"}


def test_down_from_the_start(connectors: Connectors) -> None:
    """The first report is no less evidence."""
    connectors.see(2, {}, 0)
    assert said(connectors, 0) == {"d": "down: port s2:2 is missing"}


def test_one_that_flaps(connectors: Connectors) -> None:
    """Each time it must be up longer, up to a minute; a report of something else does not begin anew."""
    connectors.see(1, UP, 0)
    list(connectors.news(0))
    holds = []
    now = 1.0
    for _ in range(9):
        connectors.see(1, without(3), now)
        assert said(connectors, now) == {"c": "down: port s1:3 is missing"}
        connectors.see(1, UP, now)
        began = now
        while not said(connectors, now):
            now += 0.25
            connectors.see(1, UP, now)
        holds.append(now - began)
    assert holds[0] == HOLD and holds == sorted(holds) and holds[-1] > 4 * HOLD
    assert max(holds) <= MAX_HOLD


def test_down_again_while_it_waits(connectors: Connectors) -> None:
    """Then it is not up when the time is over."""
    connectors.see(1, UP, 0)
    connectors.see(1, without(3), 1)
    list(connectors.news(1))
    connectors.see(1, UP, 2)
    connectors.see(1, without(3), 2.5)
    assert said(connectors, 10) == {}


def test_another_reason(connectors: Connectors) -> None:
    """It is still down, and why is told."""
    connectors.see(2, {}, 0)
    list(connectors.news(0))
    connectors.see(2, {2: Port(2, "d", has_carrier=False)}, 1)
    assert said(connectors, 1) == {"d": "down: port s2:2 has no carrier"}


def test_another_configuration(connectors: Connectors) -> None:
    """What is known is told about its servers anew; what it does not have is forgotten."""
    connectors.see(1, without(3), 0)
    list(connectors.news(0))
    text = {
        "switches": {"s1": {"dpid": 1, "network": 1}},
        "vips": {"web": {"address": "10.0.0.100", "mac": "02:00:00:00:00:64"}},
        "servers": {"new": {"vip": "web", "connector": "s1:3", "service_ports": [80]}},
    }
    other = load(generate.text(text))
    connectors.adopt(other, 1)
    connectors.adopt(other, 1)
    assert said(connectors, 1) == {"new": "down: port s1:3 is missing"}
