"""ICMP: errors about a server's packets, to whom the VIP says (rows I2, I3); all other ICMP has no port (rows I1, E6).

OpenFlow cannot match what an error quotes. Under ``replicate`` every server gets a copy: a host checks it against
its own sockets (RFC 5927, 4), so a copy for the wrong host is harmless. Under ``owner`` the controller reads the quote.
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.place import Place
from portlb_app.config import IcmpErrors
from portlb_app.openflow import Action, Flow, match
from portlb_app.pipeline import DEFAULT, ICMP, Family, Priority, Reason, cookie, family, flow, goto, punt

_REASONS = {
    IcmpErrors.OWNER: "an ICMP error about a server's packet: the owner of the quoted port gets it (I2, I3)",
    IcmpErrors.REPLICATE: "an ICMP error about a server's packet: every server sees it, the one it quotes acts on it",
    IcmpErrors.DEFAULT: "an ICMP error: the default server gets it",
    IcmpErrors.DROP: "an ICMP error: drop",
}


def flows(place: Place) -> Iterator[Flow]:
    """What the VIP says about errors; the rest goes to the default server."""
    for address in place.vip.addresses:
        ip = family(address)
        for icmp_type in ip.errors:
            yield flow(
                ICMP,
                Priority.SPECIFIC,
                match(**ip.to(address), ip_proto=ip.icmp, **{ip.icmp_type: icmp_type}),
                _target(place, ip),
                cookie(Reason.ICMP_ERROR, place.number),
                _REASONS[place.vip.icmp_errors],
            )
        yield flow(
            ICMP,
            Priority.GENERAL,
            match(eth_type=ip.eth_type, ip_proto=ip.icmp),
            (goto(DEFAULT),),
            cookie(Reason.NO_PORTS),
            "ICMP without a quote has no port: default server or drop (I1, E6)",
        )


def _target(place: Place, ip: Family) -> tuple[Action, ...]:
    match place.vip.icmp_errors:
        case IcmpErrors.OWNER:
            return punt(Reason.ICMP_ERROR)
        case IcmpErrors.REPLICATE:
            return place.replicate(ip)
        case IcmpErrors.DEFAULT:
            return (goto(DEFAULT),)
        case IcmpErrors.DROP:
            return ()
