"""Marks: MAC addresses of ours that name the servers a slot had before (docs/second-chance.md).

A mark has 16 bits of ours, the number of the latest former server, and the number of the one before; 0 is none::

    52 4c : latest (16 bits) : before (16 bits)

A bucket of a slot that has moved gives its packets the mark as source. A server's agent gives a segment that is not for
it back with the mark as destination. So the mark is an individual, locally administered address: 0x504c, the owner of
our cookies, with that bit set.
"""

from __future__ import annotations

from collections.abc import Sequence

from portlb_app.openflow import Action, CopyField, SetField

FORMERS = 2
"""The most servers that a mark names."""
_BITS = 16
"""Of a server's number."""
_PREFIX = 0x524C << FORMERS * _BITS
NUMBERS = 1 << _BITS
"""How many numbers there are for the servers of a VIP in marks; 0 is none."""
MARKS = (_PREFIX, 0xFFFF << FORMERS * _BITS)
"""All marks, as MAC address and mask. No host of the configuration may have such an address."""


def mark(numbers: Sequence[int]) -> int:
    """The mark that names these servers, latest first; the empty one for none."""
    latest, before = (*numbers, 0, 0)[:FORMERS]
    return _PREFIX | latest << _BITS | before


def parse_mark(mac: int) -> tuple[int, ...] | None:
    """The numbers in a mark, latest first; None if the address is no mark."""
    if mac & MARKS[1] != MARKS[0]:
        return None
    return tuple(number for number in (mac >> _BITS & NUMBERS - 1, mac & NUMBERS - 1) if number)


def marked_latest(number: int) -> tuple[int, int]:
    """The marks whose latest former server has this number, as MAC address and mask."""
    return mark((number,)), MARKS[1] | (NUMBERS - 1) << _BITS


def set_mark(numbers: Sequence[int]) -> SetField:
    """The action that marks a packet to a server."""
    return SetField("eth_src", mark(numbers))


def mark_the_rest() -> tuple[Action, ...]:
    """The actions that mark a packet with what its destination names, but for the latest former server."""
    return (set_mark(()), CopyField("eth_dst", "eth_src", (_BITS, 0, _BITS)))
