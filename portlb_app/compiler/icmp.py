"""ICMP: errors about a server's packets go to all servers of the VIP; only the one whose connection is quoted minds.

A host checks the quoted header against its sockets (RFC 5927, 4), so a copy for the wrong host is harmless; path-MTU
discovery works without the switch reading quotes. All other ICMP has no port to judge it by (rows I1, E6).
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.place import Place
from portlb_app.openflow import Flow, match
from portlb_app.pipeline import DEFAULT, ICMP, Priority, Reason, cookie, family, flow, goto


def flows(place: Place) -> Iterator[Flow]:
    """Errors to every server, the rest to the default server."""
    for address in place.vip.addresses:
        ip = family(address)
        for icmp_type in ip.errors:
            yield flow(
                ICMP,
                Priority.SPECIFIC,
                match(**ip.to(address), ip_proto=ip.icmp, **{ip.icmp_type: icmp_type}),
                place.replicate(ip),
                cookie(Reason.ICMP_ERROR, place.number),
                "an ICMP error about a server's packet: every server sees it, the one it quotes acts on it",
            )
        yield flow(
            ICMP,
            Priority.GENERAL,
            match(eth_type=ip.eth_type, ip_proto=ip.icmp),
            (goto(DEFAULT),),
            cookie(Reason.NO_PORTS),
            "ICMP without a quote has no port: default server or drop (I1, E6)",
        )
