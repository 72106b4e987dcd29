"""LABEL: an IPv6 flow label (RFC 6437) that names a server (row X3)."""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.delivery import deliver
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.openflow import IP_TCP, Flow, match
from portlb_app.pipeline import LABEL, Priority, Reason, family, flow, make_cookie


def flows(local: VipOnSwitch) -> Iterator[Flow]:
    """One flow per service label."""
    for address in local.vip.addresses:
        ip = family(address)
        for server in local.reachable_servers:
            if ip.version == 6 and server.service_label is not None:
                yield flow(
                    LABEL,
                    Priority.SPECIFIC,
                    match(**ip.to(address), ip_proto=IP_TCP, ipv6_label=server.service_label),
                    deliver(local, server.name, ip),
                    make_cookie(Reason.NAMED, local.number),
                    "a service label: its server (X3)",
                )
