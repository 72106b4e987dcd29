"""The load balancer's own addresses: an administrator logs in to its host as to a server (row A1).

Flows of CLASSIFY and NEIGHBOUR. Packets to these addresses go to the bridge's own interface only; the host's packets
leave by the network side unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.config import Address
from portlb_app.openflow import ETH_ARP, LOCAL, Flow, Output, match
from portlb_app.pipeline import (
    CLASSIFY,
    ND_ADVERTISE,
    ND_OTHERS,
    ND_SOLICIT,
    NEIGHBOUR,
    Priority,
    Reason,
    Side,
    family,
    flow,
    from_side,
    make_cookie,
)


def flows(network: int, addresses: tuple[Address, ...]) -> Iterator[Flow]:
    """The flows for a switch with addresses of its own; none without."""
    cookie, reason = make_cookie(Reason.MANAGEMENT), "the load balancer's own address: its host (A1)"
    if addresses:
        from_host, to_network = match(in_port=LOCAL), (Output(network),)
        yield flow(CLASSIFY, Priority.SPECIFIC, from_host, to_network, cookie, "from the load balancer's own host")
    for address in addresses:
        ip, from_network = family(address), from_side(Side.NETWORK)
        questions = [match(**from_network, eth_type=ETH_ARP, arp_tpa=address)] if ip.version == 4 else []
        if ip.version == 6:
            discovery = {**from_network, "eth_type": ip.eth_type, "ip_proto": ip.icmp}
            questions = [
                match(**discovery, icmpv6_type=ND_SOLICIT, nd_target=address),
                *(match(**discovery, icmpv6_type=each, ipv6_dst=address) for each in (ND_ADVERTISE, *ND_OTHERS)),
            ]
        for question in questions:
            yield flow(NEIGHBOUR, Priority.EXCEPTION, question, (Output(LOCAL),), cookie, reason)
        to_host = match(**from_network, **ip.to(address))
        yield flow(NEIGHBOUR, Priority.GENERAL, to_host, (Output(LOCAL),), cookie, reason)
