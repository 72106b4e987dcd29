"""What becomes of a packet that a switch hands up. Pure: a packet goes in, what the switch shall do comes out.

The cookie of the flow that handed it up says why, and for which VIP:

==============  =============================  =====================================================================
reason          what it is                     who gets it
==============  =============================  =====================================================================
``ICMP_ERROR``  an ICMP error to the VIP       the owner of the port it quotes (rows I2, I3)
``FRAGMENT``    a fragment to the VIP          who its first fragment's ports name (rows F1, F2)
``SIGNAL``      a SYN without the REDIRECT     the pool, if its option asks for a redirect; else as a plain client's
                bit to a redirect port
``SERVER_``     a server's ICMP error, or a    the network, as from the VIP: where addresses are rewritten (row N1),
``ICMP`` and    fragment of its, IPv4          a switch can rewrite neither what an error quotes nor a fragment
``FRAGMENT``
``OPENING``,    a copy of what opens or        nobody: it is for the log of connections (`connlog`, row C2)
``CLOSING``,    closes a connection
``SERVER_``
``CLOSING``
==============  =============================  =====================================================================

Every packet but those copies has exactly one `Fate`, and is counted under it; a fragment that waits for its first is
counted when it waits no more. Nothing is remembered but fragments (`fragments`) and the log: a SYN comes up with the
slot that the switch's hash has chosen, so a repeated one finds the same server (docs/decisions/0012).
"""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from portlb_app.compiler.delivery import address_in, deliver, egress_actions, output, source_address, without
from portlb_app.compiler.tables.fragment import ping_target
from portlb_app.compiler.tables.legacy import to_plain
from portlb_app.compiler.tables.redirect import to_pool, to_slot
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.compiler.vips_by_switch import VipsBySwitch
from portlb_app.config import (
    Address,
    Config,
    DefaultFor,
    Fragments,
    IcmpPolicy,
    Legacy,
    RedirectPort,
    Rewrite,
    Server,
    UnknownErrors,
    UnknownFragments,
)
from portlb_app.net import packets
from portlb_app.openflow import CONTROLLER, Action, Output
from portlb_app.openflow.limits import LARGEST_FRAME, OUTPUTS
from portlb_app.pipeline import ACK, COPIED, HANDED_UP, SYN, Family, Reason, family, parse_cookie
from portlb_app.punt import announce
from portlb_app.punt.connlog import ConnectionLog, Copy
from portlb_app.punt.fragments import NoRoom, Tracker
from portlb_app.selection import choose
from portlb_app.topology.conditions import AS_CONFIGURED, Conditions


class Fate(str, enum.Enum):
    """What became of a packet that was handed up."""

    SENT = "sent"
    """Somebody got it."""
    DROPPED = "dropped"
    """The configuration says nobody gets it."""
    UNKNOWN = "unknown"
    """It is about a port nobody has, or its first fragment did not come: the default server got it, or nobody."""
    MALFORMED = "malformed"
    """It is cut off, contradicts itself, or is an error about an error: nobody got it."""
    NO_ROOM = "no_room"
    """A fragment, and too many wait for their first already: nobody got it."""
    QUEUE = "queue"
    """More came than the controller can judge, or its switch was gone before its turn came: nobody got it."""
    UNSENDABLE = "unsendable"
    """It is too long for a message that says whom it goes to: nobody got it."""
    ABSENT = "absent"
    """Its server's switch is not connected, or no link leads there: nobody got it."""


@dataclass(frozen=True)
class Punted:
    """A packet that was handed up: the cookie of the flow that did it, the OpenFlow port it came in on, all of it.

    `slot` is the one its pool's group would choose, where the switch told.
    """

    cookie: int
    in_port: int
    frame: bytes
    slot: int | None = None


@dataclass(frozen=True)
class Send:
    """Have the switch `dpid` do `actions` with `frame`, which came in on its port `in_port`."""

    dpid: int
    in_port: int
    actions: tuple[Action, ...]
    frame: bytes


