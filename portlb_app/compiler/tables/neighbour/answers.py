"""The switch's own answers: to questions about a VIP's MAC address, and to multicast queriers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from portlb_app.compiler.tables.neighbour.discovery import ICMPV6
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Address
from portlb_app.openflow import ETH_ARP, IN_PORT, Action, Flow, Output, match
from portlb_app.pipeline import (
    ADVERTISE,
    LINK_GROUPS,
    MLD_QUERY,
    ND_SOLICIT,
    NEIGHBOUR,
    Priority,
    Reason,
    Side,
    answer_arp,
    answer_nd,
    flow,
    from_side,
    goto,
    make_cookie,
    punt,
)

_OF_VIP = "a request for the VIP's MAC address: the switch answers"


def answers(
    address: Address, mac: int, vip: int, asked: Mapping[str, int], reason: str = _OF_VIP
) -> Iterator[Flow]:
    """The switch answers questions about an address of a VIP, by its number; `asked` matches where they come from."""
    actions: tuple[Action, ...]
    if address.version == 4:
        question = match(**asked, eth_type=ETH_ARP, arp_op=1, arp_tpa=address)
        actions, cookie = (*answer_arp(mac, int(address)), Output(IN_PORT)), make_cookie(Reason.ANSWER_ARP, vip)
    else:
        question = match(**asked, **ICMPV6, icmpv6_type=ND_SOLICIT, nd_target=address)
        actions, cookie = (*answer_nd(mac, int(address)), goto(ADVERTISE)), make_cookie(Reason.ANSWER_ND, vip)
    yield flow(NEIGHBOUR, Priority.OVERRIDE, question, actions, cookie, reason)


def query_flows(here: tuple[VipOnSwitch, ...]) -> Iterator[Flow]:
    """Queries of multicast routers go up: the controller reports the VIPs' groups (`punt.announce`)."""
    if any(local.is_entrance and any(address.version == 6 for address in local.vip.addresses) for local in here):
        query = match(**from_side(Side.NETWORK), **ICMPV6, ipv6_dst=LINK_GROUPS, icmpv6_type=MLD_QUERY)
        reason = "a multicast listener query: the VIPs listen to their solicited-node groups"
        yield flow(NEIGHBOUR, Priority.SPECIFIC, query, punt(Reason.QUERY), make_cookie(Reason.QUERY), reason)
