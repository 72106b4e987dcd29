"""OpenFlow as plain values: what a switch shall hold, and what it does hold.

The compiler makes these values, the wire reads them back from a switch, and `plan` compares the two. Every value is
frozen and hashable, and ``str()`` of it is text that ``ovs-ofctl -O OpenFlow15`` accepts.

Fields and actions are the small set the pipeline uses. A flow read from a switch that uses anything else keeps the
bytes in an `Opaque` action or an ``opaque`` match, so that it differs from every flow we want and is put right.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType
from typing import Literal

ETH_IPV4 = 0x0800
ETH_ARP = 0x0806
ETH_IPV6 = 0x86DD
IP_ICMP = 1
IP_TCP = 6
IP_UDP = 17
IP_ICMPV6 = 58
IP_SCTP = 132

IN_PORT = 0xFFFFFFF8
"""The reserved port that means "back where the packet came from" (OpenFlow 1.5.1, 7.2.1.1)."""
CONTROLLER = 0xFFFFFFFD
"""The reserved port that means "to the controller" (OpenFlow 1.5.1, 7.2.1.1)."""
WHOLE_PACKET = 0xFFFF
"""How many bytes of a packet go to the controller: all, and the switch keeps none (OFPCML_NO_BUFFER)."""


LOCAL = 0xFFFFFFFE
"""The reserved port that is the bridge's own interface on its host (OpenFlow 1.5.1, 7.2.1.1)."""
_PORTS = {IN_PORT: "in_port", LOCAL: "LOCAL"}


class Kind(enum.Enum):
    """How a field's number is written as text."""

    NUMBER = "number"
    PORT = "port"
    HEX = "hex"
    MAC = "mac"
    IPV4 = "ipv4"
    IPV6 = "ipv6"
    FRAG = "frag"


@dataclass(frozen=True)
class Field:
    """A match field: its text form and its width in bits."""

    kind: Kind
    bits: int


FIELDS: Mapping[str, Field] = MappingProxyType(
    {
        "reg0": Field(Kind.HEX, 32),
        "reg1": Field(Kind.HEX, 32),
        "reg2": Field(Kind.HEX, 32),
        "reg3": Field(Kind.HEX, 32),
        "ct_mark": Field(Kind.HEX, 32),
        "in_port": Field(Kind.PORT, 32),
        "vlan_vid": Field(Kind.HEX, 13),
        "eth_src": Field(Kind.MAC, 48),
        "eth_dst": Field(Kind.MAC, 48),
        "eth_type": Field(Kind.HEX, 16),
        "ip_proto": Field(Kind.NUMBER, 8),
        "ip_src": Field(Kind.IPV4, 32),
        "ip_dst": Field(Kind.IPV4, 32),
        "ipv6_src": Field(Kind.IPV6, 128),
        "ipv6_dst": Field(Kind.IPV6, 128),
        "ipv6_label": Field(Kind.HEX, 20),
        "ip_dscp": Field(Kind.NUMBER, 6),
        "nw_ttl": Field(Kind.NUMBER, 8),
        "ip_frag": Field(Kind.FRAG, 2),
        "tcp_src": Field(Kind.NUMBER, 16),
        "tcp_dst": Field(Kind.NUMBER, 16),
        "tcp_flags": Field(Kind.HEX, 12),
        "udp_src": Field(Kind.NUMBER, 16),
        "udp_dst": Field(Kind.NUMBER, 16),
        "sctp_src": Field(Kind.NUMBER, 16),
        "sctp_dst": Field(Kind.NUMBER, 16),
        "icmp_type": Field(Kind.NUMBER, 8),
        "icmpv6_type": Field(Kind.NUMBER, 8),
        "nd_target": Field(Kind.IPV6, 128),
        "nd_sll": Field(Kind.MAC, 48),
        "nd_tll": Field(Kind.MAC, 48),
        "nd_reserved": Field(Kind.HEX, 32),
        "nd_options_type": Field(Kind.NUMBER, 8),
        "arp_op": Field(Kind.NUMBER, 16),
        "arp_spa": Field(Kind.IPV4, 32),
        "arp_tpa": Field(Kind.IPV4, 32),
        "arp_sha": Field(Kind.MAC, 48),
        "arp_tha": Field(Kind.MAC, 48),
    }
)
"""Every field the pipeline may use, in the order they are written; names as in ovs-fields(7)."""