@dataclass(frozen=True)
class _Delivery:
    """These actions, with the packet rewritten here to or from `address`, if that is more than a switch can do.

    `server_switch`: the switch that does them, and the port the packet shall have come in by there; None: those of the
    packet that was handed up.
    """

    actions: tuple[Action, ...]
    address: Address | None = None
    server_switch: tuple[int, int] | None = None


@dataclass(frozen=True)
class _Verdict:
    """Who gets a packet (nobody, if there are no deliveries), and how it counts."""

    deliveries: tuple[_Delivery, ...]
    fate: Fate


@dataclass(frozen=True)
class _Site:
    """A VIP where a packet of its was handed up, and at each server's own switch: its datapath id, and the VIP there.

    The controller gives a packet to the server's own switch at once; those between would hand it up again.
    """

    local: VipOnSwitch
    server_switches: Mapping[str, tuple[int, VipOnSwitch]]


_MALFORMED = _Verdict((), Fate.MALFORMED)
_DROPPED = _Verdict((), Fate.DROPPED)
_UNKNOWN = _Verdict((), Fate.UNKNOWN)
_ABSENT = _Verdict((), Fate.ABSENT)

SWITCHES_AT_ONCE = 4
"""Switches whose VIPs are worked out at a time when the configuration is another."""

Counts = Mapping[tuple[Reason, Fate], int]
_Rewrite = Callable[[bytes, Address], bytes | None]
"""Puts an address into a frame; None if that cannot be done."""


def reason_of(cookie: int) -> Reason | None:
    """Why a packet with this cookie was handed up; None for a cookie that hands nothing up."""
    reason, _, _ = parse_cookie(cookie)
    return reason if reason in HANDED_UP else None


