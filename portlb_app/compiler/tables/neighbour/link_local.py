"""Questions from and about link-local addresses, for all VIPs of a switch together."""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.tables.neighbour.discovery import ICMPV6, asked_priority, soliciting
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Rewrite
from portlb_app.openflow import Flow, Match, Output, match
from portlb_app.pipeline import (
    LINK_GROUPS,
    LINK_LOCAL,
    ND_ADVERTISE,
    ND_SOLICIT,
    NEIGHBOUR,
    Priority,
    Reason,
    flow,
    make_cookie,
)


def link_local_flows(here: tuple[VipOnSwitch, ...]) -> Iterator[Flow]:
    """Questions of servers that share a MAC address, of one VIP or of several, from link-local addresses.

    A kernel asks so when it checks whether a neighbour is still there (RFC 4861, 7.3.3). A question to a group about
    the link-local address of a server with a MAC address of its own reaches all such servers: the switch does not know
    which one has the address.
    """
    yield from _solicited_flows(here)
    reason = "a server's request from a link-local address, with the shared MAC address"
    answered: dict[tuple[Priority, Match], set[int]] = {}
    for local in here:
        if local.vip.rewrite is not Rewrite.NOTHING or all(address.version == 4 for address in local.vip.addresses):
            continue
        mac = local.vip.mac
        for server in local.attached:
            asks = match(**soliciting(server.connector.port, mac), ipv6_src=LINK_LOCAL)
            up = (Output(local.uplink),)
            yield flow(NEIGHBOUR, Priority.EXCEPTION, asks, up, make_cookie(Reason.SERVER_ARP), reason)
        for inbound in local.from_clients:
            answer = match(**inbound, **ICMPV6, eth_dst=mac, icmpv6_type=ND_ADVERTISE, ipv6_dst=LINK_LOCAL)
            answered.setdefault((asked_priority(inbound), answer), set()).update(local.port_of.values())
    for (priority, answer), ports in answered.items():
        to_all = tuple(Output(port) for port in sorted(ports))
        if to_all:
            yield flow(NEIGHBOUR, priority, answer, to_all, make_cookie(Reason.SHARE_ARP), reason)


def _solicited_flows(here: tuple[VipOnSwitch, ...]) -> Iterator[Flow]:
    questions: dict[Match, set[int]] = {}
    for local in here:
        if local.vip.rewrite is Rewrite.NOTHING or all(address.version == 4 for address in local.vip.addresses):
            continue
        asked = {local.port_of[server.name] for server in local.reachable_servers if not local.is_one_armed(server)}
        for inbound in local.from_clients if asked else ():
            about = match(**inbound, **ICMPV6, ipv6_dst=LINK_GROUPS, icmpv6_type=ND_SOLICIT, nd_target=LINK_LOCAL)
            questions.setdefault(about, set()).update(asked)
    reason = "a request for a link-local address: every server that may have it"
    for about, ports in questions.items():
        to_all = tuple(Output(port) for port in sorted(ports))
        yield flow(NEIGHBOUR, Priority.FLOODED, about, to_all, make_cookie(Reason.GATEWAY_ARP), reason)
