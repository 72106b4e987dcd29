"""The pipeline: every table, priority, register value, cookie and group number. No other file holds such a number.

A packet walks the tables in the order they stand here::

    CLASSIFY ─► NEIGHBOUR ─┬─► FRAGMENT ─► ICMP ─► SERVICE ─► LABEL ─► REDIRECT ─► LEGACY ─► DEFAULT
                           ├─► UPSTREAM ─► PEER
                           └─► SHARE, ADVERTISE

The first row is from clients to servers, the second from servers to clients and to each other, the third has neighbour
discovery: what every server gets, and the switch's own answers.

NEIGHBOUR and UPSTREAM look into LOG on their way, which copies to the controller what opens and closes connections.
From LEGACY a pinned port's packets go on to PINNED and PIN. What is handed up to the controller goes through PUNT, and
SYNs that it reads through SIGNAL, too.

A miss goes where its table says; a table without one drops. Few distinct masks per table: the cost of a lookup in
Open vSwitch grows with the masks of a table, not with its rules.
"""

from __future__ import annotations

import enum
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv6Address
from types import MappingProxyType

from portlb_app.net import packets
from portlb_app.net.packets import Address
from portlb_app.openflow import (
    ETH_IPV4,
    ETH_IPV6,
    IP_ICMP,
    IP_ICMPV6,
    IP_SCTP,
    IP_TCP,
    IP_UDP,
    Action,
    CheckLarger,
    Conntrack,
    CopyField,
    Flow,
    Goto,
    Group,
    Match,
    Meter,
    PopVlan,
    Resubmit,
    Selection,
    SetField,
)
from portlb_app.openflow.limits import LARGEST_FRAME, METERS_OF_A_KIND

REDIRECT_BIT, CONFIRM_BIT = packets.REDIRECT, packets.CONFIRM
"""The header bits REDIRECT and REDIRECT_CONFIRM as Open vSwitch's 12-bit ``tcp_flags`` shows them (byte 12 of the TCP
header, low nibble)."""
FIN = 0x001
SYN = 0x002
RST = 0x004
ACK = 0x010
FRAGMENTS = (1, 3)
"""``ip_frag`` of a first and of a later fragment (ovs-fields(7)); two exact values make one mask, one look-up."""
TRANSPORTS = (("tcp", IP_TCP), ("udp", IP_UDP), ("sctp", IP_SCTP))
"""The transports with ports, by the beginning of their fields' names."""


@dataclass(frozen=True)
class Family:
    """One version of IP: its match fields, and the numbers of its control protocol."""

    version: int
    eth_type: int
    source: str
    destination: str
    icmp: int
    icmp_type: str
    errors: tuple[int, ...]
    """ICMP types that quote the packet they are about."""
    echo: int
    echo_reply: int

    @property
    def from_servers(self) -> tuple[int, ...]:
        """ICMP types a server may send as its VIP: answers to pings, and errors."""
        return (self.echo_reply, *self.errors)

    def to(self, address: Address) -> dict[str, int]:
        """The match of packets to an address."""
        return {"eth_type": self.eth_type, self.destination: int(address)}

    def by(self, address: Address) -> dict[str, int]:
        """The match of packets from an address."""
        return {"eth_type": self.eth_type, self.source: int(address)}


_ERRORS = {4: tuple(sorted(packets.ICMP_ERRORS)), 6: tuple(sorted(packets.ICMP6_ERRORS))}
FAMILIES = {
    4: Family(4, ETH_IPV4, "ip_src", "ip_dst", IP_ICMP, "icmp_type", _ERRORS[4], 8, 0),
    6: Family(6, ETH_IPV6, "ipv6_src", "ipv6_dst", IP_ICMPV6, "icmpv6_type", _ERRORS[6], 128, 129),
}


def family(address: Address) -> Family:
    """The family an address is of."""
    return FAMILIES[address.version]