class Punt:
    """Judges what the switches of a configuration hand up; `adopt` one first.

    `connections` is the log of connections, which outlives a configuration. `fits` says whether a message can have a
    switch do these actions with this frame.
    """

    def __init__(self, fits: Callable[[tuple[Action, ...], bytes], bool] = lambda _actions, _frame: True) -> None:
        self._fits = fits
        self.connections = ConnectionLog()
        self.unsent = 0
        """Packets that a switch was to send, and was not told: too many waited for that already, or it was gone."""
        self._config: Config | None = None
        self._conditions = AS_CONFIGURED
        self._connected: set[int] = set()
        self._coming: VipsBySwitch | None = None
        self._vips_on_switch: dict[int, tuple[VipOnSwitch, ...]] = {}
        self._sites: dict[tuple[int, int], list[_Site]] = {}
        self._first_sites: dict[int, tuple[int, _Site]] = {}
        """By a VIP's number, one of its sites, and the switch that it is at."""
        self._server_switches: dict[int, dict[str, tuple[int, VipOnSwitch]]] = {}
        """By a VIP's number, what its sites know of its servers: it changes with the switches that are connected."""
        self._trackers: dict[int, Tracker[_Verdict]] = {}
        self._counts: Counter[tuple[Reason, Fate]] = Counter()

    @property
    def counts(self) -> Counts:
        """How many packets, by reason and fate."""
        return dict(self._counts)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of fragments that wait for their first."""
        return sum(tracker.waiting_bytes for tracker in self._trackers.values())

    def connected(self, dpid: int) -> None:
        """A switch is connected, and can be given packets that another one has handed up."""
        self._connected.add(dpid)
        self._reach(dpid)

    def disconnected(self, dpid: int) -> None:
        """A switch is gone."""
        self._connected.discard(dpid)
        for local in self._vips_on_switch.get(dpid, ()):
            attached_at = self._server_switches[local.number]
            for server in local.attached:
                if attached_at.get(server.name, (None,))[0] == dpid:
                    del attached_at[server.name]

    def adopt(self, config: Config, conditions: Conditions = AS_CONFIGURED) -> None:
        """Judge by this configuration from now on, under these conditions.

        What was remembered of fragments under another one is forgotten.
        """
        while not self.adopt_more(config, conditions):
            pass

    def adopt_more(self, config: Config, conditions: Conditions = AS_CONFIGURED) -> bool:
        """Do a few milliseconds' work for that. Whether this is the configuration by which packets are judged."""
        if config is self._config and conditions == self._conditions:
            return True
        if self._coming is None or not self._coming.is_for(config, conditions):
            self._coming = VipsBySwitch(config, conditions)
        if not self._coming.compute(SWITCHES_AT_ONCE):
            return False
        for tracker in self._trackers.values():
            self._counts[Reason.FRAGMENT, Fate.UNKNOWN] += len(list(tracker.expire(math.inf)))
        self._config, self._conditions = config, conditions
        self._vips_on_switch = {switch.dpid: self._coming.on(switch.dpid) for switch in config.switches}
        self._coming = None
        self._trackers.clear()
        self._find_sites()
        return True

    def _find_sites(self) -> None:
        self._server_switches, self._sites, self._first_sites = {}, {}, {}
        for dpid, here in self._vips_on_switch.items():
            for local in here:
                site = _Site(local, self._server_switches.setdefault(local.number, {}))
                self._sites.setdefault((dpid, local.number), []).append(site)
                self._first_sites.setdefault(local.number, (dpid, site))
            if dpid in self._connected:
                self._reach(dpid)

    def _reach(self, dpid: int) -> None:
        """The servers of a connected switch can be given packets."""
        for local in self._vips_on_switch.get(dpid, ()):
            reachable = (server.name for server in local.attached if server.name in local.port_of)
            self._server_switches[local.number].update((name, (dpid, local)) for name in reachable)

    def _site(self, dpid: int, number: int, in_port: int) -> _Site | None:
        """The VIP of this number where a packet came in; from a server's connector any reachability will do."""
        sites = self._sites.get((dpid, number), [])
        found = (site for site in sites if in_port in site.local.ingress_ports)
        return next(found, sites[0] if sites else None)

    def lost(self, cookie: int) -> None:
        """Count a packet that is not looked at because too many came."""
        self._count(cookie, Fate.QUEUE, Copy.QUEUE)

    def unreadable(self, cookie: int) -> None:
        """Count a message that holds no whole packet."""
        self._count(cookie, Fate.MALFORMED, Copy.MALFORMED)

    def _count(self, cookie: int, fate: Fate, copy: Copy) -> None:
        reason = reason_of(cookie)
        if reason in COPIED:
            self.connections.count(copy)
        elif reason is not None:
            self._counts[reason, fate] += 1

    def take(self, dpid: int, packet: Punted, now: float) -> tuple[Send, ...]:
        """What the switch `dpid` shall do about a packet it handed up. One with a cookie of nobody is ignored."""
        reason, number, port = parse_cookie(packet.cookie)
        if reason is None or reason not in HANDED_UP:
            return ()
        if len(packet.frame) > LARGEST_FRAME:
            self.unreadable(packet.cookie)
            return ()
        if reason is Reason.QUERY:  # about every VIP of the switch
            reports = announce.answers(self._vips_on_switch.get(dpid, ()), packet.in_port, packet.frame)
            fate = Fate.MALFORMED if reports is None else Fate.SENT if reports else Fate.UNKNOWN
            self._counts[reason, fate] += 1
            return tuple(Send(dpid, CONTROLLER, (Output(packet.in_port),), report) for report in reports or ())
        if reason is Reason.REFUSED:  # a server's, to any VIP
            refusal = packets.make_refusal(packet.frame)
            self._counts[reason, Fate.DROPPED if refusal is None else Fate.SENT] += 1
            return () if refusal is None else (Send(dpid, CONTROLLER, (Output(packet.in_port),), refusal),)
        if reason is Reason.SERVER_ICMP:  # a router's may be about a server of any VIP
            verdict = _server_error(self._vips_on_switch.get(dpid, ()), packet.frame)
            return self._sent(dpid, packet, verdict, reason, _about_client)
        site = self._site(dpid, number, packet.in_port)
        if reason in COPIED:
            if site is None:
                self.connections.count(Copy.MALFORMED)
            else:
                self.connections.take(site.local, reason, packet.in_port, packet.frame, now)
            return ()
        if site is None:
            self._counts[reason, Fate.UNKNOWN] += 1
            return ()
        match reason:
            case Reason.FRAGMENT:
                return tuple(self._fragment(dpid, site, packet, now))
            case Reason.ICMP_ERROR:
                return self._sent(dpid, packet, _icmp_error(site, packet.frame), reason, _about_server)
            case Reason.SIGNAL:
                return self._sent(dpid, packet, _signal(site.local, port, packet), reason, packets.readdress)
            case _:
                verdict = _server_fragment(site.local, packet.frame)
                return self._sent(dpid, packet, verdict, reason, packets.readdress)

    def _sent(
        self, dpid: int, packet: Punted, verdict: _Verdict, reason: Reason, rewrite: _Rewrite
    ) -> tuple[Send, ...]:
        """Carry out and count what was decided about one packet; one that cannot be rewritten is malformed."""
        sends = tuple(_sends(dpid, packet.in_port, verdict, (packet.frame,), rewrite))
        return self._sendable(reason, verdict.fate if sends or not verdict.deliveries else Fate.MALFORMED, sends)

    def _sendable(self, reason: Reason, fate: Fate, sends: Iterable[Send]) -> tuple[Send, ...]:
        """Count one packet by what becomes of it; of what leads to somebody, what messages can say."""
        wanted = tuple(sends)
        found = tuple(send for send in wanted if self._fits(send.actions, send.frame))
        self._counts[reason, Fate.UNSENDABLE if wanted and not found else fate] += 1
        return found

    def expire(self, now: float) -> Iterator[Send]:
        """What switches shall do about fragments whose first did not come in time.

        Old records of connections go, too.
        """
        self.connections.expire(now)
        for number, tracker in self._trackers.items():
            found = self._first_sites.get(number)
            for frame in tracker.expire(now):
                fragment = packets.parse_fragment(frame)
                if fragment is None or found is None:
                    self._counts[Reason.FRAGMENT, Fate.UNKNOWN] += 1
                else:
                    dpid, site = found
                    verdict = _unknown_fragment(site, family(fragment.destination))
                    sends = _sends(dpid, _came_in(site.local), verdict, (frame,), _to_server)
                    yield from self._sendable(Reason.FRAGMENT, Fate.UNKNOWN, sends)

    def _fragment(self, dpid: int, site: _Site, packet: Punted, now: float) -> Iterator[Send]:
        """Of several entrances, any may get any fragment of a packet."""
        fragment = packets.parse_fragment(packet.frame)
        if fragment is None or fragment.destination not in site.local.vip.addresses:
            self._counts[Reason.FRAGMENT, Fate.MALFORMED] += 1
            return
        tracker = self._trackers.setdefault(site.local.number, Tracker())
        try:
            found = tracker.take(fragment, packet.frame, now, lambda first: _first_fragment(site, first))
        except NoRoom:
            self._counts[Reason.FRAGMENT, Fate.NO_ROOM] += 1
            return
        if lost := tracker.lost():
            self._counts[Reason.FRAGMENT, Fate.NO_ROOM] += lost
        if found is not None:
            verdict, frames = found
            for frame in frames:
                sends = _sends(dpid, packet.in_port, verdict, (frame,), _to_server)
                yield from self._sendable(Reason.FRAGMENT, verdict.fate, sends)