_ORDER = {name: position for position, name in enumerate(FIELDS)}
_PROTOCOLS = {
    (ETH_IPV4, IP_TCP): "tcp",
    (ETH_IPV4, IP_UDP): "udp",
    (ETH_IPV4, IP_ICMP): "icmp",
    (ETH_IPV4, IP_SCTP): "sctp",
    (ETH_IPV4, None): "ip",
    (ETH_IPV6, IP_TCP): "tcp6",
    (ETH_IPV6, IP_UDP): "udp6",
    (ETH_IPV6, IP_ICMPV6): "icmp6",
    (ETH_IPV6, IP_SCTP): "sctp6",
    (ETH_IPV6, None): "ipv6",
    (ETH_ARP, None): "arp",
}
_MAC = re.compile(r"[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}")
_FRAG = {0: "no", 1: "first", 3: "later"}
_FRAG_MASKED = {(1, 1): "yes", (0, 2): "not_later"}


def mac_text(value: int) -> str:
    """The usual colon form of a 48-bit MAC address."""
    return ":".join(f"{byte:02x}" for byte in value.to_bytes(6, "big"))


def mac_number(text: str) -> int:
    """The 48-bit number of a colon-separated MAC address; ValueError if it is none."""
    if not _MAC.fullmatch(text):
        raise ValueError(f"{text!r} is not a MAC address like 02:00:00:00:00:01")
    return int(text.replace(":", ""), 16)


def _value_text(name: str, value: int) -> str:
    kind = FIELDS[name].kind
    if kind is Kind.MAC:
        return mac_text(value)
    if kind is Kind.IPV4:
        return str(IPv4Address(value))
    if kind is Kind.IPV6:
        return str(IPv6Address(value))
    if kind is Kind.HEX:
        return f"{value:#x}"
    if kind is Kind.FRAG:
        return _FRAG.get(value, str(value))
    if kind is Kind.PORT:
        return _PORTS.get(value, str(value))
    return str(value)


@dataclass(frozen=True)
class Match:
    """What packets a flow is for: (field, value, mask) in the order of `FIELDS`; mask None means all bits.

    ``opaque`` holds what was read from a switch and is no field of ours.
    """

    fields: tuple[tuple[str, int, int | None], ...] = ()
    opaque: str = ""

    def __iter__(self) -> Iterator[tuple[str, int, int | None]]:
        return iter(self.fields)

    def __lt__(self, other: Match) -> bool:
        return self.rank < other.rank

    @property
    def rank(self) -> tuple[list[tuple[str, int, int]], str]:
        """What matches are sorted by; a field without a mask comes before the same one with a mask."""
        return [(name, value, -1 if mask is None else mask) for name, value, mask in self.fields], self.opaque

    def __str__(self) -> str:
        named = {name: value for name, value, mask in self.fields if mask is None}
        eth_type, ip_proto = named.get("eth_type"), named.get("ip_proto")
        words = []
        hidden: set[str] = set()
        if eth_type is not None and (keyword := _PROTOCOLS.get((eth_type, ip_proto))):
            words.append(keyword)
            hidden = {"eth_type", "ip_proto"}
        for name, value, mask in self.fields:
            if name in hidden:
                continue
            if mask is None:
                words.append(f"{name}={_value_text(name, value)}")
            elif name == "ip_frag" and (value, mask) in _FRAG_MASKED:
                words.append(f"{name}={_FRAG_MASKED[value, mask]}")
            else:
                words.append(f"{name}={_value_text(name, value)}/{_value_text(name, mask)}")
        if self.opaque:
            words.append(f"<{self.opaque}>")
        return ",".join(words)


def match(**fields: int | IPv4Address | IPv6Address | tuple[int, int]) -> Match:
    """A match from keywords; a tuple is (value, mask). KeyError or ValueError for what is no field or doesn't fit."""
    entries: list[tuple[str, int, int | None]] = []
    for name, full in _in_order(tuple(fields)):
        given = fields[name]
        value, mask = given if isinstance(given, tuple) else (int(given), None)
        if mask == full:
            mask = None
        if value & ~full or (mask is not None and (mask & ~full or value & ~mask)):
            raise ValueError(f"{name}: {value:#x} with mask {mask} does not fit {FIELDS[name].bits} bits")
        entries.append((name, value, mask))
    return Match(tuple(entries))


