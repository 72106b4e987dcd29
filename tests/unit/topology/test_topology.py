"""Ways between switches: on random graphs, with links that go, and from several network sides."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from random import Random
from typing import Any

import networkx as nx
import pytest

from portlb_app import topology
from portlb_app.config import Config, Connector, Link, load
from portlb_app.topology import Topology
from tests.support import generate, trees

DRAWS = 300


@cache
def graphs() -> list[tuple[Config, Topology]]:
    """Random graphs, some with links that are down."""
    found = []
    for number in range(DRAWS):
        random = Random(f"ways/{number}")
        config = trees.tree(random).spread
        down = random.sample(config.links, random.choice((0, 0, 1, min(2, len(config.links)))))
        found.append((config, topology.of(config, down)))
    return found


def follow(config: Config, found: Topology, switch: str, target: str) -> list[str]:
    """The switches between two switches, hop by hop."""
    across, path = trees.across(config), [switch]
    while path[-1] != target:
        port = found.next_hop(path[-1], target)
        assert port is not None and len(path) <= len(config.switches), f"{path} does not lead to {target}"
        path.append(across[Connector(path[-1], port)].switch)
    return path


def test_every_way_arrives() -> None:
    """From every network side to every server's switch, in no circle, unless no working link leads there."""
    for config, found in graphs():
        for _, switch, _, server_switch in found.paths():
            follow(config, found, switch, server_switch)
        arrived = {(root, server_switch) for root, switch, _, server_switch in found.paths() if switch == server_switch}
        reached = {
            (root, target) for root in found.network for target in found.server_switches if target in part(found, root)
        }
        assert arrived == reached


def part(found: Topology, switch: str) -> set[str]:
    """The switches that working links lead to."""
    seen, left = {switch}, [switch]
    while left:
        for each in found.graph[left.pop()]:
            if each not in seen:
                seen.add(each)
                left.append(each)
    return seen


def test_nobody_turns_back() -> None:
    """What a switch may choose for a packet that came in by a port, it does not send out by that port."""
    for config, found in graphs():
        for name in (switch.name for switch in config.switches):
            for reachability in found.reachabilities(name):
                for target in reachability.switches:
                    assert target == name or found.next_hop(name, target) not in reachability.ingress_ports


def test_reachabilities_hold_for_every_network_side() -> None:
    """A packet that comes in by a port may be for every server of that port's reachability."""
    for _, found in graphs():
        assert found.agrees()
        reaching: dict[tuple[str, int], dict[str, set[str]]] = {}
        for root, switch, port, server_switch in found.paths():
            reaching.setdefault((switch, port), {}).setdefault(root, set()).add(server_switch)
        for (switch, port), by_root in reaching.items():
            (reachability,) = (each for each in found.reachabilities(switch) if port in each.ingress_ports)
            assert all(server_switches == reachability.switches for server_switches in by_root.values())


def test_up_leads_to_a_network_side() -> None:
    """And every switch on the path knows the servers whose packets pass it."""
    for config, found in graphs():
        across = trees.across(config)
        for server_switch in found.server_switches:
            if not any(server_switch in part(found, root) for root in found.network):
                assert found.uplink(server_switch) is None
                continue
            here = server_switch
            for _ in range(found.depth(server_switch)):
                port = found.uplink(here)
                assert port is not None
                here = across[Connector(here, port)].switch
                assert server_switch in found.transit_upstream(here)
            assert found.uplink(here) == found.network[here]


def settings(links: list[list[str]], roots: str, server_switches: str) -> dict[str, Any]:
    """Switches with one-letter names, some with a network side, some with a server."""
    names = sorted({end[0] for link in links for end in link} | {*roots, *server_switches})
    switches: dict[str, dict[str, int]] = {name: {"dpid": ord(name)} for name in names}
    for root in roots:
        switches[root]["network"] = 99
    return {
        "switches": switches,
        "links": links,
        "vips": {"web": {"address": "10.0.0.100", "mac": "02:00:00:00:00:64"}},
        "servers": {
            f"at-{name}": {"vip": "web", "connector": f"{name}:50", "service_ports": [ord(name)]}
            for name in server_switches
        },
    }


CROSSED = settings(
    # from a, the path to y is a p x y; from b it is b z y; so from b packets that enter x by p are for x only
    [["a:1", "p:1"], ["b:1", "p:2"], ["p:3", "x:1"], ["x:2", "y:1"], ["b:2", "z:1"], ["z:2", "y:2"]],
    roots="ab",
    server_switches="xy",
)


