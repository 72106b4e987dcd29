"""ADVERTISE: what a neighbour solicitation that was turned around lacks to be the switch's advertisement.

A table of its own, because only a flow that matches an advertisement may set its option's address; and Open vSwitch
changes an option's type before its address, so as a solicitation's it would not be found any more (seen in 3.1).

Who probes for an address (RFC 4862) has none to be answered at. That is looked at here, where the answer has nowhere to
go, because a match on sources in NEIGHBOUR would have the datapath make a flow for every source of an IPv6 packet.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address

from portlb_app.compiler.place import Place
from portlb_app.openflow import IN_PORT, IP_ICMPV6, Flow, Output, match
from portlb_app.pipeline import ADVERTISE, FAMILIES, ND_ADVERTISE, Priority, Reason, advertise, cookie, flow


def flows(place: Place) -> Iterator[Flow]:
    """One flow per IPv6 address, service addresses among them, and one for who cannot be answered."""
    if any(address.version == 6 for address in place.vip.addresses):
        yield unanswerable()
    for address in (*place.vip.addresses, *place.named):
        if isinstance(address, IPv6Address):
            yield answer(address, place.vip.mac, place.number)


def answer(address: IPv6Address, mac: int, vip: int) -> Flow:
    """The flow that completes the advertisement of an address of a VIP, by its number."""
    return flow(
        ADVERTISE,
        Priority.SPECIFIC,
        match(eth_type=FAMILIES[6].eth_type, ip_proto=IP_ICMPV6, icmpv6_type=ND_ADVERTISE, nd_target=address),
        (*advertise(mac), Output(IN_PORT)),
        cookie(Reason.ANSWER_ND, vip),
        "who asks for the VIP's MAC address gets it from the switch",
    )


def unanswerable() -> Flow:
    """The flow for who has no address yet."""
    return flow(
        ADVERTISE,
        Priority.OVERRIDE,
        match(eth_type=FAMILIES[6].eth_type, ip_proto=IP_ICMPV6, ipv6_dst=0),
        (),
        cookie(Reason.NEIGHBOUR_DISCOVERY),
        "who has no address yet cannot be answered: drop",
    )
