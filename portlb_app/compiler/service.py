"""SERVICE: a service port names its server, for TCP and UDP alike (rows U1, E1, D1).

A port that is a redirect port too belongs to its owner only for plain TCP clients, which LEGACY decides (row E3); UDP
has no REDIRECT bit, and there a service port comes first, as the source has it.
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.place import Place
from portlb_app.openflow import ETH_IPV4, IP_TCP, IP_UDP, Flow, match
from portlb_app.pipeline import SERVICE, Priority, Reason, cookie, flow


def flows(place: Place) -> Iterator[Flow]:
    """One flow per service port and transport."""
    shared = {pool.port for pool in place.vip.redirect_ports}
    for port, owner in place.owners.items():
        reason = "a service port: its one owner gets it (U1, E1, D1)"
        mark = cookie(Reason.SERVICE, place.number, port)
        if port not in shared:
            to_tcp = match(eth_type=ETH_IPV4, ip_proto=IP_TCP, ip_dst=place.address, tcp_dst=port)
            yield flow(SERVICE, Priority.SPECIFIC, to_tcp, place.deliver(owner), mark, reason)
        to_udp = match(eth_type=ETH_IPV4, ip_proto=IP_UDP, ip_dst=place.address, udp_dst=port)
        yield flow(SERVICE, Priority.SPECIFIC, to_udp, place.deliver(owner), mark, reason)
