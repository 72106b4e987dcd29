"""ADVERTISE: what a neighbour solicitation that was turned around lacks to be the switch's advertisement.

A table of its own, because only a flow that matches an advertisement may set its option's address; and Open vSwitch
changes an option's type before its address, so as a solicitation's it would not be found any more (seen in 3.1).
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.place import Place
from portlb_app.openflow import IN_PORT, IP_ICMPV6, Flow, Output, match
from portlb_app.pipeline import ADVERTISE, FAMILIES, ND_ADVERTISE, Priority, Reason, advertise, cookie, flow


def flows(place: Place) -> Iterator[Flow]:
    """One flow per IPv6 address, service addresses among them."""
    for address in (*place.vip.addresses, *place.named):
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
