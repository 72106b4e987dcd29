"""ADVERTISE: what a neighbour solicitation that was turned around lacks to be the switch's advertisement.

A table of its own, because only a flow that matches an advertisement may set its option's address; and Open vSwitch
changes an option's type before its address, so as a solicitation's it would not be found any more (seen in 3.1).

Who probes for an address (RFC 4862, 5.4) has none to be answered at: on the network side all hosts get the answer, or
the VIP's address would be taken for free. A server that probes has the VIP's address itself. Sources, and the hop
limit, which tells a question from beyond a router, are looked at here: in NEIGHBOUR the datapath would make a flow for
every one of them.
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
"""A solicitation that NEIGHBOUR has turned around."""


def flows(local: VipOnSwitch) -> Iterator[Flow]:
    """One flow per IPv6 address, service addresses among them, and two for who has no address yet."""
    if any(address.version == 6 for address in local.vip.addresses):
        yield from probes()
    for address in (*local.vip.addresses, *local.named):
        if isinstance(address, IPv6Address):
            yield answer(address, local.vip.mac, local.number)


def answer(address: IPv6Address, mac: int, vip: int) -> Flow:
    """The flow that completes the advertisement of an address of a VIP, by its number."""
    return flow(
        ADVERTISE,
        Priority.SPECIFIC,
        match(**_TURNED, nd_target=address, nw_ttl=ND_HOPS),
        (*advertise(mac), Output(IN_PORT)),
        make_cookie(Reason.ANSWER_ND, vip),
        "who asks for the VIP's MAC address gets it from the switch",
    )


def probes() -> Iterator[Flow]:
    """The flows for who has no address yet."""
    cookie = make_cookie(Reason.NEIGHBOUR_DISCOVERY)
    yield flow(
        ADVERTISE,
        Priority.OVERRIDE,
        match(**from_side(Side.NETWORK), **_TURNED, ipv6_dst=0, nw_ttl=ND_HOPS),
        (*advertise_to_all(), Output(IN_PORT)),
        cookie,
        "who looks whether the VIP's address is free: all hosts are told that it is not",
    )
    yield flow(
        ADVERTISE,
        Priority.EXCEPTION,
        match(**_TURNED, ipv6_dst=0),
        (),
        cookie,
        "a server that looks whether its own address is free: drop",
    )