def _sends(
    dpid: int,
    in_port: int,
    verdict: _Verdict,
    frames: Iterable[bytes],
    rewrite: _Rewrite,
) -> Iterator[Send]:
    for frame in frames:
        for delivery in verdict.deliveries:
            changed = frame if delivery.address is None else rewrite(frame, delivery.address)
            if changed is not None:
                yield Send(*(delivery.server_switch or (dpid, in_port)), delivery.actions, changed)


def _to_server(frame: bytes, address: Address) -> bytes | None:
    return packets.readdress(frame, destination=address)


def _about_server(frame: bytes, address: Address) -> bytes | None:
    return packets.requote(frame, source=address)


def _about_client(frame: bytes, address: Address) -> bytes | None:
    return packets.requote(frame, destination=address)


def _to(site: _Site, ip: Family, servers: Iterable[str], fate: Fate = Fate.SENT) -> _Verdict:
    """A copy for each of these servers, at its own switch."""
    servers = tuple(servers)
    here = [(server, *site.server_switches[server]) for server in servers if server in site.server_switches]
    if site.local.vip.rewrite is Rewrite.NOTHING:
        by_server_switch: dict[tuple[int, int], dict[Action, None]] = {}
        for server, dpid, local in here:
            by_server_switch.setdefault((dpid, _came_in(local)), {})[output(local, server)] = None
        deliveries = [
            _Delivery(tuple(outputs), server_switch=server_switch)
            for server_switch, every in by_server_switch.items()
            for outputs in _batches(tuple(every))
        ]
    else:
        deliveries = [
            _Delivery(deliver(local, server, ip), _rewritten(local, server, ip), (dpid, _came_in(local)))
            for server, dpid, local in here
        ]
    return _Verdict(tuple(deliveries), fate) if deliveries else _ABSENT if servers else _DROPPED


