"""FRAGMENT: a fragment shows no port (only the first has one), so no later table can judge it (rows F1, F2, F3).

Under ``track`` the first fragment's ports decide for all. On the kernel datapath conntrack reassembles the packet, the
following tables see it whole, and it is cut up again where it leaves. The userspace datapath cannot do that (its
conntrack shows the ports of first fragments only); there the controller does (`punt`).
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
from portlb_app.topology.conditions import ALL_SERVERS

_REASONS = {
    Fragments.TRACK: "a fragment follows its first: to the server that the first's ports name (F1, F2)",
    Fragments.REPLICATE: "a fragment: every server gets it, the one that knows its connection acts on the whole",
    Fragments.DEFAULT: "a fragment cannot be judged by its ports: the default server (E6, F3)",
    Fragments.DROP: "a fragment cannot be judged by its ports: drop (E6, F3)",
}


def flows(local: VipOnSwitch) -> Iterator[Flow]:
    """The VIP's policy for fragments; fragments of ICMP go where pings go.

    Open vSwitch does not show the protocol of a later IPv6 fragment (a flow sees 44).
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
                "ICMP in fragments: where pings go, as only the first one shows the type (I1)",
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
    """The receiver of pings that come in fragments: a server's name, or a policy other than "answer".

    The switch cannot answer them: it would also write an ICMP type into later fragments, which have none. The default
    server answers instead, or else any server: all of them have the VIP's address.
    """
    types = {rule.type: rule.target for rule in local.vip.icmp_types if rule.version == ip.version}
    target = types.get(ip.echo, local.vip.icmp_rest)
    if target is not IcmpPolicy.ANSWER:
        return target
    return IcmpPolicy.BALANCE if local.vip.default_server is None else IcmpPolicy.DEFAULT


def is_handed_up(local: VipOnSwitch, ip: Family) -> bool:
    """Whether the controller judges fragments of a family.

    It also judges those of IPv6 where all but pings are dropped: only the first fragment says whether it is a ping.
    """
    if local.vip.fragments is Fragments.TRACK:
        return not _is_reassembled(local)
    finds_pings = ip.version == 6 and ping_target(local, ip) is not IcmpPolicy.DROP
    return local.vip.fragments is Fragments.DROP and finds_pings


def _ping(local: VipOnSwitch, ip: Family) -> tuple[Action, ...]:
    """No group: it would hash a first fragment in another way than the later ones, and split the ping."""
    if spoils_fragments(local, ip):
        return punt(Reason.FRAGMENT, local.number) if local.vip.fragments is Fragments.TRACK else ()
    target = ping_target(local, ip)
    match target:
        case IcmpPolicy.BALANCE:
            slots = local.slots(ALL_SERVERS)
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
    metered = ToMeter(local.meter(Reason.FRAGMENT))  # one fragment becomes as many as there are servers
    return (metered, *replicate(local, ip)) if local.reachable_servers else ()
