"""The log's values: what a copy of a segment says, and records, within bounds for all and for each source.

A source is an IPv4 address, or an IPv6 network of 64 bits, whose host has all of its addresses.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from portlb_app.config import Address


class EndReason(str, enum.Enum):
    """How a connection ended."""

    FIN = "fin"
    RESET = "reset"
    UNKNOWN = "unknown"
    """Nothing of its end was seen."""


class TcpEvent(str, enum.Enum):
    """What became of a copy, or of a record; all are counted."""

    OPENED = "opened"
    """A SYN: a new record."""
    CLOSED = "closed"
    """The first FIN of a connection."""
    CONFIRMED = "confirmed"
    """The FIN of its other side."""
    RESET = "reset"
    """A RST of a connection that no side had reset and not both had closed."""
    UNOPENED = "unopened"
    """A FIN or RST of a connection whose SYN is not known: a new record. Counted as closed or reset, too."""
    REPEATED = "repeated"
    """It says what is known already."""
    UNKNOWN = "unknown"
    """A record got no end in time, or its client opened anew."""
    FORGOTTEN = "forgotten"
    """A record had to go before its time, to make room."""
    MALFORMED = "malformed"
    """It is cut off, or not what the switch says it is."""
    QUEUE = "queue"
    """It was lost in the controller: more came than it can look at."""


@dataclass(frozen=True)
class Connection:
    """One record. None is what is not known.

    `opened_on` is the port of the SYN, `continued_on` that of the end: another one where the client was redirected.
    `opened` and `closed` are times; `closed` is that of the last side's FIN, as far as seen. `how` is None for a
    connection that has not ended. `heard`: a number that is larger, the later something was last heard of it.
    """

    vip: str
    client: Address
    client_port: int
    opened_on: int | None
    continued_on: int | None
    server: str | None
    opened: float | None
    closed: float | None
    how: EndReason | None
    heard: int = field(default=0, compare=False)


class Client(NamedTuple):
    """The client's end of connections to a VIP."""

    vip: str
    address: Address
    port: int

    @property
    def source(self) -> int:
        """The source it counts for, as a number."""
        if self.address.version == 4:
            return int(self.address)
        return int(self.address) >> 64 | 1 << 64


class Side(enum.Flag):
    """The sides that have closed a connection."""

    CLIENT = enum.auto()
    SERVER = enum.auto()


NEITHER = Side(0)
BOTH = Side.CLIENT | Side.SERVER


@dataclass(slots=True)
class Record:
    """One connection. `since` is when it came into its kind, `last` when something was last heard.

    None is what is not known: `opened_on` and `opened` without a SYN; `continued_on`, `closed` and `how` without an
    end. `first_number`, `last_number`: the client's sequence numbers in the SYN, and in an end that came before it.
    `heard`: which of all that was heard came last of it.
    """

    client: Client
    since: float
    last: float
    opened_on: int | None = None
    first_number: int | None = None
    continued_on: int | None = None
    server: str | None = None
    opened: float | None = None
    closed: float | None = None
    how: EndReason | None = None
    ended_by: Side = NEITHER
    last_number: int | None = None
    heard: int = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing more can come of it but repetitions."""
        return self.how is EndReason.RESET or self.ended_by is BOTH


class Records:
    """Records of one kind, the oldest first: at most `most`, of one source at most `most_of_one`.

    An OrderedDict has its oldest at hand. A dict looks for it among all that were there before it.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most, self._most_of_one = most, most_of_one
        self._all: OrderedDict[int, Record] = OrderedDict()
        self._by_source: dict[int, OrderedDict[int, Record]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._all.values())

    def __contains__(self, record: Record) -> bool:
        return id(record) in self._all

    @property
    def oldest(self) -> Record | None:
        """The record that is here longest."""
        return next(iter(self._all.values()), None)

    def add(self, record: Record) -> Record | None:
        """Add a record; return the one that had to go for it. A source with too many loses its own oldest."""
        own = self._by_source.get(record.client.source, OrderedDict())
        gone = None
        if len(own) >= self._most_of_one:
            gone = next(iter(own.values()))
        elif len(self._all) >= self._most:
            gone = self.oldest
        if gone is not None:
            self.discard(gone)
        self._all[id(record)] = record
        self._by_source.setdefault(record.client.source, OrderedDict())[id(record)] = record
        return gone

    def discard(self, record: Record) -> None:
        """Remove a record, if it is here."""
        if self._all.pop(id(record), None) is None:
            return
        own = self._by_source[record.client.source]
        del own[id(record)]
        if not own:
            del self._by_source[record.client.source]
