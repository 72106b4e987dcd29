"""ADVERTISE: completes the advertisement that NEIGHBOUR has made of a neighbour solicitation.

This is a table of its own, because only a flow that matches an advertisement may set the address in its option. (Open
vSwitch, seen in 3.1, changes the option's type before its address, and then does not find the solicitation's any more.)

A host that probes for an address (RFC 4862, 5.4) has no address to be answered at. On the network side, all hosts get
the answer; without it the host would take the VIP's address. A server that probes has the VIP's address itself: no
answer. This table matches sources and hop limits (a question from beyond a router has less than 255): in NEIGHBOUR,
each of them would be a datapath flow.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address

from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.openflow import IN_PORT, IP_ICMPV6, Flow, Output, match
from portlb_app.pipeline import (
    ADVERTISE,
    FAMILIES,
    ND_ADVERTISE,
    ND_HOPS,
    Priority,
    Reason,
    Side,
    advertise,
    advertise_to_all,
    flow,
    from_side,
    make_cookie,
)

_TURNED = {"eth_type": FAMILIES[6].eth_type, "ip_proto": IP_ICMPV6, "icmpv6_type": ND_ADVERTISE}
"""What NEIGHBOUR has made of a solicitation."""


def flows(local: VipOnSwitch) -> Iterator[Flow]:
    """One flow per IPv6 address, with service addresses, and two for hosts without an address."""
    if any(address.version == 6 for address in local.vip.addresses):
        yield from probes()
    for address in (*local.vip.addresses, *local.by_service_address):
        if isinstance(address, IPv6Address):
            yield answer(address, local.vip.mac, local.number)


def answer(address: IPv6Address, mac: int, vip: int) -> Flow:
    """Complete the advertisement of an address of a VIP, by its number."""
    return flow(
        ADVERTISE,
        Priority.SPECIFIC,
        match(**_TURNED, nd_target=address, nw_ttl=ND_HOPS),
        (*advertise(mac), Output(IN_PORT)),
        make_cookie(Reason.ANSWER_ND, vip),
        "a request for the VIP's MAC address: the switch answers",
    )


def probes() -> Iterator[Flow]:
    """The flows for hosts without an address."""
    cookie = make_cookie(Reason.NEIGHBOUR_DISCOVERY)
    yield flow(
        ADVERTISE,
        Priority.OVERRIDE,
        match(**from_side(Side.NETWORK), **_TURNED, ipv6_dst=0, nw_ttl=ND_HOPS),
        (*advertise_to_all(), Output(IN_PORT)),
        cookie,
        "a probe for the VIP's address: all hosts are told that it is taken",
    )
    yield flow(
        ADVERTISE,
        Priority.EXCEPTION,
        match(**_TURNED, ipv6_dst=0),
        (),
        cookie,
        "a server's probe for its own address: drop",
    )
