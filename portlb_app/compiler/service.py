"""SERVICE: a service port names its server, for TCP, UDP and SCTP alike (rows U1, E1, D1, X4).

A port that is a redirect port too belongs to its owner only for plain TCP clients, which LEGACY decides (row E3); UDP
and SCTP have no REDIRECT bit, and there a service port comes first, as the source has it.
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.place import Place
from portlb_app.compiler.quality import treat
from portlb_app.openflow import IP_TCP, Flow, match
from portlb_app.pipeline import SERVICE, TRANSPORTS, Priority, Reason, cookie, family, flow


def flows(place: Place) -> Iterator[Flow]:
    """One flow per service port, transport and address; at an entrance also for servers that cannot be reached."""
    shared = {pool.port for pool in place.vip.redirect_ports}
    reason = "a service port: its one owner gets it (U1, E1, D1, X4)"
    for address in place.vip.addresses:
        ip = family(address)
        for server in place.every if place.is_entrance else place.servers:
            delivered = place.deliver(server.name, ip)
            for owned in server.service_ports:
                actions = (*treat(place, "service", owned.port, owned.quality), *delivered)
                for name, protocol in TRANSPORTS:
                    if protocol == IP_TCP and owned.port in shared:
                        continue
                    yield flow(
                        SERVICE,
                        Priority.SPECIFIC,
                        match(**ip.to(address), ip_proto=protocol, **{f"{name}_dst": owned.port}),
                        actions if delivered else (),
                        cookie(Reason.SERVICE, place.number, owned.port),
                        reason,
                    )
