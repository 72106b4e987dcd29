"""Actions: what a flow or bucket does with a packet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from portlb_app.openflow.fields import FIELDS, WHOLE_PACKET
from portlb_app.openflow.text import PORTS, value_text


@dataclass(frozen=True, order=True)
class Output:
    """Send the packet out of an OpenFlow port."""

    port: int

    def __str__(self) -> str:
        return PORTS.get(self.port, f"output:{self.port}")


@dataclass(frozen=True, order=True)
class ToGroup:
    """Hand the packet to a group."""

    group: int

    def __str__(self) -> str:
        return f"group:{self.group}"


@dataclass(frozen=True, order=True)
class ToMeter:
    """Drop the packet if it exceeds a meter; else go on with the next action."""

    meter: int

    def __str__(self) -> str:
        return f"meter:{self.meter}"


@dataclass(frozen=True, order=True)
class PopVlan:
    """Remove the outermost VLAN tag (OpenFlow 1.5.1, 7.2.6.6)."""

    def __str__(self) -> str:
        return "pop_vlan"


@dataclass(frozen=True, order=True)
class SetQueue:
    """Use this queue of the port that the packet leaves by (OpenFlow 1.5.1, 7.2.6.4)."""

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
    """Hand a copy of the whole packet up to the controller, unless it exceeds a meter; the packet itself goes on.

    Open vSwitch only (ovs-actions(7), "controller", ``meter_id``).
    """

    meter: int

    def __str__(self) -> str:
        return f"controller(max_len={WHOLE_PACKET},meter_id={self.meter})"


@dataclass(frozen=True, order=True)
class CheckLarger:
    """Set a bit of reg3 if the frame has more than `size` bytes, not counting a VLAN tag; else clear it.

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
        return f"set_field:{value_text(self.name, self.value)}->{self.name}"


@dataclass(frozen=True, order=True)
class CopyField:
    """Copy a field to another of the same width, or its low bits to a narrower one."""

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
    """Send a packet through conntrack (ovs-actions(7), "ct").

    With a `table`, the packet continues there, with its connection's mark in ``ct_mark``, and reassembled if it came in
    fragments (kernel datapath only); this is the last action. With a `mark`, conntrack remembers the connection with
    that mark, as a new one if it knows it in the opposite direction. With neither, conntrack only sees the packet.
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
    """Also look the packet up in a table, then go on here (ovs-actions(7)). Buckets can do this, but not `Goto`."""

    table: int

    def __str__(self) -> str:
        return f"resubmit(,{self.table})"


@dataclass(frozen=True, order=True)
class Learn:
    """Make a flow that ends `seconds` later, or have it last for so long again; one of its key is replaced.

    It matches `fields` (names and values) and writes `value` into the register `target`. Open
    vSwitch only (ovs-actions(7), "learn").
    """

    table: int
    seconds: int
    priority: int
    cookie: int
    fields: tuple[tuple[str, int], ...]
    target: str
    value: int

    def __str__(self) -> str:
        matched = "".join(f"{name}={value_text(name, value)}," for name, value in self.fields)
        head = f"table={self.table},hard_timeout={self.seconds},priority={self.priority},cookie={self.cookie:#x}"
        return f"learn({head},{matched}load:{self.value:#x}->NXM_NX_{self.target.upper()}[])"


@dataclass(frozen=True, order=True)
class Opaque:
    """An action read from a switch that no flow of ours has."""

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
    | Learn
    | Opaque
)


def actions_text(actions: Iterable[Action]) -> str:
    """Actions as ovs-ofctl text; no action is ``drop``."""
    return ",".join(map(str, actions)) or "drop"
