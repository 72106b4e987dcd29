"""The tables: their numbers, the fields their flows may match, the tables they lead to, and their priorities."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from portlb_app.openflow import Action, Conntrack, Flow, Goto, Match, PopVlan, Resubmit
from portlb_app.pipeline.registers import CT_MARK, PUNT_KEY, REACHABILITY, SIDE, TURN


@dataclass(frozen=True)
class Table:
    """One OpenFlow table: the fields its flows may match, and the tables they may lead to."""

    name: str
    number: int
    fields: frozenset[str]
    goes_to: tuple[str, ...] = ()


def _table(name: str, number: int, fields: str, goes_to: str = "") -> Table:
    return Table(name, number, frozenset(fields.split()), tuple(goes_to.split()))


_IP = "eth_type ip_proto ip_dst ipv6_dst"
_PORTS_TO = "tcp_dst udp_dst sctp_dst"
_PORTS_FROM = "tcp_src udp_src sctp_src"
_WHEN = "vlan_vid ip_src ipv6_src ip_dscp"
"""What chooses among the pools of a redirect port (row L4)."""

CLASSIFY = _table("CLASSIFY", 0, f"{SIDE} in_port vlan_vid eth_src", "CLASSIFY NEIGHBOUR")
NEIGHBOUR = _table(
    "NEIGHBOUR",
    10,
    f"{SIDE} {REACHABILITY} in_port eth_src eth_dst eth_type ip_proto ip_src ip_dst ipv6_src ipv6_dst icmpv6_type "
    "udp_dst nd_target nd_sll arp_op arp_spa arp_tpa arp_sha",
    "SHARE ADVERTISE FRAGMENT SERVICE UPSTREAM PEER FORMER LOG PUNT",
)
SHARE = _table("SHARE", 12, f"{SIDE} {REACHABILITY} eth_type ip_proto ipv6_dst nw_ttl icmpv6_type")
ADVERTISE = _table("ADVERTISE", 15, f"{SIDE} eth_type ip_proto ipv6_dst nw_ttl icmpv6_type nd_target")
FRAGMENT = _table("FRAGMENT", 20, f"{REACHABILITY} eth_type ip_proto ip_frag ip_dst ipv6_dst", "ICMP DEFAULT PUNT")
ICMP = _table("ICMP", 30, f"{_IP} {REACHABILITY} icmp_type icmpv6_type", "SERVICE DEFAULT PUNT")
SERVICE = _table("SERVICE", 40, f"eth_dst {_IP} {_PORTS_TO} tcp_flags", "LABEL REDIRECT")
LABEL = _table("LABEL", 45, "eth_type ip_proto ipv6_dst ipv6_label", "REDIRECT")
REDIRECT = _table(
    "REDIRECT",
    50,
    f"{_IP} {_WHEN} {_PORTS_TO} {_PORTS_FROM} {REACHABILITY} tcp_flags",
    "PRESENCE TURNS LEGACY",
)
PRESENCE = _table("PRESENCE", 52, f"{SIDE} {_IP} tcp_dst tcp_flags")
TURNS = _table("TURNS", 55, f"{_IP} {REACHABILITY} {TURN} tcp_src tcp_dst", "PUNT")
LEGACY = _table("LEGACY", 60, f"{_IP} {_WHEN} {REACHABILITY} tcp_src tcp_dst tcp_flags", "DEFAULT PINNED PUNT")
PINNED = _table("PINNED", 62, f"{_IP} {_WHEN} {REACHABILITY} tcp_src tcp_dst tcp_flags ct_mark")
PIN = _table("PIN", 64, f"{_IP} {REACHABILITY} tcp_dst tcp_flags {CT_MARK}")
SIGNAL = _table("SIGNAL", 66, f"{SIDE} {_IP} {REACHABILITY} tcp_dst")
DEFAULT = _table("DEFAULT", 70, "eth_type ip_dst ipv6_dst")
UPSTREAM = _table(
    "UPSTREAM",
    80,
    "in_port eth_src eth_dst eth_type ip_proto ip_src ipv6_src ip_frag tcp_src udp_src sctp_src icmp_type icmpv6_type",
    "PEER LOG PUNT",
)
PEER = _table("PEER", 90, "eth_dst eth_type ip_dst ipv6_dst ip_proto arp_tpa icmpv6_type nd_target")
FORMER = _table("FORMER", 95, f"in_port eth_dst {_IP} tcp_dst tcp_flags")
LOG = _table("LOG", 100, f"{SIDE} eth_type ip_proto ip_src ip_dst ipv6_src ipv6_dst ip_frag tcp_flags", "PUNT")
PUNT = _table("PUNT", 110, f"{PUNT_KEY} in_port eth_type ip_proto tcp_dst")

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
    PRESENCE,
    TURNS,
    LEGACY,
    PINNED,
    PIN,
    SIGNAL,
    DEFAULT,
    UPSTREAM,
    PEER,
    FORMER,
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


class PipelineError(Exception):
    """A flow breaks its table's declaration: a mistake of the compiler, never of the user."""


def flow(
    table: Table, priority: int, match: Match, actions: tuple[Action, ...], cookie: int, reason: str
) -> Flow:
    """A flow that keeps to its table's declaration; PipelineError if it does not."""
    if not all([name in table.fields for name, _, _ in match.fields]):
        undeclared = {name for name, _, _ in match} - table.fields
        raise PipelineError(f"{table.name} does not declare {', '.join(sorted(undeclared))}")
    if priority == Priority.MISS and match.fields:
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


def resubmit(table: Table) -> Resubmit:
    """The action that also looks a packet up in `table`; a bucket or the controller can do it, too."""
    return Resubmit(table.number)


def untag() -> tuple[Action, ...]:
    """The actions that take a frame's tag off and begin again with it."""
    return (PopVlan(), resubmit(CLASSIFY))
