"""PUNT: hands packets up to the controller, and copies for its log, if a message has room for them.

A flow that hands up writes the reason and the VIP into a register, checks the size of the frame, and resubmits to this
table. Open vSwitch puts the whole frame into a message whose length has 16 bits, and lets it wrap; the controller would
read the rest as OpenFlow. So a frame that is too large is dropped here, and a meter counts it. The original of a copy
goes on.

Every reason and VIP has a meter. Open vSwitch has no "else" for a packet that a meter refuses, so a packet that a table
can decide about is never handed up, such as a plain SYN under ``balance``.
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.tables.fragment import is_handed_up
from portlb_app.compiler.tables.legacy import is_read
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Forwarding, Fragments, IcmpErrors, Rewrite
from portlb_app.openflow import IP_TCP, Action, CopyToController, Flow, Match, ToController, ToGroup, ToMeter, match
from portlb_app.pipeline import (
    COPIED,
    FAMILIES,
    HANDED_UP,
    OF_ALL_VIPS,
    PUNT,
    PUNT_KEY,
    SLOT_GROUP,
    TOO_LARGE,
    TOO_LARGE_METER,
    Priority,
    Reason,
    family,
    flow,
    make_cookie,
    punt_key,
)

_UP, _COPY = "to the controller, within its meter's rate", "a copy to the controller, within its meter's rate"
_ANSWER = "an answer to a check: to the controller, within the rate of its connector"


def flows(local: VipOnSwitch) -> Iterator[Flow]:
    """One flow for each reason that the VIP has to hand packets up; for SYNs one for each port."""
    reasons = tuple(_reasons(local))
    for reason in reasons:
        number = 0 if reason in OF_ALL_VIPS else local.number
        actions = _up(local, reason)
        why = _COPY if reason in COPIED else _UP
        yield _flow(match(**{PUNT_KEY: punt_key(reason, number)}), actions, make_cookie(reason, number), why)
    for port in local.checked_ports:
        answer, cookie = punt_key(Reason.TO_CHECKER, port), make_cookie(Reason.TO_CHECKER, port=port)
        actions = (ToMeter(local.meter(Reason.TO_CHECKER, port)), ToController())
        yield _flow(match(**{PUNT_KEY: answer}), actions, cookie, _ANSWER)
    signals = [pool for pool in local.pools if is_read(local, pool)]
    for pool in signals:
        for version in {address.version for address in local.vip.addresses}:
            key = {PUNT_KEY: punt_key(Reason.SIGNAL, local.number)}
            segment = match(**key, eth_type=FAMILIES[version].eth_type, ip_proto=IP_TCP, tcp_dst=pool.port)
            actions = (ToMeter(local.meter(Reason.SIGNAL, pool.port)), ToGroup(SLOT_GROUP))
            cookie = make_cookie(Reason.SIGNAL, local.number, pool.port)
            yield _flow(segment, actions, cookie, "a SYN, with its slot: to the controller")
    if reasons or signals:
        bit = 1 << TOO_LARGE
        yield flow(
            PUNT,
            Priority.EXCEPTION,
            match(**{PUNT_KEY: (bit, bit)}),
            (ToMeter(TOO_LARGE_METER.number),),
            make_cookie(Reason.TOO_LARGE),
            "too large for a message to the controller: count and drop",
        )


def _flow(wanted: Match, actions: tuple[Action, ...], cookie: int, reason: str) -> Flow:
    return flow(PUNT, Priority.SPECIFIC, wanted, actions, cookie, reason)


def _up(local: VipOnSwitch, reason: Reason) -> tuple[Action, ...]:
    meter = local.meter(reason)
    return (CopyToController(meter),) if reason in COPIED else (ToMeter(meter), ToController())


def _reasons(local: VipOnSwitch) -> Iterator[Reason]:
    """The reasons for which packets of the VIP are handed up, except SYNs."""
    vip = local.vip
    is_tracked = vip.fragments is Fragments.TRACK and local.datapath is Forwarding.USERSPACE
    families = map(family, vip.addresses)
    applies = {
        Reason.ICMP_ERROR: vip.icmp_errors is IcmpErrors.OWNER,
        Reason.FRAGMENT: any(is_handed_up(local, ip) for ip in families),
        Reason.SERVER_ICMP: vip.rewrite is Rewrite.ADDRESS,
        Reason.SERVER_FRAGMENT: is_tracked and vip.rewrite is Rewrite.ADDRESS,
        Reason.REFUSED: bool(local.attached),
        Reason.QUERY: local.is_entrance and any(address.version == 6 for address in vip.addresses),
        **dict.fromkeys(COPIED, vip.log),
    }
    yield from (reason for reason in HANDED_UP if applies.get(reason))
