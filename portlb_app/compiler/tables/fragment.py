"""FRAGMENT: a fragment shows no port (all but the first have none), so no later table can judge it (rows F1, F2, F3).

Under ``track`` somebody has to remember what the first one's ports said. The kernel datapath can: conntrack puts the
packet together, and the walk goes on with a whole one, which is cut up again where it leaves. The userspace datapath
cannot (its conntrack shows the ports of first fragments only), so there the controller does (`punt`).
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.delivery import deliver, replicate, spoils_fragments
from portlb_app.compiler.vip_on_switch import VipOnSwitch
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
    family,
    flow,
    goto,
    make_cookie,
    punt,
    reassemble,
)

_REASONS = {
    Fragments.TRACK: "a fragment follows its first: who the first's ports name gets it (F1, F2)",
    Fragments.REPLICATE: "a fragment: every server gets it, the one that knows its connection acts on the whole",
    Fragments.DEFAULT: "a fragment cannot be judged by its ports: the default server (E6, F3)",
    Fragments.DROP: "a fragment cannot be judged by its ports: drop (E6, F3)",
}


def flows(local: VipOnSwitch) -> Iterator[Flow]:
    """What the VIP says about fragments; those of ICMP go where pings go.

    Of IPv6 Open vSwitch shows no protocol of later fragments (it is 44 to its flows).
    """
    for address in local.vip.addresses:
        ip = family(address)
        for part in FRAGMENTS if ip.version == 4 and not _is_reassembled(local) else ():
            yield flow(
                FRAGMENT,
                Priority.EXCEPTION,
                match(**local.ingress_match, **ip.to(address), ip_proto=ip.icmp, ip_frag=part),
                _ping(local, ip),
                make_cookie(Reason.FRAGMENT, local.number),
                "ICMP in fragments: where pings go, whose type only the first one shows (I1)",
            )
        for part in FRAGMENTS:
            yield flow(
                FRAGMENT,
                Priority.SPECIFIC,
                match(**local.ingress_match, **ip.to(address), ip_frag=part),
                _target(local, ip),
                make_cookie(Reason.FRAGMENT, local.number),
                _REASONS[local.vip.fragments],
            )


def _is_reassembled(local: VipOnSwitch) -> bool:
    return local.vip.fragments is Fragments.TRACK and local.datapath is Forwarding.KERNEL


def ping_target(local: VipOnSwitch, ip: Family) -> IcmpPolicy | str:
    """Who gets pings that come in fragments: a server's name, or a policy other than "answer".

    A switch cannot answer them: it would write a type into later fragments, too, which have none. The default server
    answers in its place, or else any server, which all have the VIP's address.
    """
    types = {rule.type: rule.target for rule in local.vip.icmp_types if rule.version == ip.version}
    target = types.get(ip.echo, local.vip.icmp_rest)
    if target is not IcmpPolicy.ANSWER:
        return target
    return IcmpPolicy.BALANCE if local.vip.default_server is None else IcmpPolicy.DEFAULT


def is_handed_up(local: VipOnSwitch, ip: Family) -> bool:
    """Whether the controller judges fragments of a family.

    It does of IPv6 also where all but pings are dropped: which are a ping's, only their first one says.
    """
    if local.vip.fragments is Fragments.TRACK:
        return not _is_reassembled(local)
    finds_pings = ip.version == 6 and ping_target(local, ip) is not IcmpPolicy.DROP
    return local.vip.fragments is Fragments.DROP and finds_pings


def _ping(local: VipOnSwitch, ip: Family) -> tuple[Action, ...]:
    """A group is no way to balance them: it hashes a first fragment otherwise than those that follow."""
    if spoils_fragments(local, ip):
        return punt(Reason.FRAGMENT, local.number) if local.vip.fragments is Fragments.TRACK else ()
    target = ping_target(local, ip)
    match target:
        case IcmpPolicy.BALANCE:
            slots = local.slots(tuple(server.name for server in local.every))
            return deliver(local, slots[0], ip) if slots else ()
        case IcmpPolicy.DEFAULT:
            return (goto(DEFAULT),)
        case IcmpPolicy.DROP:
            return ()
        case _:
            return deliver(local, target, ip)


def _target(local: VipOnSwitch, ip: Family) -> tuple[Action, ...]:
    if local.vip.fragments is Fragments.TRACK:
        return (reassemble(ICMP),) if _is_reassembled(local) else punt(Reason.FRAGMENT, local.number)
    if is_handed_up(local, ip):
        return punt(Reason.FRAGMENT, local.number)
    if local.vip.fragments is Fragments.DROP or spoils_fragments(local, ip):
        return ()
    if local.vip.fragments is Fragments.DEFAULT:
        return (goto(DEFAULT),)
    metered = ToMeter(local.meter(Reason.FRAGMENT))  # every fragment becomes as many as there are servers
    return (metered, *replicate(local, ip)) if local.servers else ()
