"""LOG: copies of what opens and closes connections go to the controller, which writes the log of them (row C2).

NEIGHBOUR looks in here with what clients send to a VIP that has a log, UPSTREAM with what it lets a server send as such
a VIP, already as the VIP. The packet itself goes on as if this table were not there; PUNT makes the copy.

What opens or closes is told by four flags; all flows ask for the same four, so a look here is one more mask. Other
combinations of them are no segments of TCP's (RFC 9293, 3.10.7).
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
    """Nothing for a VIP without a log."""
    if not local.vip.log:
        return
    for address in (*local.vip.addresses, *local.named):
        ip = family(address)
        down = {**from_side(Side.NETWORK), **ip.to(address), "ip_proto": IP_TCP, "ip_frag": _WHOLE}
        up = {**from_side(Side.SERVER), **ip.by(address), "ip_proto": IP_TCP, "ip_frag": _WHOLE}
        kinds = [(down, SYN, Reason.OPENING, "a client opens a connection: a copy for the log (C2)")]
        for flags in _ENDS:
            kinds.append((down, flags, Reason.CLOSING, "a client closes a connection: a copy for the log (C2)"))
            kinds.append((up, flags, Reason.SERVER_CLOSING, "a server closes a connection: a copy for the log (C2)"))
        for fields, flags, reason, why in kinds:
            segment = match(**fields, tcp_flags=(flags, _FLAGS))
            cookie = make_cookie(reason, local.number)
            yield flow(LOG, Priority.SPECIFIC, segment, punt(reason, local.number), cookie, why)


def seen(local: VipOnSwitch, actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """Actions with a look into LOG before the last of them, if the VIP has a log."""
    return (*actions[:-1], resubmit(LOG), actions[-1]) if local.vip.log else actions