@lru_cache(maxsize=1024)
def _in_order(names: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """Fields in the order of `FIELDS`, each with its mask of all bits. Matches have few combinations of fields."""
    return tuple((name, (1 << FIELDS[name].bits) - 1) for name in sorted(names, key=_ORDER.__getitem__))


@dataclass(frozen=True, order=True)
class Output:
    """Send the packet out of an OpenFlow port."""

    port: int

    def __str__(self) -> str:
        return _PORTS.get(self.port, f"output:{self.port}")


@dataclass(frozen=True, order=True)
class ToGroup:
    """Hand the packet to a group."""

    group: int

    def __str__(self) -> str:
        return f"group:{self.group}"


@dataclass(frozen=True, order=True)
class ToMeter:
    """Drop the packet if it is more than a meter lets through; else go on with the next action."""

    meter: int

    def __str__(self) -> str:
        return f"meter:{self.meter}"


@dataclass(frozen=True, order=True)
class PopVlan:
    """Take the outermost VLAN tag off (OpenFlow 1.5.1, 7.2.6.6)."""

    def __str__(self) -> str:
        return "pop_vlan"


@dataclass(frozen=True, order=True)
class SetQueue:
    """Send the packet, where it goes out, through this queue of the port (OpenFlow 1.5.1, 7.2.6.4)."""

    queue: int

    def __str__(self) -> str:
        return f"set_queue:{self.queue}"


@dataclass(frozen=True, order=True)
class ToController:
    """Hand the whole packet up to the controller; the packet-in carries the flow's cookie."""

    def __str__(self) -> str:
        return f"controller:{WHOLE_PACKET}"


@dataclass(frozen=True, order=True)
class CopyToController:
    """Hand a copy of the whole packet up to the controller, if a meter lets it through; the packet itself goes on.

    Open vSwitch only (ovs-actions(7), "controller", ``meter_id``).
    """

    meter: int

    def __str__(self) -> str:
        return f"controller(max_len={WHOLE_PACKET},meter_id={self.meter})"


@dataclass(frozen=True, order=True)
class CheckLarger:
    """Set a bit of reg3 if the frame has more than so many bytes, without a VLAN tag; clear it if not.

    Open vSwitch only (ovs-actions(7), "check_pkt_larger"), from 2.12 on.
    """

    size: int
    bit: int

    def __str__(self) -> str:
        return f"check_pkt_larger({self.size})->NXM_NX_REG3[{self.bit}]"


@dataclass(frozen=True, order=True)
class SetField:
    """Write a constant into a field."""

    name: str
    value: int

    def __str__(self) -> str:
        return f"set_field:{_value_text(self.name, self.value)}->{self.name}"


@dataclass(frozen=True, order=True)
class CopyField:
    """Copy a field over another of the same width, or as many of its low bits as a narrower one has."""

    source: str
    target: str

    @property
    def bits(self) -> int:
        """How many bits are copied."""
        return FIELDS[self.target].bits

    def __str__(self) -> str:
        low = "" if self.bits == FIELDS[self.source].bits else f"0..{self.bits - 1}"
        return f"move:{self.source}[{low}]->{self.target}[]"


@dataclass(frozen=True, order=True)
class Goto:
    """Continue in a later table; always the last action of a flow."""

    table: int

    def __str__(self) -> str:
        return f"goto_table:{self.table}"


@dataclass(frozen=True)
class Conntrack:
    """Have conntrack look at a packet (ovs-actions(7), "ct").

    With a `table` the packet continues there, with the mark of its connection in ``ct_mark``, and whole if it came in
    fragments (kernel datapath only); always the last action then. With a `mark` the connection is remembered with that
    mark, anew if the packet goes against the direction in which it was known. With neither, conntrack only sees it.
    """

    zone: int
    table: int | None = None
    mark: int | None = None

    def __str__(self) -> str:
        words = [] if self.mark is None else ["commit", "force"]
        words += [] if self.table is None else [f"table={self.table}"]
        words += [f"zone={self.zone}"]
        words += [] if self.mark is None else [f"exec(set_field:{self.mark:#x}->ct_mark)"]
        return f"ct({','.join(words)})"


@dataclass(frozen=True, order=True)
class Resubmit:
    """Look the packet up in a table as well, then go on here (ovs-actions(7)); a bucket can do it, and not `Goto`."""

    table: int

    def __str__(self) -> str:
        return f"resubmit(,{self.table})"


@dataclass(frozen=True, order=True)
class Opaque:
    """Something read from a switch that no flow of ours contains."""

    text: str

    def __str__(self) -> str:
        return f"<{self.text}>"


Action = (
    Output
    | ToGroup
    | ToMeter
    | ToController
    | PopVlan
    | SetQueue
    | CopyToController
    | CheckLarger
    | SetField
    | CopyField
    | Goto
    | Conntrack
    | Resubmit
    | Opaque
)


def actions_text(actions: Iterable[Action]) -> str:
    """Actions as ovs-ofctl text; no action is ``drop``."""
    return ",".join(map(str, actions)) or "drop"


FlowKey = tuple[int, int, Match]


@dataclass(frozen=True)
class Flow:
    """One OpenFlow flow. ``reason`` says in a sentence why it exists; it is a comment and never compared."""

    table: int
    priority: int
    match: Match
    actions: tuple[Action, ...]
    cookie: int
    reason: str = field(default="", compare=False)

    def __hash__(self) -> int:
        """Worked out once: a flow of a large network is in some sets, one after the other."""
        known: int | None = self.__dict__.get("_hash")
        if known is None:
            known = hash((self.table, self.priority, self.match, self.actions, self.cookie))
            object.__setattr__(self, "_hash", known)
        return known

    def __getstate__(self) -> dict[str, object]:
        """Without the hash: another process has other hashes of text."""
        return {name: value for name, value in self.__dict__.items() if name != "_hash"}

    @property
    def key(self) -> FlowKey:
        """What identifies a flow in a switch (OpenFlow 1.5.1, 5.2)."""
        return (self.table, self.priority, self.match)

    def __str__(self) -> str:
        matching = f",{self.match}" if str(self.match) else ""
        return (
            f"cookie={self.cookie:#018x}, table={self.table}, priority={self.priority}{matching} "
            f"actions={actions_text(self.actions)}"
        )


@dataclass(frozen=True)
class Selection:
    """How a select group hashes: the method, and its parameter (low 32 bits: basis; high 32: algorithm)."""

    method: str
    parameter: int


@dataclass(frozen=True)
class Group:
    """One OpenFlow group. Bucket *i* has bucket id *i* and weight 1 (weight 0, i.e. none, in an ``all`` group)."""

    number: int
    type: Literal["select", "all"]
    buckets: tuple[tuple[Action, ...], ...]
    selection: Selection | None = None

    def __str__(self) -> str:
        words = [f"group_id={self.number}", f"type={self.type}"]
        if self.selection:
            words.append(f"selection_method={self.selection.method}")
            words.append(f"selection_method_param={self.selection.parameter}")
        weight = "weight:1," if self.type == "select" else ""
        for number, actions in enumerate(self.buckets):
            words.append(f"bucket=bucket_id:{number},{weight}actions={actions_text(actions)}")
        return ",".join(words)


@dataclass(frozen=True)
class Meter:
    """One OpenFlow meter: what exceeds `rate`, after a burst of `burst`, is dropped.

    In packets a second and packets (``pktps``), or in kilobits a second and kilobits (``kbps``). ``opaque`` holds what
    was read from a switch and is no meter of ours.
    """

    number: int
    rate: int
    burst: int
    unit: Literal["pktps", "kbps"] = "pktps"
    opaque: str = ""

    def __str__(self) -> str:
        foreign = f",<{self.opaque}>" if self.opaque else ""
        band = f"type=drop,rate={self.rate},burst_size={self.burst}"
        return f"meter={self.number},{self.unit},burst,stats,band={band}{foreign}"


@dataclass(frozen=True)
class SwitchState:
    """The flows, groups and meters of one switch that are ours: desired (compiled) or actual (read back)."""

    flows: frozenset[Flow] = frozenset()
    groups: frozenset[Group] = frozenset()
    meters: frozenset[Meter] = frozenset()

    @cached_property
    def group_by_number(self) -> Mapping[int, Group]:
        """Groups by group id."""
        return {group.number: group for group in self.groups}

    @cached_property
    def meter_by_number(self) -> Mapping[int, Meter]:
        """Meters by meter id."""
        return {meter.number: meter for meter in self.meters}

    @property
    def ordered_flows(self) -> list[Flow]:
        """Flows in packet order: by table, highest priority first."""
        return sorted(self.flows, key=lambda flow: (flow.table, -flow.priority, flow.match.rank))

    @property
    def ordered_groups(self) -> list[Group]:
        """Groups by number."""
        return sorted(self.groups, key=lambda group: group.number)

    @property
    def ordered_meters(self) -> list[Meter]:
        """Meters by number."""
        return sorted(self.meters, key=lambda meter: meter.number)
