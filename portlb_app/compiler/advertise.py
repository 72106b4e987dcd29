"""ADVERTISE: what a neighbour solicitation that was turned around lacks to be the switch's advertisement.

A table of its own, because only a flow that matches an advertisement may set its option's address; and Open vSwitch
changes an option's type before its address, so as a solicitation's it would not be found any more (seen in 3.1).

Who probes for an address (RFC 4862) has none to be answered at. That is looked at here, where the answer has nowhere to
go, because a match on sources in NEIGHBOUR would have the datapath make a flow for every source of an IPv6 packet.
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.place import Place
from portlb_app.openflow import IN_PORT, IP_ICMPV6, Flow, Output, match
from portlb_app.pipeline import ADVERTISE, FAMILIES, ND_ADVERTISE, Priority, Reason, advertise, cookie, flow


def flows(place: Place) -> Iterator[Flow]:
    """One flow per IPv6 address, and one for who cannot be answered."""
    if any(address.version == 6 for address in place.vip.addresses):
        yield flow(
            ADVERTISE,
            Priority.OVERRIDE,
            match(eth_type=FAMILIES[6].eth_type, ip_proto=IP_ICMPV6, ipv6_dst=0),
            (),
            cookie(Reason.NEIGHBOUR_DISCOVERY),
            "who has no address yet cannot be answered: drop",
        )
    for address in place.vip.addresses:
        if address.version == 6:
            yield flow(
                ADVERTISE,
                Priority.SPECIFIC,
                match(
                    eth_type=FAMILIES[6].eth_type,
                    ip_proto=IP_ICMPV6,
                    icmpv6_type=ND_ADVERTISE,
                    nd_target=address,
                ),
                (*advertise(place.vip.mac), Output(IN_PORT)),
                cookie(Reason.ANSWER_ND, place.number),
                "who asks for the VIP's MAC address gets it from the switch",
            )
