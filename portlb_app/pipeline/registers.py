"""What tables tell each other about a packet: Open vSwitch's registers, each range of bits under a name of its own.

Four values share a register: no packet has two of them at once::

    name           bits         written by                     read by
    SIDE           reg0         CLASSIFY, the controller       CLASSIFY to ADVERTISE, PRESENCE, LOG
    CT_MARK        reg1         the buckets of a pinned pool   PIN
    SLOT           reg1         the buckets of `SLOT_GROUP`    the controller, in the packet-in message
    TURN           reg1         PRESENCE                       TURNS
    ND_VALUE       reg1         ADVERTISE                      the next action
    REACHABILITY   reg2         CLASSIFY, LEGACY               NEIGHBOUR to SIGNAL
    PUNT_KEY       reg3, 0-30   flows that hand up             PUNT
    TOO_LARGE      reg3, 31     flows that hand up             PUNT
    SERVER         reg4         the buckets of pools           the controller, in the group's description
    LATEST_FORMERS, EARLIER_FORMERS, EARLIEST_FORMERS
                   reg5 - reg7  the same                       the same
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from portlb_app.openflow import SetField

SIDE = "reg0"
"""The side of the load balancer that a packet came in from (`Side`)."""
CT_MARK = "reg1"
"""The conntrack mark of the server that a slot names."""
SLOT = "reg1"
"""The slot a SYN has, plus one; 0 means none."""
TURN = "reg1"
"""1: the controller decides which server gets a SYN, by turns."""
ND_VALUE = "reg1"
"""A constant on its way into a field of neighbour discovery that cannot be set directly."""
REACHABILITY = "reg2"
"""The number of the reachability (`topology.Reachability`) of the port a packet came in by."""
PUNT_KEY = "reg3"
"""Why a packet is handed up, and about which VIP: reason (bits 24-30), number of the VIP (bits 0-23)."""
SERVER = "reg4"
"""The number of the server that a slot names, whichever server the switch can reach instead. No table reads it."""
LATEST_FORMERS, EARLIER_FORMERS, EARLIEST_FORMERS = FORMER_REGISTERS = ("reg5", "reg6", "reg7")
"""The servers that a slot had before, latest first, two numbers of 16 bits in each. No table reads them."""
UNREAD = (SERVER, *FORMER_REGISTERS)
"""What buckets write for the controller alone: it changes nothing of a packet's way."""
TOO_LARGE = 31
"""The bit beside the key that says that a frame is too large to be handed up."""

SLOTS = 256
"""Buckets of a pool's group. More would make Open vSwitch hash every connection in user space."""


class Side(enum.IntEnum):
    """A side of the load balancer."""

    NETWORK = 1
    SERVER = 2
    LINK = 3
    """Another switch of the same load balancer."""
    CHECK = 4
    """The controller, which checks servers: it sets the register itself, with the packet that it has a switch send."""
    ASK = 5
    """The controller, which asks for the slot of a packet; it sets the register likewise."""
    PRESENT = 6
    """The controller, which says that it takes turns, or takes none; likewise."""


def from_side(side: Side) -> Mapping[str, int]:
    """The match of packets that came in from a side."""
    return {SIDE: side}


def set_side(side: Side) -> SetField:
    """The action that keeps the side for the rest of the walk."""
    return SetField(SIDE, int(side))


def set_reachability(number: int) -> SetField:
    """The action that keeps the number of the ingress port's reachability for the rest of the walk."""
    return SetField(REACHABILITY, number)


def load_ct_mark(mark: int) -> SetField:
    """The action by which a slot of a pinned pool names its server to PIN."""
    return SetField(CT_MARK, mark)


def load_server(number: int) -> SetField:
    """The action by which a bucket says whose slot it is, so that a group tells this when it is read."""
    return SetField(SERVER, number)


def load_slot(slot: int) -> SetField:
    """The action that puts a slot (from 0) into the packet-in message."""
    return SetField(SLOT, slot + 1)


def parse_slot(register: int) -> int | None:
    """The slot in a packet-in message; None if it has none."""
    return register - 1 if 1 <= register <= SLOTS else None
