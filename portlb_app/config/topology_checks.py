"""Switches, links and connectors against each other: every port has one use, every server can be reached."""

from __future__ import annotations

import networkx as nx

from portlb_app.config.file import File
from portlb_app.config.values import Connector


def check(file: File) -> None:
    """Add to the problems of a file what is wrong with its wiring."""
    _check_switches(file)
    _check_links(file)
    _check_ways(file)


def _check_switches(file: File) -> None:
    known: dict[int, str] = {}
    for name, entry in file.switches.items():
        if entry.dpid is not None and known.setdefault(entry.dpid, name) != name:
            file.wrong(f"switches.{name}.dpid", f"{entry.dpid:#x} is already the dpid of {known[entry.dpid]}")
        if entry.address and entry.network is None and f"switches.{name}.network" not in file.faulty:
            file.wrong(f"switches.{name}.address", "an administrator logs in from the network side, and it has none")


def _check_links(file: File) -> None:
    ends: dict[Connector, int] = {}
    for position, link in file.links.items():
        path = f"links[{position}]"
        if link.one.switch == link.other.switch:
            file.wrong(path, f"both ends are on {link.one.switch}")
        for end in link:
            if end.switch not in file.switches:
                file.unknown(path, "switches", f"there is no switch {end.switch}")
            elif file.is_network_side(end):
                file.wrong(path, f"{end} is the network side of {end.switch}")
            if ends.setdefault(end, position) != position:
                file.wrong(path, f"{end} is already an end of links[{ends[end]}]")
    for name, server in file.servers.items():
        if server.connector in ends:
            file.wrong(
                f"servers.{name}.connector", f"{server.connector} is an end of links[{ends[server.connector]}]"
            )


def _check_ways(file: File) -> None:
    """Every switch and server can be reached from a network side; all servers of a VIP from the same ones."""
    graph: nx.Graph[str] = nx.Graph()
    graph.add_nodes_from(file.switches)
    graph.add_edges_from((link.one.switch, link.other.switch) for link in file.links.values())
    part = {switch: number for number, switches in enumerate(nx.connected_components(graph)) for switch in switches}
    sound = "links" not in file.unreadable
    entered = {part[name] for name, entry in file.switches.items() if entry.network is not None}
    entered |= {
        part[name]
        for name in file.switches
        if file.faulty.intersection((f"switches.{name}", f"switches.{name}.network"))
    }
    for name in file.switches:
        if sound and part[name] not in entered:
            file.wrong(f"switches.{name}", "has no network side, and no links lead to one")
    sides: dict[int, int] = {}
    for name, entry in file.switches.items():
        sides[part[name]] = sides.get(part[name], 0) + (entry.network is not None)
    server_switch: dict[str, tuple[str, str]] = {}
    for name, server in file.servers.items():
        if server.vip is None or server.connector is None or server.connector.switch not in file.switches:
            continue
        if sides[part[server.connector.switch]] > 1 and file.is_network_side(server.connector):
            file.wrong(
                f"servers.{name}.connector", f"{server.connector} is one of several network sides; clients reach all"
            )
        first, switch = server_switch.setdefault(server.vip, (name, server.connector.switch))
        if sound and part[switch] != part[server.connector.switch]:
            file.wrong(
                f"servers.{name}.connector", f"{first} of the same VIP is on {switch}, and no links lead from there"
            )