TTL = 64
"""What packets leave with that the switch itself makes: Linux's default."""
ND_SOLICIT, ND_ADVERTISE = 135, 136
ND_OTHERS = (133, 134, 137)
"""Neighbour discovery (RFC 4861, 4): solicitation, advertisement; router solicitation and advertisement, redirect."""
ND_SOLICITED, ND_OVERRIDE = 0x40000000, 0x20000000
"""Flags of an advertisement, in its first 32 bits behind the checksum (RFC 4861, 4.4)."""
ND_HOPS = 255
"""The hop limit of neighbour discovery: what came by a router has less (RFC 4861, 7.1.1 and 7.1.2)."""
MLD_QUERY = packets.MLD_QUERY
LINK_LOCAL = (0xFE80 << 112, ((1 << 64) - 1) << 64)
"""Link-local addresses (RFC 4291, 2.5.6), as address and mask: a host may have any, not only the one of its MAC address
(RFC 7217, and Linux's ``addr_gen_mode``)."""
ALL_NODES, ALL_NODES_MAC = IPv6Address("ff02::1"), 0x333300000001
"""The group of all hosts of the link, and its MAC address (RFC 4291, 2.7.1; RFC 2464, 7)."""
GROUP_MACS = (1 << 40, 1 << 40)
"""MAC addresses of groups (IEEE 802, 8.2.2), as address and mask. None is a sender's."""
LINK_GROUPS = (0xFF02 << 112, 0xFFFF << 112)
"""Groups of the link (RFC 4291, 2.7), as address and mask."""
ND_OPTION_TARGET = 2
"""Option "target link-layer address" (RFC 4861, 4.6.1)."""


def link_local(mac: int) -> IPv6Address:
    """The link-local address a host makes of its MAC address (RFC 4291, 2.5.1 and appendix A)."""
    high, low = (mac >> 24) ^ 0x020000, mac & 0xFFFFFF
    return IPv6Address(0xFE80 << 112 | high << 40 | 0xFFFE << 24 | low)


ROWS = 256
"""Buckets of a pool's group. More makes Open vSwitch fall back to hashing every connection in user space."""


class Side(enum.IntEnum):
    """Register 0: which side of the load balancer a packet came in from."""

    NETWORK = 1
    SERVER = 2
    LINK = 3
    """Another switch of ours."""


@dataclass(frozen=True)
class Table:
    """One OpenFlow table: what its flows may match, and which tables they may go to."""

    name: str
    number: int
    fields: frozenset[str]
    goes_to: tuple[str, ...] = ()


def _table(name: str, number: int, fields: str, goes_to: str = "") -> Table:
    return Table(name, number, frozenset(fields.split()), tuple(goes_to.split()))


_IP = "eth_type ip_proto ip_dst ipv6_dst"
_PORTS_TO = "tcp_dst udp_dst sctp_dst"

CLASSIFY = _table("CLASSIFY", 0, "in_port vlan_vid eth_src", "CLASSIFY NEIGHBOUR")
NEIGHBOUR = _table(
    "NEIGHBOUR",
    10,
    "reg0 reg2 in_port eth_src eth_dst eth_type ip_proto ip_src ip_dst ipv6_src ipv6_dst icmpv6_type nd_target nd_sll "
    "arp_op arp_spa arp_tpa arp_sha",
    "SHARE ADVERTISE FRAGMENT SERVICE UPSTREAM PEER LOG PUNT",
)
SHARE = _table("SHARE", 12, "reg0 reg2 eth_type ip_proto ipv6_dst nw_ttl icmpv6_type")
ADVERTISE = _table("ADVERTISE", 15, "reg0 eth_type ip_proto ipv6_dst nw_ttl icmpv6_type nd_target")
FRAGMENT = _table("FRAGMENT", 20, "reg2 eth_type ip_proto ip_frag ip_dst ipv6_dst", "ICMP DEFAULT PUNT")
ICMP = _table("ICMP", 30, f"{_IP} reg2 icmp_type icmpv6_type", "SERVICE DEFAULT PUNT")
SERVICE = _table("SERVICE", 40, f"eth_dst {_IP} {_PORTS_TO} tcp_flags", "LABEL REDIRECT")
LABEL = _table("LABEL", 45, "eth_type ip_proto ipv6_dst ipv6_label", "REDIRECT")
REDIRECT = _table("REDIRECT", 50, f"{_IP} {_PORTS_TO} reg2 tcp_flags", "LEGACY")
LEGACY = _table("LEGACY", 60, f"{_IP} reg2 tcp_dst tcp_flags", "DEFAULT PINNED PUNT")
PINNED = _table("PINNED", 62, f"{_IP} reg2 tcp_dst tcp_flags ct_mark")
PIN = _table("PIN", 64, f"{_IP} reg2 tcp_dst tcp_flags reg1")
SIGNAL = _table("SIGNAL", 66, f"{_IP} reg2 tcp_dst")
DEFAULT = _table("DEFAULT", 70, "eth_type ip_dst ipv6_dst")
UPSTREAM = _table(
    "UPSTREAM",
    80,
    "in_port eth_src eth_dst eth_type ip_proto ip_src ipv6_src ip_frag tcp_src udp_src sctp_src icmp_type icmpv6_type",
    "PEER LOG PUNT",
)
PEER = _table("PEER", 90, "eth_dst eth_type ip_dst ipv6_dst ip_proto arp_tpa icmpv6_type nd_target")
LOG = _table("LOG", 100, "reg0 eth_type ip_proto ip_src ip_dst ipv6_src ipv6_dst ip_frag tcp_flags", "PUNT")
PUNT = _table("PUNT", 110, "reg3 eth_type ip_proto tcp_dst")

