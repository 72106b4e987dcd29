"""The load balancer's log of connections and of when they were closed (row C2). Pure: copies of segments go in.

A switch sends copies of what opens and closes the connections of a VIP with ``log: true`` (`compiler.log`). They make
one record per connection, whose key is the client's address and port at that VIP: a redirected connection opens on port
X and goes on as one on port Y, but the client's end of it stays the same. ::

    SYN to X                        opened on X                              ─┐
    FIN or RST to Y, or from Y      continued on Y, closed, fin or reset      ├─ one record
    FIN of the other side           the same record, closed now              ─┘

What the log knows is what arrived. A copy may be missing (a meter, a lost packet, a backlog), so an end without a
beginning makes a record that says so, and a record that nothing ends is ended as ``unknown`` when it is old, or when
its client opens anew. Sequence numbers are not looked at but to tell a repeated SYN from a new one: who can send with a
client's address can write a wrong end of its connection.

Bounds: `OPEN` records without an end and `ENDED` ones with, each kind for so many seconds. The oldest of a kind goes
first, so SYNs alone push out no record that has an end.

Time is an argument: seconds of any monotonic clock.
"""

from __future__ import annotations

import enum
import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from portlb_app import packets
from portlb_app.compiler.place import Place
from portlb_app.config import Address
from portlb_app.pipeline import ACK, FIN, RST, SYN, Reason

OPEN = 16384
"""Records without an end."""
ENDED = 16384
"""Records with an end."""
OPEN_SECONDS = 86400.0
"""How long a record waits for its end."""
ENDED_SECONDS = 86400.0
"""How long a record with an end is kept."""
LINGER_SECONDS = 60.0
"""How long after both sides closed, or one reset, a further FIN or RST is still about that connection."""


class How(str, enum.Enum):
    """How a connection ended."""

    FIN = "fin"
    RESET = "reset"
    UNKNOWN = "unknown"
    """Nothing of its end was seen."""


