"""LOG: the controller gets a copy of each segment that opens or closes a connection, for its log (row C2).

NEIGHBOUR looks up clients' packets to a VIP with a log here; UPSTREAM looks up what a server sends as such a VIP, after
rewriting. PUNT makes the copy, and the packet itself goes on unchanged.

Four flags decide whether a segment opens or closes. All flows match these four, so the table has one mask. TCP has no
other combinations of them (RFC 9293, 3.10.7).
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.openflow import IP_TCP, Action, Flow, match
from portlb_app.pipeline import (
    ACK,
    FIN,
    LOG,
    RST,
    SYN,
    Priority,
    Reason,
    Side,
    family,
    flow,
    from_side,
    make_cookie,
    punt,
    resubmit,
)

_FLAGS = SYN | FIN | RST | ACK
_ENDS = (FIN | ACK, RST, RST | ACK)
_WHOLE = 0


def flows(local: VipOnSwitch) -> Iterator[Flow]:
    """The flows for opening and closing segments; none for a VIP without a log."""
    if not local.vip.log:
        return
    for address in (*local.vip.addresses, *local.by_service_address):
        ip = family(address)
        to_vip = {**from_side(Side.NETWORK), **ip.to(address), "ip_proto": IP_TCP, "ip_frag": _WHOLE}
        from_vip = {**from_side(Side.SERVER), **ip.by(address), "ip_proto": IP_TCP, "ip_frag": _WHOLE}
        kinds = [(to_vip, SYN, Reason.OPENING, "a client opens a connection: a copy for the log (C2)")]
        for flags in _ENDS:
            kinds.append((to_vip, flags, Reason.CLOSING, "a client closes a connection: a copy for the log (C2)"))
            of_server = "a server closes a connection: a copy for the log (C2)"
            kinds.append((from_vip, flags, Reason.SERVER_CLOSING, of_server))
        for fields, flags, reason, why in kinds:
            segment = match(**fields, tcp_flags=(flags, _FLAGS))
            cookie = make_cookie(reason, local.number)
            yield flow(LOG, Priority.SPECIFIC, segment, punt(reason, local.number), cookie, why)


def logged(local: VipOnSwitch, actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """The actions with a lookup in LOG before the last one, if the VIP has a log."""
    return with_lookup(actions) if local.vip.log else actions


def with_lookup(actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """The actions with a lookup in LOG before the last one."""
    return (*actions[:-1], resubmit(LOG), actions[-1])