TABLES = (
    CLASSIFY,
    NEIGHBOUR,
    SHARE,
    ADVERTISE,
    FRAGMENT,
    ICMP,
    SERVICE,
    LABEL,
    REDIRECT,
    LEGACY,
    PINNED,
    PIN,
    SIGNAL,
    DEFAULT,
    UPSTREAM,
    PEER,
    LOG,
    PUNT,
)
BY_NUMBER = {table.number: table for table in TABLES}


class Priority(enum.IntEnum):
    """Priorities within a table; a flow is as specific as its name says."""

    MISS = 0
    GENERAL = 100
    NARROW = 150
    SPECIFIC = 200
    FLOODED = 225
    PASSING = 250
    EXCEPTION = 300
    OVERRIDE = 400
    FIRST = 500
    TRACKED = 600


class Reason(enum.IntEnum):
    """Why a flow exists: bits 40-47 of its cookie, so that a dumped flow explains itself."""

    SIDE = 1
    ANSWER_ARP = 2
    SHARE_ARP = 3
    SERVER_ARP = 4
    TO_VIP = 5
    FROM_SERVER = 6
    FRAGMENT = 7
    ICMP_ERROR = 8
    NO_PORTS = 9
    SERVICE = 10
    REDIRECT = 11
    LEGACY = 12
    DEFAULT = 13
    OWN_PORT = 14
    FOREIGN_PORT = 15
    UNKNOWN_PORT = 16
    SERVER_ICMP = 17
    SERVER_FRAGMENT = 18
    MISS = 19
    ANSWER_ND = 20
    NEIGHBOUR_DISCOVERY = 21
    PEER = 22
    GATEWAY_ARP = 23
    MANAGEMENT = 24
    PIN = 26
    NAMED = 27
    REFUSED = 30
    QUERY = 31
    SIGNAL = 32
    OPENING = 33
    CLOSING = 34
    SERVER_CLOSING = 35
    TOO_LARGE = 36
    TRANSIT = 40


VIP_NUMBERS = 1 << 24
"""Numbers there are for VIPs; a configuration in which two have the same one is refused (`limits`)."""


def vip_number(name: str) -> int:
    """The number of a VIP that is given none: made from its name alone, so that other VIPs may come and go."""
    return zlib.crc32(name.encode()) % VIP_NUMBERS


COOKIE = 0x504C << 48
"""Bits 48-63 of every cookie of ours. A flow without them is somebody else's and never touched."""
COOKIE_MASK = 0xFFFF << 48


def cookie(reason: Reason, vip: int = 0, port: int = 0) -> int:
    """The cookie of a flow: owner (16 bits), reason (8), the number of the VIP (24), a port (16)."""
    return COOKIE | int(reason) << 40 | (vip & VIP_NUMBERS - 1) << 16 | port


@lru_cache(maxsize=4096)
def told_by(cookie: int) -> tuple[Reason | None, int, int]:
    """What a cookie says: reason (None if the cookie is none of ours), the number of the VIP, the port."""
    reason = cookie >> 40 & 0xFF
    known = cookie >> 48 == COOKIE >> 48 and reason in Reason.__members__.values()
    return (Reason(reason) if known else None), cookie >> 16 & VIP_NUMBERS - 1, cookie & 0xFFFF


GROUPS = 0x5 << 28
"""Bits 28-31 of the number of every group of ours."""
_GROUP_NUMBERS = (1 << 28) - 1
ROW_GROUP = GROUPS | _GROUP_NUMBERS
"""The group that finds out which row a packet has, whatever the pool: rows are numbered alike in all of them."""


