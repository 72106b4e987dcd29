"""LABEL: an IPv6 flow label (RFC 6437) that names a server (row X3)."""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.place import Place
from portlb_app.openflow import IP_TCP, Flow, match
from portlb_app.pipeline import LABEL, Priority, Reason, cookie, family, flow


def flows(place: Place) -> Iterator[Flow]:
    """One flow per service label."""
    for address in place.vip.addresses:
        ip = family(address)
        for server in place.servers:
            if ip.version == 6 and server.service_label is not None:
                yield flow(
                    LABEL,
                    Priority.SPECIFIC,
                    match(**ip.to(address), ip_proto=IP_TCP, ipv6_label=server.service_label),
                    place.deliver(server.name, ip),
                    cookie(Reason.NAMED, place.number),
                    "a service label: its server (X3)",
                )
