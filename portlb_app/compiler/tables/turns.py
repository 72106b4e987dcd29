"""TURNS: the controller decides which server gets a SYN, by turns, while it is there; else the slot does (row L1).

Open vSwitch drops what goes to an absent controller, so it must know whether the controller is there. The controller
says so again and again, by a packet of its own into PRESENCE. A flow there makes another one, which ends by itself
after `SECONDS` without such a packet; every SYN is looked up in it. The same packet with RST has the slots decide from
now on. So it takes no message that changes tables, and Open vSwitch validates no datapath flow anew while the
controller goes on to say that it is there.

Only SYNs with REDIRECT are for the controller: their third packet names the server. All other packets to a redirect
port go by their slots, and so do these where clients' packets do not enter.
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.tables.pool import ways
from portlb_app.compiler.tables.redirect import takes_turns, to_way
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.openflow import IP_TCP, Flow, Learn, match
from portlb_app.pipeline import (
    PRESENCE,
    RST,
    TURN,
    TURNS,
    Priority,
    Reason,
    Side,
    family,
    flow,
    from_side,
    make_cookie,
    punt,
)

SECONDS = 2
"""How long the switch takes the controller to be there, since it has said so. Open vSwitch ends a flow up to a second
late."""


def flows(local: VipOnSwitch) -> Iterator[Flow]:
    """Of each port whose turns the controller takes, by address: two of PRESENCE, of TURNS one and one a group."""
    for address in local.vip.addresses:
        ip = family(address)
        for pool in (each for each in local.pools if takes_turns(local, each)):
            to_port = {**ip.to(address), "ip_proto": IP_TCP, "tcp_dst": pool.port}
            cookie = make_cookie(Reason.TURNS, local.number, pool.port)
            for flags, is_there, reason in (
                (0, 1, "the controller is there, and takes turns: known for a while"),
                (RST, 0, "the controller takes no turns: known for a while"),
            ):
                fields = tuple(to_port.items())
                knows = Learn(PRESENCE.number, SECONDS, Priority.GENERAL, cookie, fields, TURN, is_there)
                said = match(**from_side(Side.PRESENT), **to_port, tcp_flags=(flags, RST))
                yield flow(PRESENCE, Priority.FIRST, said, (knows,), cookie, reason)
            mine = {**local.ingress_match, **to_port}
            yield flow(
                TURNS,
                Priority.EXCEPTION,
                match(**mine, **{TURN: 1}),
                punt(Reason.SIGNAL, local.number),
                cookie,
                "a SYN with REDIRECT, and the controller is there: it says whose turn it is (L1)",
            )
            for way in ways(local, pool, ip, IP_TCP):
                yield flow(
                    TURNS,
                    Priority.SPECIFIC,
                    match(**mine, **way.fields),
                    to_way(local, pool, ip, way),
                    cookie,
                    "a SYN with REDIRECT while the controller takes no turns: the pool's slots (L1)",
                )
