"""A server that connects to a VIP of its switch, its own or another, is refused at once.

Flows of NEIGHBOUR. Such a connection cannot be carried: servers that share the VIP's address ask as the VIP, and
nothing in an answer tells which of them asked; and where addresses are rewritten, the answer would not come by the
switch. So the switch answers who asks for the VIP's MAC address, and the controller refuses what follows (`punt`);
without either the server would wait for minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address

import networkx as nx

from portlb_app.compiler.tables import advertise
from portlb_app.compiler.tables.neighbour import answers
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Address, Config, Rewrite
from portlb_app.openflow import ETH_ARP, Flow, match
from portlb_app.pipeline import (
    NEIGHBOUR,
    Priority,
    Reason,
    Side,
    family,
    flow,
    from_side,
    make_cookie,
    punt,
)


@dataclass(frozen=True)
class Name:
    """An address of a VIP (a service address is one, too), the VIP's MAC address and number."""

    address: Address
    mac: int
    vip: int


def names(config: Config) -> Mapping[str, tuple[Name, ...]]:
    """For each switch the addresses of the load balancer that it is a part of, with the switches it is linked with.

    Switches without links between them are load balancers of their own, which reach each other by the network.
    """
    graph: nx.Graph[str] = nx.Graph()
    graph.add_nodes_from(switch.name for switch in config.switches)
    graph.add_edges_from((one.switch, other.switch) for one, other in config.links)
    of_vip: dict[str, tuple[set[str], tuple[Name, ...]]] = {}
    for vip in config.vips:
        servers = config.servers_of(vip)
        known = (*vip.addresses, *(address for server in servers for address in server.service_addresses))
        server_switches = {server.connector.switch for server in servers}
        of_vip[vip.name] = server_switches, tuple(Name(address, vip.mac, vip.number) for address in known)
    found: dict[str, tuple[Name, ...]] = {}
    for part in nx.connected_components(graph):
        here = (known for server_switches, known in of_vip.values() if not server_switches or server_switches & part)
        found.update(dict.fromkeys(part, tuple(name for known in here for name in known)))
    return found


def flows(known: tuple[Name, ...], here: tuple[VipOnSwitch, ...]) -> Iterator[Flow]:
    """Nothing for a switch without servers."""
    if not any(local.attached for local in here):
        return
    for name in known:
        yield from answers(name.address, name.mac, name.vip, from_side(Side.SERVER))
        if isinstance(name.address, IPv6Address):
            yield from (advertise.answer(name.address, name.mac, name.vip), *advertise.probes())
        yield flow(
            NEIGHBOUR,
            Priority.NARROW,
            match(**from_side(Side.SERVER), **family(name.address).to(name.address)),
            punt(Reason.REFUSED),
            make_cookie(Reason.REFUSED),
            "a server that talks to a VIP: the controller refuses it",
        )
    for local in here:
        yield from _its_own(local)


def _its_own(local: VipOnSwitch) -> Iterator[Flow]:
    """A host is not told that an address of its own is elsewhere: it may be looking whether it is free (RFC 5227)."""
    cookie, shared = make_cookie(Reason.SERVER_ARP, local.number), local.vip.rewrite is not Rewrite.ADDRESS
    for server in local.attached:
        source = {**from_side(Side.SERVER), "in_port": server.connector.port, "eth_src": local.mac(server)}
        vips = local.vip.addresses if shared else ()
        for own in (*vips, *server.service_addresses):
            if own.version != 4:
                continue
            yield flow(
                NEIGHBOUR,
                Priority.FIRST,
                match(**source, eth_type=ETH_ARP, arp_op=1, arp_tpa=own),
                (),
                cookie,
                "a server that asks for an address of its own: drop",
            )
