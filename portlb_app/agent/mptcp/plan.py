"""What is to be done so that the kernel announces what is wanted, and nothing of before. All functions are pure."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from portlb_app.agent.mptcp.announced import Announced
from portlb_app.agent.mptcp.endpoints import Endpoint

FEWEST_SUBFLOWS = 2
"""Subflows that a connection may have at least, beside its first: the kernel's own default."""
MOST_SUBFLOWS = 8


class Do(enum.Enum):
    """What a step does with an endpoint, or with the address of one."""

    ANNOUNCE = enum.auto()
    ADD_BACKUP = enum.auto()
    SET_BACKUP = enum.auto()
    SET_NO_BACKUP = enum.auto()
    DELETE = enum.auto()


class Step(NamedTuple):
    """One step; `id` 0: the kernel chooses."""

    do: Do
    address: IPv4Address | IPv6Address
    port: int = 0
    id: int = 0


def steps(wanted: Collection[Announced], former: Collection[Announced], present: Collection[Endpoint]) -> list[Step]:
    """Return the steps from what is `present` to what is `wanted`; `former`: what was wanted before.

    Announcements come first, and those that are no longer wanted go last: until then data has a way.
    """
    announced = {(each.vip, each.port) for each in wanted}
    own = {each.own for each in wanted}
    signalled = {(each.address, each.port) for each in present if "signal" in each.flags}
    plain = {each.address: each for each in present if not each.port}
    made = [Step(Do.ANNOUNCE, *each) for each in sorted(announced - signalled, key=_order)]
    for address in sorted(own, key=lambda each: (each.version, each)):
        if address not in plain:
            made.append(Step(Do.ADD_BACKUP, address))
        elif "backup" not in plain[address].flags:
            made.append(Step(Do.SET_BACKUP, address, id=plain[address].id))
    gone = [each for each in former if each not in wanted]
    return [*made, *_withdrawn(gone, own, present)]


def _withdrawn(
    gone: Collection[Announced], own: Collection[IPv4Address | IPv6Address], present: Collection[Endpoint]
) -> Iterator[Step]:
    for each in present:
        if not each.port and "backup" in each.flags and each.address in {its.own for its in gone} - set(own):
            yield Step(Do.SET_NO_BACKUP, each.address, id=each.id)
    for each in present:
        if "signal" in each.flags and (each.address, each.port) in {(its.vip, its.port) for its in gone}:
            yield Step(Do.DELETE, each.address, each.port, each.id)


def left_over(former: Collection[Announced], present: Collection[Endpoint]) -> list[Endpoint]:
    """Return endpoints that do nothing any more, of what was wanted before.

    The kernel closes a connection's first subflow with its address's endpoint, so they go when no connection is open.
    """
    own = {each.own for each in former}
    return [each for each in present if not each.port and not each.flags and each.address in own]


def limit(wanted: Collection[Announced], present: int) -> int:
    """Return how many subflows more a connection may have: one for each address announced, never fewer than now."""
    return min(MOST_SUBFLOWS, max(present, FEWEST_SUBFLOWS, len(wanted)))


def _order(announced: tuple[IPv4Address | IPv6Address, int]) -> tuple[int, int, int]:
    address, port = announced
    return address.version, int(address), port