def _batches(outputs: tuple[Action, ...]) -> Iterator[tuple[Action, ...]]:
    """As many at a time as one message to a switch has room for."""
    yield from (outputs[at : at + OUTPUTS] for at in range(0, len(outputs), OUTPUTS))


def _as_named(site: _Site, server: str, ip: Family) -> _Verdict:
    """What is about a server's service address, at its own switch; it quotes what the server knows (row X1)."""
    if server not in site.server_switches:
        return _ABSENT
    dpid, local = site.server_switches[server]
    return _Verdict((_Delivery(deliver(local, server, ip), server_switch=(dpid, _came_in(local))),), Fate.SENT)


def _came_in(local: VipOnSwitch) -> int:
    """The port that a packet to a server of this switch shall have come in by: a server may be there, too (row N5)."""
    return CONTROLLER if local.network is None else local.network


def _rewritten(local: VipOnSwitch, server: str, ip: Family) -> Address | None:
    return source_address(local, local.by_name[server], ip) if local.vip.rewrite is Rewrite.ADDRESS else None


def _default(site: _Site, ip: Family) -> _Verdict:
    """What no table could judge: the default server, or nobody (row E6)."""
    default = site.local.vip.default_server
    return _UNKNOWN if default is None else _to(site, ip, (default,), Fate.UNKNOWN)


def _pool(local: VipOnSwitch, port: int) -> RedirectPort | None:
    for pool in local.vip.redirect_ports:
        if pool.port == port:
            return pool
    return None


# ---- ICMP errors -----------------------------------------------------------------------------------------------------


def _icmp_error(site: _Site, frame: bytes) -> _Verdict:
    """Rows I2 and I3: who owns the port from which the quoted packet came.

    A service port names its owner, also where it is a redirect port; a redirect port of nobody could be any server of
    its pool, and the default server where plain clients get that: all of them see it.
    """
    local = site.local
    quote = packets.parse_quote(frame)
    if quote is None or quote.receiver not in local.vip.addresses:
        return _MALFORMED
    ip = family(quote.receiver)
    named = local.named.get(quote.source)
    if named is not None:  # a client reports about what came from a service address
        return _as_named(site, named.name, ip)
    if quote.source != quote.receiver:
        return _MALFORMED
    if quote.ports is not None:
        owner, pool = local.owners.get(quote.ports[0]), _pool(local, quote.ports[0])
        if owner is not None:
            return _to(site, ip, (owner,))
        if pool is not None:
            labelled = tuple(each.name for each in local.servers if each.service_label == quote.label)
            return _to(site, ip, labelled or _who_answers(local, pool))
    if local.vip.unknown_errors is UnknownErrors.DEFAULT:
        return _default(site, ip)
    if local.vip.unknown_errors is UnknownErrors.ANY and local.servers:
        names = tuple(server.name for server in local.servers)
        server = choose(local.slots(names), quote.source, quote.destination, quote.protocol, quote.ports)
        return _to(site, ip, (server,), Fate.UNKNOWN)
    return _UNKNOWN


