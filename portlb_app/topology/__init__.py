"""Switches, links, network sides and servers' connectors as a graph, and the paths that packets take through it.

Any graph is fine in which links lead from every server to a network side; several switches may have one.

*Downstream*, a packet takes a shortest path to the switch of its server. The path depends only on the switch the packet
is at and on its target, so there are no loops, and all entrances agree. Among several shortest paths, a hash of the two
switches' names chooses (rendezvous hashing): targets are spread over the paths, and the loss of one path moves no
target that used another.

A switch that chooses a server for a packet must choose one that the packet can reach without turning back. The servers
it may choose from are the *reachability* of the port the packet came in by: those on the paths that enter by that port.
With several network sides, paths from different entrances may enter by the same port and lead to different servers, and
the switch could not tell them apart. Then all packets take one spanning tree instead, in which every link has the same
servers beyond it for all packets.

*Upstream*, a packet takes a shortest path to the nearest network side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import networkx as nx

from portlb_app.config import Config, Link


@dataclass(frozen=True)
class Reachability:
    """Packets that come in by one of `ingress_ports` (OpenFlow ports) can reach the servers of `switches`."""

    ingress_ports: frozenset[int]
    switches: frozenset[str]


@dataclass(frozen=True)
class Topology:
    """Switches (nodes) and the links that work (edges); `network` has the OpenFlow port of each network side.

    `server_switches` are the switches with servers. `graph` has the links that packets take.
    """

    graph: nx.Graph[str]
    network: Mapping[str, int]
    server_switches: frozenset[str]
    ports: Mapping[tuple[str, str], int]
    """By switch and neighbour, the OpenFlow port from one to the other."""

    def next_hop(self, switch: str, target: str) -> int | None:
        """The OpenFlow port by which packets leave a switch for another one; None without a path to it."""
        hop = self.next_switch(switch, target)
        return None if hop is None else self.ports[switch, hop]

    def reachabilities(self, switch: str) -> tuple[Reachability, ...]:
        """The reachabilities of a switch's ports, most switches first; ports with the same one share it."""
        by_switches: dict[frozenset[str], set[int]] = {}
        for port, switches in self._beyond.get(switch, {}).items():
            by_switches.setdefault(switches, set()).add(port)
        found = (Reachability(frozenset(ports), switches) for switches, ports in by_switches.items())
        return tuple(sorted(found, key=lambda each: (-len(each.switches), sorted(each.ingress_ports))))

    def uplink(self, switch: str) -> int | None:
        """The OpenFlow port by which servers' packets leave a switch; None where no network side can be reached."""
        if switch in self.network:
            return self.network[switch]
        parent = self._parents.get(switch)
        return None if parent is None else self.ports[switch, parent]

    def transit_upstream(self, switch: str) -> frozenset[str]:
        """The other switches whose servers' packets pass this one on their way to the network."""
        return frozenset(self._transit_upstream.get(switch, ()))

    def depth(self, switch: str) -> int:
        """Links between a switch and the nearest network side; without a path to one, more than any other has."""
        return self._depths.get(switch, len(self.graph))

    # ---- downstream ----

    def next_switch(self, switch: str, target: str) -> str | None:
        """The neighbour that packets go to on their way to another switch; None without a path to it."""
        distances = self._distances.get(target, {})
        if switch not in distances or switch == target:
            return None
        nearer = (each for each in self.graph[switch] if distances[each] == distances[switch] - 1)
        return min(nearer, key=lambda each: _score(target, each))

    @cached_property
    def _distances(self) -> dict[str, dict[str, int]]:
        """By switch with servers, the distance of every other switch in links."""
        return {
            target: dict(nx.single_source_shortest_path_length(self.graph, target)) for target in self.server_switches
        }

    def paths(self) -> Iterator[tuple[str, str, int, str]]:
        """Every step of every downstream path: the entrance, a switch, the port the path enters it by, the target."""
        for root in self.network:
            for target in self.server_switches:
                if root not in self._distances[target]:
                    continue
                here, port = root, self.network[root]
                while True:
                    yield root, here, port, target
                    after = self.next_switch(here, target)
                    if after is None:
                        break
                    here, port = after, self.ports[after, here]

    @cached_property
    def _beyond(self) -> dict[str, dict[int, frozenset[str]]]:
        """By switch and port, the targets of the paths that enter by that port."""
        found: dict[str, dict[int, set[str]]] = {}
        for _, switch, port, target in self.paths():
            found.setdefault(switch, {}).setdefault(port, set()).add(target)
        return {
            switch: {port: frozenset(targets) for port, targets in by_port.items()} for switch, by_port in found.items()
        }

    def agrees(self) -> bool:
        """Whether the paths that enter a switch by a port lead to the same targets, from whichever entrance."""
        found: dict[tuple[str, int], dict[str, set[str]]] = {}
        for root, switch, port, target in self.paths():
            found.setdefault((switch, port), {}).setdefault(root, set()).add(target)
        return all(len(set(map(frozenset, by_root.values()))) == 1 for by_root in found.values())

    # ---- upstream ----

    @cached_property
    def _depths(self) -> dict[str, int]:
        layers = nx.bfs_layers(self.graph, list(self.network))
        return {switch: depth for depth, layer in enumerate(layers) for switch in layer}

    @cached_property
    def _parents(self) -> dict[str, str]:
        return {
            switch: min(
                (each for each in self.graph[switch] if self._depths[each] == depth - 1),
                key=lambda each: _score(switch, each),
            )
            for switch, depth in self._depths.items()
            if depth > 0
        }

    @cached_property
    def _transit_upstream(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for target in self.server_switches:
            here = self._parents.get(target)
            while here is not None:
                found.setdefault(here, set()).add(target)
                here = self._parents.get(here)
        return found


def joined(config: Config) -> dict[str, frozenset[str]]:
    """By switch, all that links join to it, itself among them, whether the links work or not: one load balancer."""
    graph: nx.Graph[str] = nx.Graph()
    graph.add_nodes_from(switch.name for switch in config.switches)
    graph.add_edges_from((link.one.switch, link.other.switch) for link in config.links)
    return {name: part for part in map(frozenset, nx.connected_components(graph)) for name in part}


def of(config: Config, down: Iterable[Link] = ()) -> Topology:
    """The topology a configuration describes, without the links that are down."""
    whole: nx.Graph[str] = nx.Graph()
    whole.add_nodes_from(switch.name for switch in config.switches)
    ports: dict[tuple[str, str], int] = {}
    broken = set(down)
    for link in config.links:
        one, other = link
        if link not in broken and (one.switch, other.switch) not in ports:  # of parallel links, the first
            whole.add_edge(one.switch, other.switch)
            ports[one.switch, other.switch], ports[other.switch, one.switch] = one.port, other.port
    network = {switch.name: switch.network for switch in config.switches if switch.network is not None}
    server_switches = frozenset(server.connector.switch for server in config.servers)
    topology = Topology(whole, network, server_switches, ports)
    if topology.agrees():
        return topology
    return Topology(_spanning_forest(whole, sorted(network)), network, server_switches, ports)


def _spanning_forest(graph: nx.Graph[str], roots: Iterable[str]) -> nx.Graph[str]:
    """Breadth-first trees: from the first network side by name, then from the first not reached yet, and so on."""
    forest: nx.Graph[str] = nx.Graph()
    forest.add_nodes_from(graph)
    reached: set[str] = set()
    for root in roots:
        if root not in reached:
            tree = list(nx.bfs_edges(graph, root, sort_neighbors=sorted))
            forest.add_edges_from(tree)
            reached.update((root, *(child for _, child in tree)))
    return forest


def _score(target: str, hop: str) -> bytes:
    return hashlib.blake2b(f"{target}\0{hop}".encode(), digest_size=8).digest()
