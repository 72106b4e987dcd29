"""SYNs to a redirect port that may ask for a redirect by the TCP option (rows E2, E3, E4)."""

from __future__ import annotations

from portlb_app.compiler.tables.legacy import to_plain
from portlb_app.compiler.tables.pool import way_of
from portlb_app.compiler.tables.redirect import to_slot, to_way
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Legacy
from portlb_app.net import packets
from portlb_app.pipeline import ACK, SYN, family
from portlb_app.punt.packet import PacketIn
from portlb_app.punt.verdict import ABSENT, DROPPED, MALFORMED, UNKNOWN, Verdict, here


def signal(local: VipOnSwitch, port: int, packet: PacketIn) -> Verdict:
    """The pool for a client that can be redirected; for a plain one what the port's policy says."""
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
    if packet.slot is None:
        return here(to_way(local, pool, ip, way))
    return here(to_slot(local, pool, ip, way, packet.slot))
