"""Trees and other graphs of switches: a configuration of one switch, its servers spread over several."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any, NamedTuple

import yaml

from portlb_app.config import Config, Connector, load
from tests.support import generate

LINK_PORTS = tuple(range(21, 33))
"""OpenFlow ports that links use; a bridge for a random tree has all of them, and `generate.CONNECTORS`."""
SWITCHES = ("s1", "s2", "s3", "s4", "s5", "s6")


class Shape(NamedTuple):
    """A tree with s1 at its root: every other switch's parent, and the switches that servers are on, in turns."""

    parents: Mapping[str, str]
    server_switches: tuple[str, ...]


SHAPES = {
    "single": Shape({}, ("s1",)),
    "tree": Shape({"s2": "s1", "s3": "s1"}, ("s2", "s3")),
    "deep": Shape({"s2": "s1", "s3": "s2", "s4": "s2"}, ("s3", "s1", "s4", "s2")),
}
"""One switch, two levels, and three with servers on each."""


def shaped(text: str, shape: str) -> str:
    """The configuration of one switch s1 with its servers on the switches of a tree, at ports of the same numbers."""
    parents, server_switches = SHAPES[shape]
    data = yaml.safe_load(text)
    (switch,) = data["switches"].values()
    data["switches"] |= {name: {"dpid": number} for number, name in enumerate(parents, switch["dpid"] + 1)}
    free = {name: list(LINK_PORTS) for name in data["switches"]}
    data["links"] = [[f"{end}:{free[end].pop(0)}" for end in link] for link in parents.items()]
    connectors = sorted({server["connector"] for server in data["servers"].values()} - {f"s1:{switch['network']}"})
    count = len(server_switches)
    server_switch = {connector: server_switches[number % count] for number, connector in enumerate(connectors)}
    for server in data["servers"].values():
        one, port = server["connector"].split(":")
        server["connector"] = f"{server_switch.get(server['connector'], one)}:{port}"
    return yaml.safe_dump(data)


class Tree(NamedTuple):
    """One switch, what it is spread over, and where each of its servers' ports is there."""

    single: Config
    spread: Config
    server_switch: dict[int, str]


def tree(random: Random) -> Tree:
    """A random configuration of one switch, and the same servers behind two to six switches in any graph."""
    while len((data := generate.settings(random))["switches"]) > 1:
        pass
    return spread(random, data)


def spread(random: Random, data: dict[str, Any], switches: int = 0) -> Tree:
    """The same for these settings of one switch s1, with so many switches (0: any number)."""
    single = load(generate.text(data))
    (only,) = single.switches
    names = SWITCHES[: switches or random.randint(2, len(SWITCHES))]
    one_armed = any(server.connector.port == only.network for server in single.servers)
    roots = ("s1",) if one_armed or random.random() < 0.5 else ("s1", random.choice(names[1:]))
    settings = {key: value for key, value in data["switches"]["s1"].items() if key not in ("dpid", "network")}
    own = {name: dict(settings, dpid=number) for number, name in enumerate(names, 1)}
    for name in names:
        if name != "s1":
            own[name].pop("address", None)
        if name in roots:
            own[name]["network"] = only.network
    free = {name: list(LINK_PORTS) for name in names}
    links = [_link(random, free, name, random.choice(names[:number])) for number, name in enumerate(names) if number]
    links += [_link(random, free, *random.sample(names, 2)) for _ in range(random.choice((0, 0, 1, 2, 3)))]
    server_switch = {port: random.choice(names) for port in generate.CONNECTORS if port != only.network}
    server_switch[only.network or 0] = "s1"
    servers = {}
    for name, entry in data["servers"].items():
        port = single.server_by_name[name].connector.port
        servers[name] = dict(entry, connector=f"{server_switch[port]}:{port}")
    config = load(generate.text(dict(data, switches=own, links=links, servers=servers)))
    return Tree(single, config, server_switch)


def _link(random: Random, free: dict[str, list[int]], one: str, other: str) -> list[str]:
    ends = [f"{one}:{free[one].pop(0)}", f"{other}:{free[other].pop(0)}"]
    random.shuffle(ends)
    return ends


def across(config: Config) -> dict[Connector, Connector]:
    """The other end of every link."""
    return {end: link[1 - position] for link in config.links for position, end in enumerate(link)}
