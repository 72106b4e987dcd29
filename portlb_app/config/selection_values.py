"""How a redirect port selects servers, as values."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

MAX_WHEN = 16
"""Entries of a port's ``when``: a packet is compared with each of their kinds."""
MAX_PERIOD = 86400
MAX_RATE = 1000
"""SYNs a second of a port for which the controller may take turns: its meter lets no more through."""
_RATE = re.compile(r"([1-9][0-9]{0,3})/s")
Network = IPv4Network | IPv6Network


class Algorithm(str, enum.Enum):
    """Which server a new connection gets (rows L1 to L3)."""

    HASH = "hash"
    """That of its slot, by a hash of addresses and ports."""
    SOURCE = "source"
    """That of its slot, by a hash of the client's address alone, or of its network."""
    RANDOM = "random"
    """That of its slot; which server a slot names is drawn anew every period."""
    ROUND_ROBIN = "round-robin"
    """That of its slot; every period each slot gets the next server, and after the last one the first."""
    ELEVATOR = "elevator"
    """That of its slot; every period each slot gets the next server, up the list and down again."""
    LEAST = "least"
    """That of its slot; a server with more load than others has fewer slots."""
    LEAST_PACKETS = "least-packets"
    """That of its slot; slots move from servers that get many packets to others."""


FEEDBACK = frozenset({Algorithm.LEAST, Algorithm.LEAST_PACKETS})
"""The algorithms that move slots as servers are loaded."""
RESHUFFLING = frozenset({Algorithm.RANDOM, Algorithm.ROUND_ROBIN, Algorithm.ELEVATOR})
"""Those that give all slots other servers every period."""

TURNING = frozenset({Algorithm.ROUND_ROBIN, Algorithm.ELEVATOR})
"""Those of them by turns, which the controller may take instead."""


@dataclass(frozen=True, order=True)
class Moves:
    """How many slots a second may move from one server that works to another; None: all at once, 0: none."""

    per_second: int | None = None

    @classmethod
    def of(cls, text: object) -> Moves:
        """The value of a text: ``free``, ``never`` or ``N/s``; ValueError for anything else."""
        if text in ("free", "never"):
            return FREE if text == "free" else NEVER
        found = _RATE.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise ValueError("free, never, or a number of slots a second like 2/s is expected")
        return cls(int(found[1]))

    def __str__(self) -> str:
        return {None: "free", 0: "never"}.get(self.per_second, f"{self.per_second}/s")


FREE, NEVER = Moves(None), Moves(0)


class Turns(str, enum.Enum):
    """Whose turns `ROUND_ROBIN` and `ELEVATOR` are."""

    SLOTS = "slots"
    """All slots get other servers every period."""
    CONTROLLER = "controller"
    """The controller decides for each SYN with REDIRECT; for all other packets, and while it is away, slots do."""


@dataclass(frozen=True, order=True)
class Selecting:
    """An algorithm and what it needs.

    `prefix4`, `prefix6`: bits of the client's address that `SOURCE` hashes. `period`: seconds between two reshuffles,
    or turns, of all slots. `turns`: whose they are; `rate`: how many SYNs a second the controller takes at most.
    """

    algorithm: Algorithm = Algorithm.HASH
    prefix4: int = 32
    prefix6: int = 128
    period: int = 60
    turns: Turns = Turns.SLOTS
    rate: int = 500

    @property
    def reshuffles(self) -> bool:
        """Whether all slots get other servers again and again."""
        return self.algorithm in RESHUFFLING and self.turns is Turns.SLOTS


@dataclass(frozen=True)
class When:
    """Packets that another pool of the VIP gets, that of the redirect port `pool` (row L4).

    From this network, with this code point, in this VLAN; None: whatever it is.
    """

    pool: int
    source: Network | None = None
    dscp: int | None = None
    vlan: int | None = None