def _who_answers(local: VipOnSwitch, pool: RedirectPort) -> tuple[str, ...]:
    """The servers that may have sent a packet from a redirect port, and left no other trace in a quote."""
    default = local.vip.default_server
    plain = (default,) if pool.legacy is Legacy.DEFAULT and default is not None else ()
    by_mac = (server.name for server in local.servers if server.service_mac is not None)
    return tuple(dict.fromkeys((*pool.servers, *plain, *by_mac)))


# ---- what servers send, where addresses are rewritten ----------------------------------------------------------------


def _server_error(here: Iterable[VipOnSwitch], frame: bytes) -> _Verdict:
    """An error of a server's, or of the router before it, about a client's packet, quoted as it came there (row N1)."""
    quote = packets.parse_quote(frame)
    if quote is None:
        return _MALFORMED
    ip = family(quote.sender)
    for local in here:
        if local.vip.rewrite is not Rewrite.ADDRESS or not _speaks(local, ip):
            continue
        named = local.named.get(quote.destination)  # which no switch rewrites
        server = named or _at(local, quote.destination)
        if server is not None and quote.sender in (*server.addresses, *server.routers):
            address = None if named else address_in(local.vip.addresses, ip)
            return _Verdict((_Delivery(egress_actions(local, server, ip), address),), Fate.SENT)
    return _MALFORMED


def _server_fragment(local: VipOnSwitch, frame: bytes) -> _Verdict:
    """A fragment of a server's (row N1): rewritten here, because the switch would spoil it."""
    fragment = packets.parse_fragment(frame)
    server = None if fragment is None else _at(local, fragment.source)
    if fragment is None or server is None or not _speaks(local, ip := family(fragment.source)):
        return _MALFORMED
    actions = without(egress_actions(local, server, ip), ip.source)
    return _Verdict((_Delivery(actions, address_in(local.vip.addresses, ip)),), Fate.SENT)


def _speaks(local: VipOnSwitch, ip: Family) -> bool:
    """Whether the VIP has an address of this family; a server may have one that its VIP lacks."""
    return any(address.version == ip.version for address in local.vip.addresses)


def _at(local: VipOnSwitch, address: Address) -> Server | None:
    return next((server for server in local.attached if address in server.addresses), None)


# ---- SYNs that may ask for a redirect by their option ----------------------------------------------------------------


def _signal(local: VipOnSwitch, port: int, packet: Punted) -> _Verdict:
    """The pool for a client that can be redirected; for a plain one what the port's policy says (rows E2, E3, E4)."""
    segment, pool = packets.parse_tcp(packet.frame), _pool(local, port)
    if segment is None or segment.dport != port or segment.flags & (SYN | ACK) != SYN:
        return _MALFORMED
    if pool is None or segment.destination not in local.vip.addresses:
        return _UNKNOWN
    ip = family(segment.destination)
    slots = local.slots(pool.servers)  # none may be left: the tables that handed it up are of before a link went
    asks = segment.asks_redirect and bool(slots)
    if not asks and pool.legacy is Legacy.DROP:
        return _DROPPED
    if not asks and pool.legacy is not Legacy.BALANCE:
        receiver = local.owners.get(port) if pool.legacy is Legacy.OWNER else local.vip.default_server
        actions = to_plain(local, pool, ip)
        reached = pool.legacy is Legacy.PIN or receiver in local.port_of
        return _Verdict((_Delivery(actions),), Fate.SENT) if reached else _ABSENT
    if not slots:
        return _DROPPED
    if packet.slot is None:
        return _Verdict((_Delivery(to_pool(local, pool, ip)),), Fate.SENT)
    return _Verdict((_Delivery(to_slot(local, pool, ip, packet.slot)),), Fate.SENT)


