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
    """One flow per service port, transport and address."""
    shared = {pool.port for pool in place.vip.redirect_ports}
    qualities = {owned.port: owned.quality for server in place.every for owned in server.service_ports}
    reason = "a service port: its one owner gets it (U1, E1, D1, X4)"
    for address in place.vip.addresses:
        ip = family(address)
        for port, owner in place.owners.items():
            if not place.is_entrance and owner not in place.port_of:
                continue
            for name, protocol in TRANSPORTS:
                if protocol == IP_TCP and port in shared:
                    continue
                yield flow(
                    SERVICE,
                    Priority.SPECIFIC,
                    match(**ip.to(address), ip_proto=protocol, **{f"{name}_dst": port}),
                    (*treat(place, "service", port, qualities[port]), *place.deliver(owner, ip)),
                    cookie(Reason.SERVICE, place.number, port),
                    reason,
                )
