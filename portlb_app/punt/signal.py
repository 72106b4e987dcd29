"""SYNs to a redirect port that the controller reads, by why (rows E2, E3, E4, L1).

It asks for a redirect: the pool gets it, by turn where the controller takes turns, else by its slot. It may ask by the
TCP option, and does not: it is a plain client's.
"""

from __future__ import annotations

from portlb_app.compiler.delivery import deliver
from portlb_app.compiler.tables.legacy import to_plain
from portlb_app.compiler.tables.pool import way_of
from portlb_app.compiler.tables.qos import qos_actions
from portlb_app.compiler.tables.redirect import to_slot, to_way
from portlb_app.config import Legacy, RedirectPort
from portlb_app.config import Turns as Whose
from portlb_app.net import packets
from portlb_app.net.packets import Segment
from portlb_app.pipeline import ACK, SYN, Family, family
from portlb_app.punt.disposition import Disposition
from portlb_app.punt.packet import PacketIn
from portlb_app.punt.turns import Turns
from portlb_app.punt.verdict import ABSENT, DROPPED, MALFORMED, UNKNOWN, Delivery, Verdict, here, ingress_port
from portlb_app.punt.vip_index import LocatedVip


def signal(located: LocatedVip, port: int, packet: PacketIn, turns: Turns, now: float) -> Verdict:
    """The pool for a client that can be redirected; for a plain one what the port's policy says."""
    local = located.local
    segment, pool = packets.parse_tcp(packet.frame), local.vip.pool_on(port)
    if segment is None or segment.dport != port or segment.flags & (SYN | ACK) != SYN:
        return MALFORMED
    if pool is None or segment.destination not in local.vip.addresses:
        return UNKNOWN
    ip = family(segment.destination)
    way = way_of(local, pool, segment.source, segment.dscp, segment.sport)
    slots = local.slots(way.pool.port)  # empty if the tables that handed it up are of before a link went down
    asks = segment.asks_redirect and bool(slots)
    if not asks and pool.legacy is Legacy.DROP:
        return DROPPED
    if not asks and pool.legacy is not Legacy.BALANCE:
        receiver = local.owners.get(port) if pool.legacy is Legacy.OWNER else local.vip.default_server
        actions = to_plain(local, pool, ip)
        return here(actions) if pool.legacy is Legacy.PIN or receiver in local.port_of else ABSENT
    if not slots:
        return DROPPED
    if asks and pool.selecting.turns is Whose.CONTROLLER:
        by_turn = _by_turn(located, pool, ip, segment, turns, now)
        if by_turn is not None:
            return by_turn
    if packet.slot is None:
        return here(to_way(local, pool, ip, way))
    return here(to_slot(local, pool, ip, way, packet.slot))


def _by_turn(
    located: LocatedVip, pool: RedirectPort, ip: Family, segment: Segment, turns: Turns, now: float
) -> Verdict | None:
    """To the server whose turn it is, at its own switch; None if no server can be given it there."""
    local = located.local
    weights = {
        name: weight
        for name, weight in local.turns(pool.port).items()
        if name in located.server_switches and name in local.port_of
    }
    server = turns.server((local.vip.name, pool.port), pool.selecting, weights, segment, now)
    if server is None:
        return None
    dpid, there = located.server_switches[server]
    actions = (*qos_actions(pool.qos), *deliver(there, server, ip))
    if dpid == located.dpid:
        return here(actions)
    return Verdict((Delivery(actions, server_switch=(dpid, ingress_port(there))),), Disposition.SENT)