@lru_cache(maxsize=65536)
def _first_group(kind: str, vip: int, version: int) -> int:
    digest = hashlib.blake2b(f"{kind} {vip} {version}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % _GROUP_NUMBERS


def pool_number(vip: int, reachability: int) -> int:
    """What the numbers of a VIP's groups for a reachability are made from; for the first it is the VIP's own number."""
    return vip + reachability * VIP_NUMBERS


def pool_group(vip: int, port: int, version: int) -> int:
    """The group of a redirect port's pool, one for each version of IP: a hash of the VIP's number, plus the port.

    So the groups of a VIP never meet, and none depends on another VIP; where those of two meet, the configuration is
    refused (`limits`).
    """
    return GROUPS | (_first_group("pool", vip, version) + port) % _GROUP_NUMBERS


def pin_group(vip: int, port: int, version: int) -> int:
    """The group that decides, by the same rows, where a plain client's connection is to be remembered."""
    return GROUPS | (_first_group("pin", vip, version) + port) % _GROUP_NUMBERS


def icmp_group(vip: int, version: int) -> int:
    """The group that spreads a VIP's ICMP over all of its servers: the one of port 0, which is nobody's."""
    return pool_group(vip, 0, version)


def is_our_group(number: int) -> bool:
    """Whether a group in a switch can be ours, by its number."""
    return number >> 28 == GROUPS >> 28


METERS = 0x5000
"""The first number of a meter of ours: a switch numbers its meters from 1, and may have only 65,535."""
_REASONS = (
    Reason.ICMP_ERROR,
    Reason.FRAGMENT,
    Reason.SIGNAL,
    Reason.SERVER_ICMP,
    Reason.SERVER_FRAGMENT,
    Reason.OPENING,
    Reason.CLOSING,
    Reason.SERVER_CLOSING,
    Reason.QUERY,
    Reason.REFUSED,
)
"""The kinds of meters, of `METERS_OF_A_KIND` each, in the order of their numbers; before them come services' rates."""
METER_MARK = 0x4C
"""The low byte of the burst of every meter of ours: a meter has no cookie, so this tells one from a foreign one."""


def _burst(least: int) -> int:
    """The smallest burst with the mark that is not less."""
    return least + (METER_MARK - least) % 0x100


def _meters(*rates: tuple[Reason, int, int]) -> Mapping[Reason, Meter]:
    return MappingProxyType(
        {
            reason: Meter(METERS + (_REASONS.index(reason) + 1) * METERS_OF_A_KIND, rate, _burst(burst))
            for reason, rate, burst in rates
        }
    )


PUNTED = _meters(
    (Reason.ICMP_ERROR, 500, 100),
    (Reason.FRAGMENT, 1000, 500),
    (Reason.SIGNAL, 1000, 250),
    (Reason.SERVER_ICMP, 200, 50),
    (Reason.SERVER_FRAGMENT, 1000, 500),
    (Reason.QUERY, 10, 10),
    (Reason.REFUSED, 200, 50),
)
"""Why a packet may be handed up to the controller, and how many a second: a meter for each reason and VIP (of SYNs: and
port), so that a flood of one starves no other. These are the ones of slot 0. One VIP's together are less than a
controller can judge (tests/bench/punt.py)."""
COPIED = _meters(
    (Reason.OPENING, 1000, 250),
    (Reason.CLOSING, 1000, 250),
    (Reason.SERVER_CLOSING, 1000, 250),
)
"""The same for packets of which only a copy is handed up, for the log of connections (row C2)."""
OF_ALL_VIPS = frozenset({Reason.SERVER_ICMP, Reason.QUERY, Reason.REFUSED})
"""What is handed up without a VIP, because it may be about any."""
HANDED_UP: Mapping[Reason, Meter] = MappingProxyType({**PUNTED, **COPIED})
"""All of these."""


def punt_meter(reason: Reason, slot: int) -> Meter:
    """The meter of a reason for the VIP (and port) that has this slot, from 0."""
    return replace(HANDED_UP[reason], number=HANDED_UP[reason].number + slot)


TOO_LARGE_METER = Meter(HANDED_UP[Reason.QUERY].number, 1, _burst(1))
"""What counts frames that are too large to be handed up, which are dropped behind it: a flow's counter also counts
those that are not. Its number is free, because queries have one meter in all, at another slot."""


def metered_reason(number: int) -> Reason | None:
    """Why packets are handed up that this meter counts, or are not (TOO_LARGE); None for a service's rate, or no meter
    of ours.
    """
    if number == TOO_LARGE_METER.number:
        return Reason.TOO_LARGE
    kind = (number - METERS) // METERS_OF_A_KIND
    return _REASONS[kind - 1] if 1 <= kind <= len(_REASONS) else None


def is_our_meter(number: int) -> bool:
    """Whether a meter in a switch can be ours, by its number."""
    return 0 <= number - METERS < (len(_REASONS) + 1) * METERS_OF_A_KIND


def is_ours(what: Group | Meter) -> bool:
    """Whether a group or meter is surely ours: by its number, and a mark that somebody else's would have by chance."""
    if isinstance(what, Group):
        return is_our_group(what.number) and what.selection == SELECTION
    return is_our_meter(what.number) and not what.opaque and what.burst % 0x100 == METER_MARK


LARGEST_BURST_KBIT = 525
"""64 kB, the largest datagram, and the largest a host's network card or kernel puts together: a rate's meter lets one
through, or it would never arrive. Open vSwitch drops what is more than a full bucket."""


def rate_meter(slot: int, rate: int) -> Meter:
    """The meter of a service's rate, in kbit/s: a tenth of a second may come at once, the largest packet always."""
    return Meter(METERS + slot, rate, _burst(max(rate // 10, LARGEST_BURST_KBIT)), "kbps")


TOO_LARGE = 31
"""The bit of register 3 that says that a frame is too large to be handed up."""


def punt_key(reason: Reason, vip: int) -> int:
    """Register 3, by which PUNT knows why a packet is handed up and about which VIP: reason (7 bits), number (24)."""
    return int(reason) << 24 | vip


def punt(reason: Reason, vip: int = 0) -> tuple[Action, ...]:
    """The actions that hand a packet up, or a copy of one that goes on: PUNT does it, if the frame is not too large."""
    return (SetField("reg3", punt_key(reason, vip)), CheckLarger(LARGEST_FRAME, TOO_LARGE), look_up(PUNT))


def tell_row(row: int) -> tuple[Action, ...]:
    """The actions of a row's bucket in `ROW_GROUP`: its number (from 0), plus one, goes up in a register."""
    return (SetField("reg1", row + 1), look_up(SIGNAL))


def row_told(register: int) -> int | None:
    """The row a packet came up with, by that register; None if none was told."""
    return register - 1 if 1 <= register <= ROWS else None


SELECTION = Selection("dp_hash", 0x504C0000)
"""How a pool's group hashes.

Datapath hash, so that no flow is made per connection; algorithm 0 covers addresses and ports in user space
(ofproto/group, "selection_method_param"). Every switch hashes alike, because the rows of switches that see a packet one
after the other agree (`selection.rows_among`).
"""


class PipelineError(Exception):
    """A flow that breaks the declaration above: our own mistake, never the user's."""


def flow(
    table: Table, priority: Priority, match: Match, actions: tuple[Action, ...], cookie: int, reason: str
) -> Flow:
    """A flow that keeps to its table's declaration; PipelineError if it does not."""
    if not all([name in table.fields for name, _, _ in match.fields]):
        undeclared = {name for name, _, _ in match} - table.fields
        raise PipelineError(f"{table.name} does not declare {', '.join(sorted(undeclared))}")
    if priority is Priority.MISS and match.fields:
        raise PipelineError(f"{table.name}: a miss matches everything")
    for position, action in enumerate(actions):
        if isinstance(action, Resubmit) and BY_NUMBER[action.table].name not in table.goes_to:
            raise PipelineError(f"{table.name} may not go to {BY_NUMBER[action.table].name}")
        if isinstance(action, Goto) or (isinstance(action, Conntrack) and action.table is not None):
            if position != len(actions) - 1:
                raise PipelineError(f"{table.name}: goto is the last action")
            if action.table is None or BY_NUMBER[action.table].name not in table.goes_to:
                raise PipelineError(f"{table.name} may not go to table {action.table}")
    return Flow(table.number, int(priority), match, actions, cookie, reason)


def match_all() -> Match:
    """The match of a table's miss."""
    return Match()


def goto(table: Table) -> Goto:
    """The action that continues in `table`."""
    return Goto(table.number)


def look_up(table: Table) -> Resubmit:
    """The action that looks a packet up in `table`, in a bucket or handed back by the controller, too."""
    return Resubmit(table.number)


def set_slot(mark: int) -> SetField:
    """The action by which a slot of a pool names its server, by its mark, for the table that remembers."""
    return SetField("reg1", mark)


PIN_ZONES = 0x6
"""Bits 12-15 of the conntrack zones in which plain clients' connections are remembered."""


def pin_zone(vip: int) -> int:
    """The conntrack zone of a VIP: by the low 12 bits of its number. Two VIPs may share one, and a limit set for it."""
    return PIN_ZONES << 12 | vip & 0xFFF


REASSEMBLY_ZONE = 0x504C
"""The conntrack zone fragments are put together in; nothing is ever committed to it."""


def reassemble(table: Table) -> Conntrack:
    """The action that continues in `table` with the whole of a fragmented packet (kernel datapath)."""
    return Conntrack(REASSEMBLY_ZONE, table.number)


def recall(vip: int, table: Table) -> Conntrack:
    """The action that continues in `table` with the mark of the server that a connection is remembered with, or 0."""
    return Conntrack(pin_zone(vip), table.number)


def remember(vip: int, mark: int) -> Conntrack:
    """The action that remembers a packet's connection with the mark of its server."""
    return Conntrack(pin_zone(vip), mark=mark)


def follow(vip: int) -> Conntrack:
    """The action that shows conntrack a server's packet: a connection that it sees one way only, it soon forgets."""
    return Conntrack(pin_zone(vip))


REACHABILITY = "reg2"
"""The register with the number of the reachability (`topology.Reachability`) of the port a packet came in by."""


PRIORITY_TAGGED = 0x1000
"""``vlan_vid`` of a frame with a tag that names no VLAN (IEEE 802.1Q, 9.6): VID 0, and the bit that there is a tag."""


def untag() -> tuple[Action, ...]:
    """Actions that look a frame up anew, without its tag."""
    return (PopVlan(), look_up(CLASSIFY))


def set_reachability(number: int) -> SetField:
    """Keep, for the rest of the walk, the number of the reachability of the port a packet came in by."""
    return SetField(REACHABILITY, number)


def set_side(side: Side) -> SetField:
    """The action that remembers, for the rest of the walk, where a packet came from."""
    return SetField("reg0", int(side))


def answer_arp(mac: int, address: int) -> tuple[Action, ...]:
    """Actions that turn an ARP request into its answer (RFC 826): whoever asked learns that `address` is at `mac`."""
    return (
        CopyField("eth_src", "eth_dst"),
        SetField("eth_src", mac),
        SetField("arp_op", 2),
        CopyField("arp_sha", "arp_tha"),
        CopyField("arp_spa", "arp_tpa"),
        SetField("arp_sha", mac),
        SetField("arp_spa", address),
    )


def answer_echo(mac: int, address: Address) -> tuple[Action, ...]:
    """Actions that turn an echo request into its reply (RFC 792, RFC 4443), checksums right.

    It leaves with a TTL or hop limit of its own (RFC 1122, 3.2.1.7), whatever is left of the request's.
    """
    ip = family(address)
    return (
        CopyField("eth_src", "eth_dst"),
        SetField("eth_src", mac),
        CopyField(ip.source, ip.destination),
        SetField(ip.source, int(address)),
        SetField("nw_ttl", TTL),
        SetField(ip.icmp_type, ip.echo_reply),
    )


def answer_nd(mac: int, address: int) -> tuple[Action, ...]:
    """Actions that turn a neighbour solicitation around: an advertisement but for what ADVERTISE adds."""
    return (
        CopyField("eth_src", "eth_dst"),
        SetField("eth_src", mac),
        CopyField("ipv6_src", "ipv6_dst"),
        SetField("ipv6_src", address),
        SetField("icmpv6_type", ND_ADVERTISE),
    )


def advertise(mac: int) -> tuple[Action, ...]:
    """Actions that complete an advertisement (RFC 4861, 7.2.4).

    The option with the asker's link-layer address becomes the one with the target's; where there is none, the answer
    has none either.
    """
    return (
        *_through_register("nd_reserved", ND_SOLICITED | ND_OVERRIDE),
        *_through_register("nd_options_type", ND_OPTION_TARGET),
        SetField("nd_tll", mac),
    )


def advertise_to_all() -> tuple[Action, ...]:
    """Actions that complete an advertisement for who has no address yet: to all hosts, not solicited (RFC 4861, 7.2.4).

    Such a question has no option with a link-layer address (RFC 4861, 4.3), so the answer has none.
    """
    return (
        SetField("eth_dst", ALL_NODES_MAC),
        SetField("ipv6_dst", int(ALL_NODES)),
        *_through_register("nd_reserved", ND_OVERRIDE),
    )


def _through_register(name: str, value: int) -> tuple[Action, ...]:
    """Actions that set a field beyond OpenFlow's. On the kernel datapath Open vSwitch (seen in 3.1) refuses to set it,
    and copies to it, in user space, where such packets are answered anyway.
    """
    return (SetField("reg1", value), CopyField("reg1", name))
