"""What the reference says, in a switch's terms."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace

from portlb_app.config import Config, Switch
from portlb_app.pipeline import HANDED_UP, OF_ALL_VIPS, Reason, make_cookie, vip_number
from tests.ovs import switch as ovs
from tests.ovs.bridge import Bridge, Changes, Seen
from tests.support.generate import mac_text
from tests.support.reference import (
    LOCAL,
    All,
    Answer,
    AnyOf,
    Copied,
    Ip,
    OneOf,
    Outcome,
    Packet,
    Punted,
    Reassembled,
    To,
    ToHost,
    ToNetwork,
    received,
)

REASONS = {reason.name.lower(): reason for reason in HANDED_UP}


def changes(before: Packet, after: Packet) -> Changes:
    """What of a packet's addresses is rewritten."""
    found = {(f"eth_{end}", mac_text(getattr(after, f"eth_{end}"))) for end in ("src", "dst")}
    found -= {(f"eth_{end}", mac_text(getattr(before, f"eth_{end}"))) for end in ("src", "dst")}
    if isinstance(before.payload, Ip) and isinstance(after.payload, Ip):
        for end, name in (("ip_src", "source"), ("ip_dst", "destination")):
            if getattr(before.payload, name) != getattr(after.payload, name):
                found.add((end, str(getattr(after.payload, name))))
    return frozenset(found)


def arriving(config: Config, switch: Switch, packet: Packet, outcome: Outcome) -> list[tuple[int, Packet]]:
    """What arrives where of a packet: ports of a switch, and what it looks like there."""
    of_several = (AnyOf, OneOf, All)
    servers = {To: lambda: {outcome.server}, **dict.fromkeys(of_several, lambda: outcome.servers)}
    if isinstance(outcome, ToNetwork):
        return [(switch.network, outcome.packet)]
    if isinstance(outcome, ToHost):
        return [(LOCAL, packet)]
    by_name = config.server_by_name
    names = servers[type(outcome)]() if type(outcome) in servers else ()
    return [(by_name[name].connector.port, received(config, by_name[name], packet)) for name in names]


def expected(config: Config, packet: Packet, switch: Switch, outcome: Outcome) -> Seen:
    """An outcome in a switch's terms."""
    if isinstance(outcome, Answer):
        return Seen(answered=True)
    if isinstance(outcome, Reassembled):
        return Seen(reassembled=True)
    if isinstance(outcome, Punted):
        return Seen(cookie=handed_up(config, packet, outcome))
    arrivals = arriving(config, switch, packet, outcome)
    deliveries = frozenset((port, changes(packet, after)) for port, after in arrivals)
    return Seen(deliveries, chosen=type(outcome) is AnyOf)


def settled(want: Seen, seen: Seen, outcome: Outcome) -> Seen:
    """What is wanted, where which of several servers it is does not matter: the one that was seen."""
    is_one = isinstance(outcome, OneOf) and len(seen.deliveries) == 1 and seen.deliveries <= want.deliveries
    return replace(want, deliveries=seen.deliveries) if is_one else want


def handed_up(config: Config, packet: Packet, outcome: Punted | Copied) -> int:
    """The cookie that tells the controller why."""
    assert isinstance(packet.payload, Ip)
    reason = REASONS[outcome.reason]
    port = packet.payload.destination_port if reason is Reason.SIGNAL else 0
    if outcome.vip is None or reason in OF_ALL_VIPS:
        return make_cookie(reason)
    return make_cookie(reason, vip_number(outcome.vip), port)


def masks(switch: ovs.Switch, bridge: Bridge) -> dict[str, set[str]]:
    """The distinct masks of each table of a switch: what its classifier has to try, one after the other."""
    result = defaultdict(set)
    for line in switch.dump_flows(bridge.name):
        words = line.partition(" actions=")[0].replace(",", " ").split()
        table = next((word for word in words if word.startswith("table=")), "table=0")
        shapes = []
        for word in words:
            name, _, value = word.partition("=")
            if name in ("tcp", "udp", "icmp"):
                shapes.append("ip protocol")
            elif name not in ("cookie", "table", "priority"):
                shapes.append(name + (value if value.startswith(("+", "-")) else value.partition("/")[2]))
        result[table].add(" ".join(shapes))
    return dict(result)


def without_group_bits(masks: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same without the bits of the source port that choose one of a large pool's groups."""
    return {table: {re.sub(" tp_src0x[0-9a-f]+", "", shape) for shape in shapes} for table, shapes in masks.items()}
