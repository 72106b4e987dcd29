"""NEIGHBOUR: ARP (RFC 826) and neighbour discovery (RFC 4861), and the fork between the directions.

The switch itself answers for the VIP, so a load balancer without servers answers too (row L5), and no server's answer
can differ. Servers that share the VIP's address ask as the VIP; the answers go to every one of them, because nothing in
an answer says which of them asked. Servers with addresses of their own ask and answer for themselves. No server's
question reaches another server, except between further addresses (row N4).
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.tables import log
from portlb_app.compiler.tables.neighbour.answers import answers, query_flows
from portlb_app.compiler.tables.neighbour.discovery import ICMPV6
from portlb_app.compiler.tables.neighbour.link_local import link_local_flows
from portlb_app.compiler.tables.neighbour.own import asked_nd, own_address_flows, server_to_server
from portlb_app.compiler.tables.neighbour.shared import arp_to_all, asks_arp, asks_nd, nd_to_all
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Address, Rewrite
from portlb_app.openflow import Flow, match
from portlb_app.pipeline import (
    FAMILIES,
    FRAGMENT,
    ND_ADVERTISE,
    ND_OTHERS,
    ND_SOLICIT,
    NEIGHBOUR,
    SERVICE,
    SIDE,
    UPSTREAM,
    Family,
    Priority,
    Reason,
    Side,
    family,
    flow,
    from_side,
    goto,
    make_cookie,
)

__all__ = ["answers", "flows", "link_local_flows", "query_flows"]


def flows(local: VipOnSwitch) -> Iterator[Flow]:
    """ARP and neighbour discovery in both directions; IP to the VIP, and IP from servers."""
    for address in local.vip.addresses:
        if local.is_entrance:
            yield from answers(address, local.vip.mac, local.number, from_side(Side.NETWORK))
        yield from (arp_to_all if address.version == 4 else nd_to_all)(local, address)
        for inbound in local.from_clients:
            yield flow(
                NEIGHBOUR,
                Priority.GENERAL,
                match(**inbound, **family(address).to(address)),
                log.logged(local, (goto(FRAGMENT),)) if inbound[SIDE] is Side.NETWORK else (goto(FRAGMENT),),
                make_cookie(Reason.TO_VIP, local.number),
                "IP to the VIP",
            )
        yield from _named(local, address)
        for server in local.reachable_servers:
            if local.vip.rewrite is Rewrite.ADDRESS:
                yield from own_address_flows(local, server, address)
            elif local.vip.rewrite is Rewrite.MAC and address.version == 6 and not local.is_one_armed(server):
                yield from asked_nd(local, server, [])  # a kernel with the VIP on its loopback asks from there
        for server in local.attached:
            if local.vip.rewrite is not Rewrite.ADDRESS and not local.is_one_armed(server):
                yield from (asks_arp if address.version == 4 else asks_nd)(local, server, address)
    if local.vip.rewrite is Rewrite.NOTHING:
        for server in local.attached:
            yield from server_to_server(local, server)
    for version in _versions(local):
        yield from _rest(FAMILIES[version])


def _named(local: VipOnSwitch, vip: Address) -> Iterator[Flow]:
    """The switch answers for a service address as for the VIP. All IP to it goes to SERVICE, fragments too (row X1)."""
    ip, cookie = family(vip), make_cookie(Reason.NAMED, local.number)
    to_service = log.logged(local, (goto(SERVICE),))
    for server in local.reachable_servers:
        for address in server.service_addresses:
            if address.version != ip.version:
                continue
            if local.is_entrance:
                yield from answers(address, local.vip.mac, local.number, from_side(Side.NETWORK))
            for inbound in local.from_clients:
                to_address = match(**inbound, **ip.to(address))
                actions = to_service if inbound[SIDE] is Side.NETWORK else (goto(SERVICE),)
                yield flow(NEIGHBOUR, Priority.GENERAL, to_address, actions, cookie, "IP to a service address (X1)")


def _rest(ip: Family) -> Iterator[Flow]:
    """IP from servers goes to UPSTREAM; neighbour discovery that no flow above wants is dropped."""
    yield flow(
        NEIGHBOUR,
        Priority.GENERAL,
        match(**from_side(Side.SERVER), eth_type=ip.eth_type),
        (goto(UPSTREAM),),
        make_cookie(Reason.FROM_SERVER),
        "IP from a server",
    )
    if ip.version == 4:
        return
    cookie = make_cookie(Reason.NEIGHBOUR_DISCOVERY)
    for icmpv6_type in (ND_SOLICIT, ND_ADVERTISE, *ND_OTHERS):
        others = match(**ICMPV6, icmpv6_type=icmpv6_type)
        yield flow(NEIGHBOUR, Priority.SPECIFIC, others, (), cookie, "neighbour discovery without use here: drop")


def _versions(local: VipOnSwitch) -> set[int]:
    """The versions of IP of the VIP's and the attached servers' addresses."""
    own = (address for server in local.attached for address in server.addresses)
    return {address.version for address in (*local.vip.addresses, *own)}
