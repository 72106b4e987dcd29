"""DEFAULT: packets that no other table has judged go to the default server, if there is one (rows U3, E5, E6).

Where the default server is for plain clients only, REDIRECT has already dropped the others' packets. Fragments do not
pass REDIRECT, so that no packet is delivered in part.
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.delivery import deliver
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.openflow import Flow, match
from portlb_app.pipeline import DEFAULT, Priority, Reason, family, flow, make_cookie


def flows(local: VipOnSwitch) -> Iterator[Flow]:
    """One flow per address; none without a default server."""
    vip = local.vip
    if vip.default_server is None or not (local.is_entrance or vip.default_server in local.port_of):
        return
    for address in vip.addresses:
        yield flow(
            DEFAULT,
            Priority.GENERAL,
            match(**family(address).to(address)),
            deliver(local, vip.default_server, family(address)),
            make_cookie(Reason.DEFAULT, local.number),
            "an unknown port, or a packet that cannot be judged: the default server (U3, E5, E6)",
        )
