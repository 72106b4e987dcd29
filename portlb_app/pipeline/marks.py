"""Marks: MAC addresses of ours that stand for the servers a slot had before (docs/second-chance.md).

A bucket of a slot that has moved gives its packets a mark as source. A server's agent gives a segment that is not for
it back with the mark as destination. So a mark is an individual, locally administered address: 0x504c, the owner of our
cookies, with that bit set, and 32 bits for the servers; 0 means that there are none::

    52 4c : servers (32 bits)

What a group tells when it is read are numbers of servers, two in a register, latest first
(`registers.FORMER_REGISTERS`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache

from portlb_app.openflow import Action, SetField
from portlb_app.pipeline.registers import FORMER_REGISTERS

_BITS = 16
"""Of a server's number."""
FORMERS = 2 * len(FORMER_REGISTERS)
"""The most servers that a slot remembers."""
NUMBERS = 1 << _BITS
"""How many numbers there are for the former servers of a VIP; 0 is none."""
_PREFIX = 0x524C << 32
MARKS = (_PREFIX, 0xFFFF << 32)
"""All marks, as MAC address and mask. No host of the configuration may have such an address."""
NO_MARK = _PREFIX
"""The mark of a packet that no further server is to be tried for."""


@lru_cache(maxsize=4096)
def mark(vip: int, servers: tuple[str, ...]) -> int:
    """The mark that stands for these servers of a VIP, latest first.

    It is made from their names, so it stays when others come and go. Two of a thousand marks are the same once in ten
    thousand networks; then some packets go to a server that does not know them.
    """
    if not servers:
        return NO_MARK
    digest = hashlib.blake2b("\0".join((str(vip), *servers)).encode(), digest_size=4).digest()
    return _PREFIX | max(1, int.from_bytes(digest, "big"))


def is_mark(mac: int) -> bool:
    """Whether a MAC address is one of ours."""
    return mac & MARKS[1] == MARKS[0]


def load_formers(numbers: Sequence[int]) -> tuple[Action, ...]:
    """The actions by which a bucket says which servers its slot had before, so that a group tells this when read."""
    padded = (*numbers, *(0,) * FORMERS)[:FORMERS]
    pairs = (padded[at] << _BITS | padded[at + 1] for at in range(0, FORMERS, 2))
    return tuple(SetField(name, pair) for name, pair in zip(FORMER_REGISTERS, pairs, strict=True) if pair)


def parse_formers(actions: Iterable[Action]) -> tuple[int, ...]:
    """The numbers of the servers that a bucket names so."""
    loaded = {each.name: each.value for each in actions if isinstance(each, SetField)}
    pairs = (loaded.get(name, 0) for name in FORMER_REGISTERS)
    return tuple(number for pair in pairs for number in (pair >> _BITS, pair & NUMBERS - 1) if number)
