"""Fragments to a VIP (rows F1 and F2): they follow the first fragment of their packet."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from portlb_app.compiler.delivery import without
from portlb_app.compiler.tables.fragment import ping_target
from portlb_app.compiler.tables.pool import way_of
from portlb_app.config import Algorithm, DefaultFor, Fragments, IcmpPolicy, Legacy, RedirectPort, UnknownFragments
from portlb_app.net import packets
from portlb_app.pipeline import ACK, SYN, Family, family
from portlb_app.punt.fragment_tracker import FragmentTracker, NoRoom
from portlb_app.punt.verdict import DROPPED, MALFORMED, NO_ROOM, UNKNOWN, Verdict, to_default, to_servers
from portlb_app.punt.vip_index import LocatedVip, VipIndex
from portlb_app.selection import choose
from portlb_app.topology.conditions import ALL_SERVERS


class FragmentHandler:
    """The fragments of all VIPs. Any ingress port may get any fragment of a packet."""

    def __init__(self) -> None:
        self._trackers: dict[int, FragmentTracker[Verdict]] = {}

    @property
    def waiting_bytes(self) -> int:
        """Bytes of fragments that wait for their first."""
        return sum(tracker.waiting_bytes for tracker in self._trackers.values())

    def take(self, located: LocatedVip, frame: bytes, now: float) -> Iterator[tuple[Verdict, bytes]]:
        """What becomes of a fragment, of those that waited for it, and of those that it pushes out."""
        fragment = packets.parse_fragment(frame)
        if fragment is None or fragment.destination not in located.local.vip.addresses:
            yield MALFORMED, frame
            return
        tracker = self._trackers.setdefault(located.local.number, FragmentTracker())
        try:
            found = tracker.take(fragment, frame, now, lambda first: _judge_first(located, first))
        except NoRoom:
            yield NO_ROOM, frame
            return
        for _ in range(tracker.lost()):
            yield NO_ROOM, b""
        if found is not None:
            verdict, frames = found
            yield from ((verdict, each) for each in frames)

    def expire(self, vips: VipIndex, now: float) -> Iterator[tuple[LocatedVip | None, Verdict, bytes]]:
        """The fragments whose first did not come in time, each with its VIP on any switch, and what becomes of it."""
        for number, tracker in self._trackers.items():
            located = vips.anywhere(number)
            for frame in tracker.expire(now):
                fragment = packets.parse_fragment(frame)
                if fragment is None or located is None:
                    yield None, UNKNOWN, frame
                else:
                    yield located, _judge_orphan(located, family(fragment.destination)), frame

    def forget(self) -> int:
        """Forget all; how many fragments waited."""
        waiting = sum(len(list(tracker.expire(math.inf))) for tracker in self._trackers.values())
        self._trackers.clear()
        return waiting


def _judge_orphan(located: LocatedVip, ip: Family) -> Verdict:
    """A fragment whose first did not come (row F2)."""
    vip = located.local.vip
    if vip.fragments is Fragments.TRACK and vip.unknown_fragments is UnknownFragments.DEFAULT:
        return _rewritten_here(to_default(located, ip), ip)
    return UNKNOWN


def _judge_first(located: LocatedVip, first: packets.Fragment) -> Verdict:
    """What the tables say about a whole packet with these ports (rows U1 to U3, E1 to E6, X4).

    Where a pool decides, the slot is one of ours: the switch hashes the ports of whole packets, and cannot be asked
    what its hash would be. So fragmented and whole datagrams of one sender to a redirect port may reach different
    servers. TCP that is no SYN is dropped, unless the pool has one server: any other would reset the connection. So are
    a plain client's SYNs to a pinned port, whose connection's whole packets the switch would remember elsewhere.
    """
    ip = family(first.destination)
    return _rewritten_here(_by_ports(located, ip, first), ip)


def _rewritten_here(verdict: Verdict, ip: Family) -> Verdict:
    """The same with every address rewritten here, and none by the switch, which would spoil a fragment."""
    if all(each.address is None for each in verdict.deliveries):
        return verdict
    deliveries = (
        replace(each, actions=without(each.actions, ip.destination)) if each.address is not None else each
        for each in verdict.deliveries
    )
    return replace(verdict, deliveries=tuple(deliveries))


def _by_ports(located: LocatedVip, ip: Family, first: packets.Fragment) -> Verdict:
    local = located.local
    if first.protocol == ip.icmp:
        return _ping(located, ip, first)
    if local.vip.fragments is not Fragments.TRACK:  # only fragments of pings are judged
        return DROPPED
    if first.ports is None:
        return to_default(located, ip)
    port = first.ports[1]
    owner, pool = local.owners.get(port), local.vip.pool_on(port)
    if first.protocol == packets.TCP:
        return _tcp(located, ip, first, owner, pool)
    if owner is not None:
        return to_servers(located, ip, (owner,))
    return to_default(located, ip) if pool is None else _to_pool(located, ip, pool, first)


def _tcp(
    located: LocatedVip, ip: Family, first: packets.Fragment, owner: str | None, pool: RedirectPort | None
) -> Verdict:
    vip = located.local.vip
    redirect = bool(first.flags & packets.REDIRECT)
    if pool is None:
        if owner is not None:
            return to_servers(located, ip, (owner,))
        if redirect and vip.default_for is not DefaultFor.UNKNOWN_PORTS:
            return DROPPED
        return to_default(located, ip)
    if not redirect and pool.legacy is Legacy.OWNER and owner is not None:
        return to_servers(located, ip, (owner,))
    if not redirect and pool.legacy is Legacy.DEFAULT and vip.default_server is not None:
        return to_servers(located, ip, (vip.default_server,))
    opening = first.flags & (SYN | ACK) == SYN
    if not redirect and pool.legacy is Legacy.DROP and opening:
        return DROPPED
    if not redirect and pool.legacy is Legacy.PIN:
        opening = False  # only the switch knows what it remembers
    if opening or len(pool.servers) == 1:
        return _to_pool(located, ip, pool, first)
    return UNKNOWN


def _ping(located: LocatedVip, ip: Family, first: packets.Fragment) -> Verdict:
    """ICMP in fragments goes where pings go (row I1)."""
    target = ping_target(located.local, ip)
    match target:
        case IcmpPolicy.BALANCE:
            slots = located.local.slots(ALL_SERVERS)
            chosen = (choose(slots, first.source, first.destination),) if slots else ()
            return to_servers(located, ip, chosen)
        case IcmpPolicy.DEFAULT:
            return to_default(located, ip)
        case IcmpPolicy.DROP:
            return DROPPED
        case _:
            return to_servers(located, ip, (target,))


def _to_pool(located: LocatedVip, ip: Family, pool: RedirectPort, first: packets.Fragment) -> Verdict:
    assert first.ports is not None, "a pool is found by them"
    chosen = way_of(located.local, pool, first.source, first.dscp, first.ports[0]).pool
    slots = located.local.slots(chosen.port)
    if not slots:
        return DROPPED
    if chosen.selecting.algorithm is Algorithm.SOURCE:
        prefix = chosen.selecting.prefix4 if ip.version == 4 else chosen.selecting.prefix6
        network = int(first.source) >> first.source.max_prefixlen - prefix
        return to_servers(located, ip, (choose(slots, network),))
    return to_servers(located, ip, (choose(slots, first.source, first.destination, first.protocol, first.ports),))
