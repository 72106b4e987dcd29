"""PEER: from one server's further address to another's (row N4). What comes here is known to come from such a one."""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.place import Place
from portlb_app.config import Rewrite
from portlb_app.openflow import ETH_ARP, Flow, Output, match
from portlb_app.pipeline import (
    FAMILIES,
    ND_SOLICIT,
    PEER,
    Priority,
    Reason,
    cookie,
    family,
    flow,
    link_local,
)


def flows(place: Place) -> Iterator[Flow]:
    """IP to each further address, and the questions and answers that find it."""
    if place.vip.rewrite is not Rewrite.NOTHING:
        return
    mark, reason = cookie(Reason.PEER), "to a server's further address (N4)"
    for server in place.servers:
        to_server = (Output(place.port_of[server.name]),)
        for own in server.addresses:
            yield flow(PEER, Priority.GENERAL, match(**family(own).to(own)), to_server, mark, reason)
            if own.version == 4:
                yield flow(PEER, Priority.GENERAL, match(eth_type=ETH_ARP, arp_tpa=own), to_server, mark, reason)
                continue
            assert server.mac is not None, "a configuration without one was refused"
            local = link_local(server.mac)
            yield flow(PEER, Priority.GENERAL, match(**family(local).to(local)), to_server, mark, reason)
            for target in (own, local):
                asked = match(
                    eth_type=FAMILIES[6].eth_type, ip_proto=FAMILIES[6].icmp, icmpv6_type=ND_SOLICIT, nd_target=target
                )
                yield flow(PEER, Priority.SPECIFIC, asked, to_server, mark, reason)
