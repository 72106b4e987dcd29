"""The numbers and rates of our meters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from portlb_app.openflow import Meter
from portlb_app.openflow.limits import METERS_OF_A_KIND
from portlb_app.pipeline.reasons import Reason

METERS = 0x3000
"""The first number of a meter of ours. A switch numbers its meters from 1, and may have only 65,535."""
_KINDS: tuple[Reason | None, ...] = (
    Reason.HANDED_BACK,
    Reason.TO_CHECKER,
    None,
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
"""The kinds of meters in the order of their numbers, `METERS_OF_A_KIND` each; None: services' rates."""
METER_SIGNATURE = 0x4C
"""The low byte of the burst of every meter of ours. Meters have no cookie; this tells ours from foreign ones."""


def _burst(least: int) -> int:
    """The smallest burst with the signature that is not less."""
    return least + (METER_SIGNATURE - least) % 0x100


def _meters(*rates: tuple[Reason, int, int]) -> Mapping[Reason, Meter]:
    return MappingProxyType(
        {
            reason: Meter(METERS + _KINDS.index(reason) * METERS_OF_A_KIND, rate, _burst(burst))
            for reason, rate, burst in rates
        }
    )


_OF_CONNECTORS = METERS_OF_A_KIND // 2
HEARTBEATS = METERS + _KINDS.index(Reason.REFUSED) * METERS_OF_A_KIND
"""The first number of a meter of heartbeats: each connector has one. The numbers are the first half of those of
`Reason.REFUSED`, which uses a single one of the second half."""

_PUNTED = _meters(
    (Reason.ICMP_ERROR, 500, 100),
    (Reason.FRAGMENT, 1000, 500),
    (Reason.SIGNAL, 1000, 1000),
    (Reason.SERVER_ICMP, 200, 50),
    (Reason.SERVER_FRAGMENT, 1000, 500),
    (Reason.QUERY, 10, 10),
    (Reason.REFUSED, 200, 50),
    (Reason.TO_CHECKER, 200, 50),
)
PUNTED: Mapping[Reason, Meter] = MappingProxyType(
    {
        **_PUNTED,
        Reason.HEARTBEAT: Meter(HEARTBEATS, 5, _burst(10)),
        Reason.ASKED: Meter(_PUNTED[Reason.QUERY].number + 1, 1000, _burst(250)),
    }
)
"""The reasons for which a packet is handed up, each with its meter of index 0 (packets a second, burst).

Every reason and VIP has a meter of its own (SYNs: every reason, VIP and port), so that a flood of one starves no other.
Answers to checks have a meter for each connector, so that no server keeps the others' from the controller.
All meters of one VIP together let through less than a controller can judge (tests/bench/punt.py)."""
COPIED = _meters(
    (Reason.OPENING, 1000, 250),
    (Reason.CLOSING, 1000, 250),
    (Reason.SERVER_CLOSING, 1000, 250),
)
"""The same for packets of which only a copy is handed up, for the log of connections (row C2)."""
OF_ALL_VIPS = frozenset({Reason.SERVER_ICMP, Reason.QUERY, Reason.REFUSED, Reason.TO_CHECKER, Reason.ASKED})
"""The reasons whose meters are no VIP's, because the packet may be about any of them: one meter, or one for each
connector (TO_CHECKER)."""
HANDED_UP: Mapping[Reason, Meter] = MappingProxyType({**PUNTED, **COPIED})
"""All reasons for which a packet or a copy is handed up."""


HAND_BACK = Meter(METERS + _KINDS.index(Reason.HANDED_BACK) * METERS_OF_A_KIND, 100_000, _burst(20_000))
"""The meter of what servers of a VIP hand back, of index 0. It is for attackers: the packets of a gigabit's downloads
pass, and segments of no connection at all cannot take much more of a switch than they do without a second chance."""


def hand_back_meter(index: int) -> Meter:
    """The meter of what servers hand back of the VIP that has this index, from 0."""
    return replace(HAND_BACK, number=HAND_BACK.number + index)


def punt_meter(reason: Reason, index: int) -> Meter:
    """The meter of a reason for the VIP (and port) that has this index, from 0."""
    return replace(HANDED_UP[reason], number=HANDED_UP[reason].number + index)


def heartbeat_meter(connector: int) -> Meter:
    """The meter for the heartbeats of the servers on a connector, by its OpenFlow port: each server has one a second.

    Two connectors whose numbers differ by a multiple of 2048 share one.
    """
    return replace(HANDED_UP[Reason.HEARTBEAT], number=HEARTBEATS + connector % _OF_CONNECTORS)


TOO_LARGE_METER = Meter(HANDED_UP[Reason.QUERY].number, 1, _burst(1))
"""Counts frames that are too large to be handed up; they are dropped behind it. (The counter of the flow that hands up
counts the others as well.) Its number is free: queries have one meter in all, at another index. So is the next one,
which answers to questions have (ASKED)."""
_SINGLE = {TOO_LARGE_METER.number: Reason.TOO_LARGE, HANDED_UP[Reason.ASKED].number: Reason.ASKED}


def metered_reason(number: int) -> Reason | None:
    """The reason for which packets of this meter are handed up, or not (TOO_LARGE); None for a service's rate, or a
    foreign meter.
    """
    if number in _SINGLE:
        return _SINGLE[number]
    if 0 <= number - HEARTBEATS < _OF_CONNECTORS:
        return Reason.HEARTBEAT
    kind = (number - METERS) // METERS_OF_A_KIND
    return _KINDS[kind] if 0 <= kind < len(_KINDS) else None


LARGEST_BURST_KBIT = 525
"""64 kB: the largest datagram, and the largest packet that a network card or kernel assembles. The meter of a rate must
let one through, or it would never arrive: Open vSwitch drops whatever exceeds a full bucket."""


def rate_meter(index: int, rate: int) -> Meter:
    """The meter of a service's rate, in kbit/s: a tenth of a second may come at once, and always the largest packet."""
    first = METERS + _KINDS.index(None) * METERS_OF_A_KIND
    return Meter(first + index, rate, _burst(max(rate // 10, LARGEST_BURST_KBIT)), "kbps")


def is_our_meter(number: int) -> bool:
    """Whether a meter in a switch may be ours, by its number."""
    return 0 <= number - METERS < len(_KINDS) * METERS_OF_A_KIND
