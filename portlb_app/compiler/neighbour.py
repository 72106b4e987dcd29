"""NEIGHBOUR: ARP for a VIP whose servers all share one IP and MAC address, and the fork between the directions.

The switch itself answers who asks for the VIP, so a load balancer without servers answers too (row L5), and no
server's answer can differ. A server's own questions go to the network; the answers go to every server of the VIP,
because nothing in them tells who asked. No server's ARP reaches another: each would see its own address claimed.
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.place import Place
from portlb_app.openflow import ETH_ARP, ETH_IPV4, IN_PORT, Flow, Output, match
from portlb_app.pipeline import (
    FRAGMENT,
    NEIGHBOUR,
    UPSTREAM,
    Priority,
    Reason,
    Side,
    answer_arp,
    cookie,
    flow,
    goto,
)


def flows(place: Place) -> Iterator[Flow]:
    """ARP both ways, then IP to the VIP on its way down and from the servers on its way up."""
    vip, number = place.vip, place.number
    yield flow(
        NEIGHBOUR,
        Priority.SPECIFIC,
        match(reg0=Side.NETWORK, eth_type=ETH_ARP, arp_op=1, arp_tpa=place.address),
        (*answer_arp(vip.mac, place.address), Output(IN_PORT)),
        cookie(Reason.ANSWER_ARP, number),
        "who asks for the VIP's MAC address gets it from the switch",
    )
    yield flow(
        NEIGHBOUR,
        Priority.SPECIFIC,
        match(reg0=Side.NETWORK, eth_type=ETH_ARP, arp_op=2, arp_tpa=place.address),
        place.replicate(),
        cookie(Reason.SHARE_ARP, number),
        "an ARP answer for the VIP goes to every server: any of them may have asked",
    )
    yield flow(
        NEIGHBOUR,
        Priority.GENERAL,
        match(reg0=Side.NETWORK, eth_type=ETH_IPV4, ip_dst=place.address),
        (goto(FRAGMENT),),
        cookie(Reason.TO_VIP, number),
        "IP to the VIP",
    )
    for server in place.servers:
        port = place.port_of[server.name]
        yield flow(
            NEIGHBOUR,
            Priority.SPECIFIC,
            match(
                reg0=Side.SERVER,
                in_port=port,
                eth_src=vip.mac,
                eth_type=ETH_ARP,
                arp_op=1,
                arp_spa=place.address,
                arp_sha=vip.mac,
            ),
            (Output(place.network),),
            cookie(Reason.SERVER_ARP, number),
            "a server may ask for its clients' and gateways' MAC addresses, as the VIP only",
        )
    yield flow(
        NEIGHBOUR,
        Priority.GENERAL,
        match(reg0=Side.SERVER, eth_type=ETH_IPV4),
        (goto(UPSTREAM),),
        cookie(Reason.FROM_SERVER),
        "IP from a server",
    )