# ---- fragments -------------------------------------------------------------------------------------------------------


def _unknown_fragment(site: _Site, ip: Family) -> _Verdict:
    """A fragment whose first did not come (row F2)."""
    vip = site.local.vip
    if vip.fragments is Fragments.TRACK and vip.unknown_fragments is UnknownFragments.DEFAULT:
        return _whole(_default(site, ip), ip)
    return _UNKNOWN


def _first_fragment(site: _Site, first: packets.Fragment) -> _Verdict:
    """What the tables say about a whole packet with these ports (rows U1 to U3, E1 to E6, X4).

    Where a pool decides, the slot is one of ours: the switch hashes the ports of whole packets, and can't be asked what
    its hash would be. So fragmented and whole datagrams of one sender to a redirect port may reach different servers;
    and TCP that is no SYN is dropped, unless the pool has one server: any other would reset the connection. So are a
    plain client's SYNs to a pinned port, whose connection's whole packets the switch would remember elsewhere.
    """
    ip = family(first.destination)
    return _whole(_by_ports(site, ip, first), ip)


def _whole(verdict: _Verdict, ip: Family) -> _Verdict:
    """The same with every address rewritten here, and none by the switch, which would spoil a fragment."""
    if all(each.address is None for each in verdict.deliveries):
        return verdict
    deliveries = (
        replace(each, actions=without(each.actions, ip.destination)) if each.address is not None else each
        for each in verdict.deliveries
    )
    return replace(verdict, deliveries=tuple(deliveries))


def _by_ports(site: _Site, ip: Family, first: packets.Fragment) -> _Verdict:
    local = site.local
    if first.protocol == ip.icmp:
        return _ping(site, ip, first)
    if local.vip.fragments is not Fragments.TRACK:  # only what a ping is made of is looked for
        return _DROPPED
    if first.ports is None:
        return _default(site, ip)
    port = first.ports[1]
    owner, pool = local.owners.get(port), _pool(local, port)
    if first.protocol != packets.TCP:
        if owner is not None:
            return _to(site, ip, (owner,))
        return _default(site, ip) if pool is None else _slot(site, ip, pool, first)
    redirect = bool(first.flags & packets.REDIRECT)
    if pool is None:
        if owner is not None:
            return _to(site, ip, (owner,))
        if redirect and local.vip.default_for is not DefaultFor.UNKNOWN_PORTS:
            return _DROPPED
        return _default(site, ip)
    if not redirect and pool.legacy is Legacy.OWNER and owner is not None:
        return _to(site, ip, (owner,))
    if not redirect and pool.legacy is Legacy.DEFAULT and local.vip.default_server is not None:
        return _to(site, ip, (local.vip.default_server,))
    opening = first.flags & (SYN | ACK) == SYN
    if not redirect and pool.legacy is Legacy.DROP and opening:
        return _DROPPED
    if not redirect and pool.legacy is Legacy.PIN:
        opening = False  # what the switch remembers is its secret, too
    if opening or len(pool.servers) == 1:
        return _slot(site, ip, pool, first)
    return _UNKNOWN


def _ping(site: _Site, ip: Family, first: packets.Fragment) -> _Verdict:
    """ICMP in fragments goes where pings go (row I1)."""
    target = ping_target(site.local, ip)
    match target:
        case IcmpPolicy.BALANCE:
            slots = site.local.slots(tuple(server.name for server in site.local.every))
            return _to(site, ip, (choose(slots, first.source, first.destination),)) if slots else _DROPPED
        case IcmpPolicy.DEFAULT:
            return _default(site, ip)
        case IcmpPolicy.DROP:
            return _DROPPED
        case _:
            return _to(site, ip, (target,))


def _slot(site: _Site, ip: Family, pool: RedirectPort, first: packets.Fragment) -> _Verdict:
    slots = site.local.slots(pool.servers)
    if not slots:
        return _DROPPED
    words = (first.source, first.destination, first.protocol, first.ports)
    return _to(site, ip, (choose(slots, *words),))
