"""FRAGMENT: a fragment shows no port (all but the first have none), so no later table can judge it (rows F1, F2, F3).

Under ``track`` somebody has to remember what the first one's ports said. The kernel datapath can: conntrack puts the
packet together, and the walk goes on with a whole one, which is cut up again where it leaves. The userspace datapath
cannot (its conntrack shows the ports of first fragments only), so there the controller does (`punt`).
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.place import Place
from portlb_app.config import Forwarding, Fragments, IcmpPolicy
from portlb_app.openflow import Action, Flow, ToMeter, match
from portlb_app.pipeline import (
    DEFAULT,
    FRAGMENT,
    FRAGMENTS,
    ICMP,
    Family,
    Priority,
    Reason,
    cookie,
    family,
    flow,
    goto,
    punt,
    reassemble,
)

_REASONS = {
    Fragments.TRACK: "a fragment follows its first: who the first's ports name gets it (F1, F2)",
    Fragments.REPLICATE: "a fragment: every server gets it, the one that knows its connection acts on the whole",
    Fragments.DEFAULT: "a fragment cannot be judged by its ports: the default server (E6, F3)",
    Fragments.DROP: "a fragment cannot be judged by its ports: drop (E6, F3)",
}


def flows(place: Place) -> Iterator[Flow]:
    """What the VIP says about fragments; those of ICMP go where pings go.

    Of IPv6 Open vSwitch shows no protocol of later fragments (it is 44 to its flows).
    """
    for address in place.vip.addresses:
        ip = family(address)
        for part in FRAGMENTS if ip.version == 4 and not _is_reassembled(place) else ():
            yield flow(
                FRAGMENT,
                Priority.EXCEPTION,
                match(**place.seen, **ip.to(address), ip_proto=ip.icmp, ip_frag=part),
                _ping(place, ip),
                cookie(Reason.FRAGMENT, place.number),
                "ICMP in fragments: where pings go, whose type only the first one shows (I1)",
            )
        for part in FRAGMENTS:
            yield flow(
                FRAGMENT,
                Priority.SPECIFIC,
                match(**place.seen, **ip.to(address), ip_frag=part),
                _target(place, ip),
                cookie(Reason.FRAGMENT, place.number),
                _REASONS[place.vip.fragments],
            )


def _is_reassembled(place: Place) -> bool:
    return place.vip.fragments is Fragments.TRACK and place.datapath is Forwarding.KERNEL


def ping_target(place: Place, ip: Family) -> IcmpPolicy | str:
    """Who gets pings that come in fragments: a server's name, or a policy other than "answer".

    A switch cannot answer them: it would write a type into later fragments, too, which have none. The default server
    answers in its place, or else any server, which all have the VIP's address.
    """
    types = {rule.type: rule.target for rule in place.vip.icmp_types if rule.version == ip.version}
    target = types.get(ip.echo, place.vip.icmp_rest)
    if target is not IcmpPolicy.ANSWER:
        return target
    return IcmpPolicy.BALANCE if place.vip.default_server is None else IcmpPolicy.DEFAULT


def is_handed_up(place: Place, ip: Family) -> bool:
    """Whether the controller judges fragments of a family.

    It does of IPv6 also where all but pings are dropped: which are a ping's, only their first one says.
    """
    if place.vip.fragments is Fragments.TRACK:
        return not _is_reassembled(place)
    finds_pings = ip.version == 6 and ping_target(place, ip) is not IcmpPolicy.DROP
    return place.vip.fragments is Fragments.DROP and finds_pings


def _ping(place: Place, ip: Family) -> tuple[Action, ...]:
    """A group is no way to balance them: it hashes a first fragment otherwise than those that follow."""
    if place.spoils_fragments(ip):
        return punt(Reason.FRAGMENT, place.number) if place.vip.fragments is Fragments.TRACK else ()
    target = ping_target(place, ip)
    match target:
        case IcmpPolicy.BALANCE:
            rows = place.rows(tuple(server.name for server in place.every))
            return place.deliver(rows[0], ip) if rows else ()
        case IcmpPolicy.DEFAULT:
            return (goto(DEFAULT),)
        case IcmpPolicy.DROP:
            return ()
        case _:
            return place.deliver(target, ip)


def _target(place: Place, ip: Family) -> tuple[Action, ...]:
    if place.vip.fragments is Fragments.TRACK:
        return (reassemble(ICMP),) if _is_reassembled(place) else punt(Reason.FRAGMENT, place.number)
    if is_handed_up(place, ip):
        return punt(Reason.FRAGMENT, place.number)
    if place.vip.fragments is Fragments.DROP or place.spoils_fragments(ip):
        return ()
    if place.vip.fragments is Fragments.DEFAULT:
        return (goto(DEFAULT),)
    metered = ToMeter(place.meter(Reason.FRAGMENT))  # every fragment becomes as many as there are servers
    return (metered, *place.replicate(ip)) if place.servers else ()