class Copy(str, enum.Enum):
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
    connection that has not ended.
    """

    vip: str
    client: Address
    client_port: int
    opened_on: int | None
    continued_on: int | None
    server: str | None
    opened: float | None
    closed: float | None
    how: How | None


_Key = tuple[str, Address, int]


class _Side(enum.Flag):
    CLIENT = enum.auto()
    SERVER = enum.auto()


_NOBODY = _Side(0)
_BOTH = _Side.CLIENT | _Side.SERVER


@dataclass(slots=True)
class _Record:
    """`since` is when it came into its kind, `last` when something was last heard."""

    key: _Key
    since: float
    last: float
    opened_on: int | None = None
    first_number: int | None = None
    continued_on: int | None = None
    server: str | None = None
    opened: float | None = None
    closed: float | None = None
    how: How | None = None
    ended_by: _Side = _NOBODY

    @property
    def is_over(self) -> bool:
        """Whether nothing more can come of it but repetitions."""
        return self.how is How.RESET or self.ended_by is _BOTH


class ConnectionLog:
    """The records of all VIPs, within bounds (numbers of records), and counts of what became of copies."""

    def __init__(self, most_open: int = OPEN, most_ended: int = ENDED) -> None:
        self._most_open, self._most_ended = most_open, most_ended
        self._latest: dict[_Key, _Record] = {}
        self._open: dict[int, _Record] = {}
        self._ended: dict[int, _Record] = {}
        self._counts: Counter[Copy] = Counter()

    @property
    def counts(self) -> Mapping[Copy, int]:
        """How many copies or records, by what became of them."""
        return dict(self._counts)

    @property
    def open(self) -> int:
        """Records without an end."""
        return len(self._open)

    @property
    def ended(self) -> int:
        """Records with an end."""
        return len(self._ended)

    def count(self, what: Copy) -> None:
        """Count a copy that is not looked at."""
        self._counts[what] += 1

    def latest(self, most: int, vip: str | None = None) -> list[Connection]:
        """The `most` records, of one VIP or of all, of which something was heard last; the newest first."""
        records: Iterable[_Record] = reversed((*self._ended.values(), *self._open.values()))  # ties: the later first
        if vip is not None:
            records = (record for record in records if record.key[0] == vip)
        return [_told(record) for record in heapq.nlargest(most, records, key=lambda record: record.last)]

    def take(self, place: Place, reason: Reason, in_port: int, frame: bytes, now: float) -> None:
        """Take a copy of what came in on a port of a switch where the VIP is at `place`."""
        segment = packets.tcp(frame)
        if segment is None:
            self._counts[Copy.MALFORMED] += 1
            return
        flags, addresses = segment.flags & (SYN | FIN | RST | ACK), place.vip.addresses
        if reason is Reason.OPENING and flags == SYN and segment.destination in addresses:
            self._opens(place, segment, now)
        elif reason is Reason.CLOSING and flags & (FIN | RST) and segment.destination in addresses:
            key = (place.vip.name, segment.source, segment.sport)
            self._ends(key, _Side.CLIENT, segment.dport, _owner(place, segment.dport), flags, now)
        elif reason is Reason.SERVER_CLOSING and flags & (FIN | RST) and segment.source in addresses:
            key = (place.vip.name, segment.destination, segment.dport)
            server = _attached(place, in_port) or _owner(place, segment.sport)
            self._ends(key, _Side.SERVER, segment.sport, server, flags, now)
        else:
            self._counts[Copy.MALFORMED] += 1

    def expire(self, now: float) -> None:
        """End records that are too old to wait for their end, and forget those that ended too long ago."""
        while self._open and (record := _first(self._open)).since <= now - OPEN_SECONDS:
            self._end(record, How.UNKNOWN, now)
        while self._ended and (record := _first(self._ended)).since <= now - ENDED_SECONDS:
            self._forget(self._ended, record)

    def _opens(self, place: Place, segment: packets.Segment, now: float) -> None:
        key = (place.vip.name, segment.source, segment.sport)
        known = self._latest.get(key)
        if known is not None and (known.first_number, known.opened_on) == (segment.seq, segment.dport):
            self._counts[Copy.REPEATED] += 1
            return
        if known is not None and known.how is None:
            self._end(known, How.UNKNOWN, now)
        self._counts[Copy.OPENED] += 1
        server = _owner(place, segment.dport)
        self._add(_Record(key, now, now, segment.dport, segment.seq, None, server, opened=now))

    def _ends(self, key: _Key, side: _Side, port: int, server: str | None, flags: int, now: float) -> None:
        record = self._latest.get(key)
        if record is None or (record.is_over and record.last < now - LINGER_SECONDS):
            self._counts[Copy.UNOPENED] += 1
            record = self._latest[key] = _Record(key, now, now)
        is_reset = bool(flags & RST)
        if record.is_over or (side in record.ended_by and not is_reset):
            self._counts[Copy.REPEATED] += 1
            return
        how = How.RESET if is_reset else How.FIN
        first = Copy.CONFIRMED if record.ended_by else Copy.CLOSED
        self._counts[Copy.RESET if is_reset else first] += 1
        record.continued_on, record.closed, record.last = port, now, now
        record.server = server or record.server
        record.ended_by |= side
        if record.how is None:
            self._end(record, how, now)
        record.how = how

    def _add(self, record: _Record) -> None:
        """Put in a record without an end; the oldest of its kind goes if there are too many."""
        if len(self._open) >= self._most_open:
            self._counts[Copy.FORGOTTEN] += 1
            self._forget(self._open, _first(self._open))
        self._open[id(record)] = self._latest[record.key] = record

    def _end(self, record: _Record, how: How, now: float) -> None:
        """Put a record among those with an end."""
        if how is How.UNKNOWN:
            self._counts[Copy.UNKNOWN] += 1
        if len(self._ended) >= self._most_ended:
            self._counts[Copy.FORGOTTEN] += 1
            self._forget(self._ended, _first(self._ended))
        self._open.pop(id(record), None)
        record.how, record.since = how, now
        self._ended[id(record)] = record

    def _forget(self, kind: dict[int, _Record], record: _Record) -> None:
        del kind[id(record)]
        if self._latest.get(record.key) is record:
            del self._latest[record.key]


def _first(kind: dict[int, _Record]) -> _Record:
    return next(iter(kind.values()))


def _told(record: _Record) -> Connection:
    return Connection(
        *record.key,
        opened_on=record.opened_on,
        continued_on=record.continued_on,
        server=record.server,
        opened=record.opened,
        closed=record.closed,
        how=record.how,
    )


def _owner(place: Place, port: int) -> str | None:
    """The server that owns a port, if nobody shares it."""
    shared = any(pool.port == port for pool in place.vip.redirect_ports)
    return None if shared else place.owners.get(port)


def _attached(place: Place, in_port: int) -> str | None:
    """The server on a connector, if it is there alone."""
    here = [server.name for server in place.attached if server.connector.port == in_port]
    return here[0] if len(here) == 1 else None
