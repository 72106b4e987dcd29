"""Servers with an address of their own, or the router before them: they ask and answer for themselves."""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.tables.neighbour.discovery import ICMPV6, asked_priority, speaking
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Address, Server
from portlb_app.openflow import ETH_ARP, Flow, Output, match
from portlb_app.pipeline import (
    LINK_LOCAL,
    ND_ADVERTISE,
    ND_SOLICIT,
    NEIGHBOUR,
    PEER,
    Priority,
    Reason,
    Side,
    flow,
    from_side,
    goto,
    make_cookie,
)

_ASKS = "a server's or router's requests and answers, by its own addresses"
_ASKED = "a request or an answer for a server's or router's own address"


def own_address_flows(local: VipOnSwitch, server: Server, vip: Address) -> Iterator[Flow]:
    """Questions and answers of a server with an IP address of its own, or of the router before it, both ways.

    Servers of several VIPs may be behind one router; their flows are equal.
    """
    if local.is_one_armed(server):
        return
    names = [address for address in server.routers or server.addresses if address.version == vip.version]
    if vip.version == 6:
        yield from asked_nd(local, server, names)
        if server in local.attached:
            yield from asks_own_nd(local, server, names)
        return
    mac, port, cookie = local.mac(server), local.port_of[server.name], make_cookie(Reason.GATEWAY_ARP)
    for name in names:
        if server in local.attached:
            own = match(
                **from_side(Side.SERVER), in_port=port, eth_src=mac, eth_type=ETH_ARP, arp_spa=name, arp_sha=mac
            )
            yield flow(NEIGHBOUR, Priority.EXCEPTION, own, (Output(local.uplink),), cookie, _ASKS)
        for inbound in local.from_clients:
            to_name = match(**inbound, eth_type=ETH_ARP, arp_tpa=name)
            yield flow(NEIGHBOUR, asked_priority(inbound), to_name, (Output(port),), cookie, _ASKED)


def asks_own_nd(local: VipOnSwitch, server: Server, names: list[Address]) -> Iterator[Flow]:
    """Neighbour discovery from addresses that only this server has, and from link-local ones."""
    mac, port, cookie = local.mac(server), server.connector.port, make_cookie(Reason.GATEWAY_ARP)
    sources: list[int | tuple[int, int]] = [*map(int, names), LINK_LOCAL]
    for name in sources:
        for own in speaking({**from_side(Side.SERVER), "in_port": port, "eth_src": mac}, name):
            yield flow(NEIGHBOUR, Priority.EXCEPTION, own, (Output(local.uplink),), cookie, _ASKS)


def asked_nd(local: VipOnSwitch, server: Server, names: list[Address]) -> Iterator[Flow]:
    """Neighbour discovery for these addresses of a server, and for link-local ones at its MAC address."""
    port, cookie, by_mac = local.port_of[server.name], make_cookie(Reason.GATEWAY_ARP), {"eth_dst": local.mac(server)}
    wanted: list[tuple[int | tuple[int, int], dict[str, int]]] = [(int(name), {}) for name in names]
    for name, to in (*wanted, (LINK_LOCAL, by_mac)):
        for inbound in local.from_clients:
            priority = asked_priority(inbound)
            solicited = match(**inbound, **to, **ICMPV6, icmpv6_type=ND_SOLICIT, nd_target=name)
            yield flow(NEIGHBOUR, priority, solicited, (Output(port),), cookie, _ASKED)
            advertised = match(**inbound, **to, **ICMPV6, icmpv6_type=ND_ADVERTISE, ipv6_dst=name)
            yield flow(NEIGHBOUR, priority, advertised, (Output(port),), cookie, _ASKED)


def server_to_server(local: VipOnSwitch, server: Server) -> Iterator[Flow]:
    """A server with a further address may talk to other servers with one (row N4)."""
    for own in server.addresses:
        assert server.mac is not None, "a configuration without one was refused"
        source = {**from_side(Side.SERVER), "in_port": server.connector.port, "eth_src": server.mac}
        cookie, reason = make_cookie(Reason.PEER), "a server's further address asks and answers other servers"
        if own.version == 4:
            arp = match(**source, eth_type=ETH_ARP, arp_spa=own, arp_sha=server.mac)
            yield flow(NEIGHBOUR, Priority.EXCEPTION, arp, (goto(PEER),), cookie, reason)
            continue
        names: tuple[int | tuple[int, int], ...] = (int(own), LINK_LOCAL)
        for name in names:
            for nd in speaking(source, name):
                yield flow(NEIGHBOUR, Priority.EXCEPTION, nd, (goto(PEER),), cookie, reason)
