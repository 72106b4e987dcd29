"""Mistakes in switches, links and connectors: each is one error, with its path."""

from __future__ import annotations

import json
from typing import Any

import pytest

from portlb_app.config import Config, ConfigError, Connector, Link, load

TREE: dict[str, Any] = {
    "switches": {"r": {"dpid": 1, "network": 1}, "a": {"dpid": 2}, "b": {"dpid": 3}},
    "links": [["r:2", "a:1"], ["b:1", "r:3"]],
    "vips": {"web": {"address": "10.0.0.100", "mac": "02:00:00:00:00:64"}},
    "servers": {
        "x": {"vip": "web", "connector": "a:2", "service_ports": [1], "weight": 256},
        "y": {"vip": "web", "connector": "b:2", "service_ports": [2]},
    },
}


def changed(**entries: Any) -> dict[str, Any]:
    """The tree with some of its entries changed; ``switches__a`` is one below ``switches``."""
    data = json.loads(json.dumps(TREE))
    for path, value in entries.items():
        *way, last = path.split("__")
        place = data
        for step in way:
            place = place[step]
        place[last] = value
    return dict(data)


def mistakes(data: Any) -> list[str]:
    """What is wrong with a configuration."""
    with pytest.raises(ConfigError) as caught:
        load(json.dumps(data))
    return [str(problem) for problem in caught.value.errors]


def read(data: Any) -> Config:
    """A configuration without mistakes."""
    return load(json.dumps(data))


def test_a_tree() -> None:
    """Links are sorted, each with its smaller end first; a switch below needs no network side."""
    config = read(TREE)
    assert config.links == (
        Link(Connector("a", 1), Connector("r", 2)),
        Link(Connector("b", 1), Connector("r", 3)),
    )
    assert [switch.network for switch in config.switches] == [None, None, 1]
    assert [server.weight for server in config.servers] == [256, 1]
    assert str(config.links[0]) == "a:1 - r:2"


@pytest.mark.parametrize(
    ("data", "messages"),
    [
        (changed(links={}), ["links: is a list of links, like [s1:2, s2:1]"]),
        (
            changed(links=[["r:2", "a:1"], ["b:1", "r:3"], "r:4"]),
            ["links[2]: a link is written [switch:port, switch:port], like [s1:2, s2:1]"],
        ),
        (
            changed(links=[["r:2", "a:1"], ["b:1", "r:3"], ["r:4"]]),
            ["links[2]: a link is written [switch:port, switch:port], like [s1:2, s2:1]"],
        ),
        (
            changed(links=[["r:2", "a:1"], ["b:1", "r:3", "r:4"]]),
            ["links[1]: a link is written [switch:port, switch:port], like [s1:2, s2:1]"],
        ),
        (changed(links=[["r:2", 5]]), ["links[0]: a connector is written switch:port, like s1:2"]),
        (changed(links=[["r:2", "a:65280"]]), ["links[0]: OpenFlow ports go from 1 to 65279"]),
        (changed(links=[["r:2", "a:1"], ["b:1", "r:3"], ["a:5", "a:6"]]), ["links[2]: both ends are on a"]),
        (changed(links=[["r:2", "a:1"], ["b:1", "r:3"], ["a:5", "q:6"]]), ["links[2]: there is no switch q"]),
        (
            changed(links=[["r:2", "a:1"], ["b:1", "r:3"], ["a:5", "r:1"]]),
            ["links[2]: r:1 is the network side of r"],
        ),
        (
            changed(links=[["r:2", "a:1"], ["b:1", "r:3"], ["a:5", "r:3"]]),
            ["links[2]: r:3 is already an end of links[1]"],
        ),
        (
            changed(links=[["r:2", "a:1"], ["b:1", "r:3"], ["a:2", "r:4"]]),
            ["servers.x.connector: a:2 is an end of links[2]"],
        ),
        (
            changed(links=[["r:2", "a:1"]]),
            [
                "switches.b: has no network side, and no links lead to one",
                "servers.y.connector: x of the same VIP is on a, and no links lead from there",
            ],
        ),
        (changed(switches__c={"dpid": 4}), ["switches.c: has no network side, and no links lead to one"]),
        (
            changed(switches__a={"dpid": 2, "address": "10.0.0.9"}),
            ["switches.a.address: an administrator logs in from the network side, and it has none"],
        ),
        (
            changed(switches__r={"dpid": 1, "network": "x"}),
            ["switches.r.network: a number is expected"],
        ),
        (changed(servers__x__weight=-1), ["servers.x.weight: should be greater than or equal to 0"]),
        (changed(servers__x__weight=257), ["servers.x.weight: should be less than or equal to 256"]),
    ],
)
def test_a_mistake_in_the_wiring(data: Any, messages: list[str]) -> None:
    """All of them at once, and nothing else."""
    assert mistakes(data) == messages


def test_servers_on_the_network_side_need_the_only_one() -> None:
    """Through another entrance their clients would be sent back out of a switch they did not come in by (row N5)."""
    one_armed = changed(
        vips__web__rewrite="mac",
        servers__x={"vip": "web", "connector": "r:1", "mac": "02:00:00:00:00:01"},
        servers__y={"vip": "web", "connector": "b:2", "mac": "02:00:00:00:00:02"},
    )
    read(one_armed)
    one_armed["switches"]["a"]["network"] = 9
    assert mistakes(one_armed) == [
        "servers.x.connector: r:1 is one of several network sides; clients reach all"
    ]