def test_one_tree_where_network_sides_disagree() -> None:
    """Then all take the paths of one spanning tree."""
    config = load(generate.text(CROSSED))
    found = topology.of(config)
    crossed = nx.Graph([(link.one.switch, link.other.switch) for link in config.links])
    assert not replace(found, graph=crossed).agrees()
    assert found.graph.number_of_edges() == len(config.switches) - 1 < crossed.number_of_edges()
    assert follow(config, found, "b", "y") == ["b", "p", "x", "y"]
    alone = topology.of(load(generate.text(CROSSED | {"switches": without_network(CROSSED, "a")})))
    assert alone.graph.number_of_edges() == crossed.number_of_edges(), "one network side agrees with itself"


def without_network(data: dict[str, Any], name: str) -> dict[str, Any]:
    """Its switches, one of them without its network side."""
    return data["switches"] | {name: {"dpid": ord(name)}}


def test_the_order_of_links_does_not_matter() -> None:
    """Nor which end comes first."""
    links = [["a:1", "p:1"], ["b:1", "p:2"], ["a:2", "q:1"], ["b:2", "q:2"], ["p:3", "x:1"], ["q:3", "x:2"]]
    one = topology.of(load(generate.text(settings(links, "ab", "x"))))
    turned = [link[::-1] for link in links[::-1]]
    other = topology.of(load(generate.text(settings(turned, "ab", "x"))))
    assert list(map(one.reachabilities, "abpqx")) == list(map(other.reachabilities, "abpqx"))
    assert list(map(one.uplink, "abpqx")) == list(map(other.uplink, "abpqx"))


def test_paths_spread_over_equals_and_only_those_move_that_must() -> None:
    """One root, 4 middle switches, 40 leaves below all of them: no middle switch has more than half."""
    middle, leaves = "wxyz", [f"l{number}" for number in range(40)]
    ports = {name: iter(range(1, 90)) for name in ("r", *middle, *leaves)}
    links = [[f"r:{next(ports['r'])}", f"{each}:{next(ports[each])}"] for each in middle]
    links += [[f"{each}:{next(ports[each])}", f"{leaf}:{next(ports[leaf])}"] for each in middle for leaf in leaves]
    data = settings([], "r", "")
    data["switches"] = {name: {"dpid": number} for number, name in enumerate(ports, 1)}
    data["switches"]["r"]["network"] = 99
    data["links"] = links
    data["servers"] = {
        f"at-{leaf}": {"vip": "web", "connector": f"{leaf}:95", "service_ports": [number]}
        for number, leaf in enumerate(leaves, 1)
    }
    config = load(generate.text(data))
    before = {leaf: follow(config, topology.of(config), "r", leaf)[1] for leaf in leaves}
    assert all(list(before.values()).count(each) in range(2, 21) for each in middle)
    gone = next(link for link in config.links if {end.switch for end in link} == {"r", before["l0"]})
    after = {leaf: follow(config, topology.of(config, [gone]), "r", leaf)[1] for leaf in leaves}
    assert all(before[leaf] == after[leaf] for leaf in leaves if before[leaf] != before["l0"])
    assert before["l0"] not in after.values()


def test_a_link_that_is_down_is_not_used_and_its_parallel_is() -> None:
    """Of two links between the same switches, the second takes over."""
    config = load(generate.text(settings([["a:1", "x:1"], ["a:2", "x:2"]], "a", "x")))
    first = Link(Connector("a", 1), Connector("x", 1))
    assert (topology.of(config).next_hop("a", "x"), topology.of(config).uplink("x")) == (1, 1)
    assert (topology.of(config, [first]).next_hop("a", "x"), topology.of(config, [first]).uplink("x")) == (2, 2)
    cut = topology.of(config, config.links)
    assert (cut.next_hop("a", "x"), cut.uplink("x"), cut.reachabilities("x")) == (None, None, ())
    assert cut.depth("x") > cut.depth("a") == 0


@pytest.mark.parametrize("number", range(5))
def test_depth_is_the_distance_from_the_nearest_network_side(number: int) -> None:
    """By hops up."""
    config = trees.tree(Random(f"depth/{number}")).spread
    found, across = topology.of(config), trees.across(config)
    for switch in config.switches:
        here, hops = switch.name, 0
        while here not in found.network:
            port = found.uplink(here)
            assert port is not None
            here, hops = across[Connector(here, port)].switch, hops + 1
        assert found.depth(switch.name) == hops
