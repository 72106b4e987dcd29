"""The load balancer's log of connections and of when they were closed (row C2). Pure: copies of segments go in.

A switch sends copies of what opens and closes the connections of a VIP with ``log: true`` (`compiler.log`). They make
one record per connection. A connection is told by the client's address and port and the VIP's port; a redirected one
opens on port X and goes on as one on a port Y whose application is X. ::

    SYN to X                        opened on X                              ─┐
    FIN or RST to Y, or from Y      continued on Y, closed, fin or reset      ├─ one record
    FIN of the other side           the same record, closed now              ─┘

What the log knows is what arrived. A copy may be missing (a meter, a lost packet, a full queue), so an end without a
beginning makes a record that says so, and a record that nothing ends is ended as ``unknown`` when it is old, or when
its client opens anew. Sequence numbers only tell a repeated SYN from a new one, and a late one: a host that can send
with a client's address can write a wrong end of its connection.

Bounds: `OPEN` records without an end, `ENDED` ones of which both a beginning and an end were seen, and `PARTIAL` ones
that lack either; each kind for so many seconds, and `OF_ONE_SOURCE` of one source. The oldest of a kind goes first,
and each kind has a bound of its own: SYNs alone, or resets alone, push out no record that has a beginning and an end.

Time is an argument: seconds of any monotonic clock.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Mapping

from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Address
from portlb_app.net import packets
from portlb_app.pipeline import ACK, FIN, RST, SYN, Reason
from portlb_app.punt.records import Client, Connection, EndReason, Record, Records, Side, TcpEvent

OPEN = 16384
"""Records without an end."""
ENDED = 16384
"""Records with a beginning and an end."""
PARTIAL = 8192
"""Records with an end, of which the beginning or the end was not seen."""
OF_ONE_SOURCE = 4096
"""Records of each kind of which the client is at one IPv4 address, or in one IPv6 network of 64 bits."""
OPEN_SECONDS = 86400.0
"""How long a record waits for its end."""
ENDED_SECONDS = 86400.0
"""How long a record with an end is kept."""
REORDER_SECONDS = 2.0
"""How much later than its end the SYN of a connection may arrive: switches send copies each on a connection of its own,
so a SYN seen at the entrance may be overtaken by the end that another switch saw."""
LINGER_SECONDS = 60.0
"""How long after both sides closed, or one reset, a further FIN or RST is still about that connection."""


class ConnectionLog:
    """The records of all VIPs, within bounds (numbers of records), and counts of what became of copies."""

    def __init__(
        self,
        most_open: int = OPEN,
        most_ended: int = ENDED,
        most_partial: int = PARTIAL,
        most_of_one: int = OF_ONE_SOURCE,
    ) -> None:
        self._latest: dict[Client, dict[int, Record]] = {}
        """By the client's end, and a port of the VIP: the one that was opened there, or goes on there."""
        self._open, self._ended, self._partial = (
            Records(most, most_of_one) for most in (most_open, most_ended, most_partial)
        )
        self._counts: Counter[TcpEvent] = Counter()
        self._heard = itertools.count(1)
        self._refusing: set[str] = set()

    @property
    def counts(self) -> Mapping[TcpEvent, int]:
        """How many copies or records, by what became of them."""
        return dict(self._counts)

    @property
    def open(self) -> int:
        """Records without an end."""
        return len(self._open)

    @property
    def ended(self) -> int:
        """Records with an end."""
        return len(self._ended) + len(self._partial)

    def open_before(self, vip: str, moment: float) -> int:
        """How many connections of a VIP opened before a time and are open as far as is known."""
        return sum(record.client.vip == vip and record.since < moment for record in self._open)

    def count(self, what: TcpEvent) -> None:
        """Count a copy that is not looked at."""
        self._counts[what] += 1

    def latest(self, most: int, wanted: Callable[[Record], bool] = lambda _record: True) -> list[Connection]:
        """The `most` of the records that are wanted of which something was heard last; the newest first."""
        records = filter(wanted, itertools.chain(self._ended, self._partial, self._open))
        return [_connection(record) for record in heapq.nlargest(most, records, key=lambda record: record.heard)]

    def take(self, local: VipOnSwitch, reason: Reason, in_port: int, frame: bytes, now: float) -> None:
        """Take a copy of what came in on a port of a switch; `local` is the VIP there."""
        segment = packets.parse_tcp(frame)
        if segment is None:
            self._counts[TcpEvent.MALFORMED] += 1
            return
        flags, addresses = segment.flags & (SYN | FIN | RST | ACK), {*local.vip.addresses, *local.by_service_address}
        if reason is Reason.OPENING and flags == SYN and segment.destination in addresses:
            self._opens(local, segment, now)
        elif reason is Reason.CLOSING and flags & (FIN | RST) and segment.destination in addresses:
            client = Client(local.vip.name, segment.source, segment.sport)
            server = _named(local, segment.destination) or _owner(local, segment.dport)
            record = self._ending(local, client, segment.dport, now)
            self._ends(record, Side.CLIENT, segment.dport, server, flags, segment.seq, now)
        elif reason is Reason.SERVER_CLOSING and flags & (FIN | RST) and segment.source in addresses:
            client = Client(local.vip.name, segment.destination, segment.dport)
            server = _named(local, segment.source) or _attached(local, in_port) or _owner(local, segment.sport)
            record, number = self._ending(local, client, segment.sport, now), segment.ack if flags & ACK else None
            if server is not None and _answers_syn(segment, record):
                self._refusing.add(server)
            self._ends(record, Side.SERVER, segment.sport, server, flags, number, now)
        else:
            self._counts[TcpEvent.MALFORMED] += 1

    def take_refusing(self) -> set[str]:
        """The servers that have reset a SYN since this was asked last."""
        refusing, self._refusing = self._refusing, set()
        return refusing

    def expire(self, now: float) -> None:
        """End records that are too old to wait for their end, and forget those that ended too long ago."""
        while (oldest := self._open.oldest) is not None and oldest.since <= now - OPEN_SECONDS:
            self._end(oldest, EndReason.UNKNOWN, now)
        for kind in (self._ended, self._partial):
            while (oldest := kind.oldest) is not None and oldest.since <= now - ENDED_SECONDS:
                kind.discard(oldest)
                self._forget(oldest)

    def _opens(self, local: VipOnSwitch, segment: packets.Segment, now: float) -> None:
        client = Client(local.vip.name, segment.source, segment.sport)
        known = self._latest.get(client, {}).get(segment.dport)
        if known is not None and (known.first_number, known.opened_on) == (segment.seq, segment.dport):
            self._counts[TcpEvent.REPEATED] += 1
            return
        if known is not None and known.how is None:
            self._end(known, EndReason.UNKNOWN, now)
        self._counts[TcpEvent.OPENED] += 1
        overtaken = self._overtaken(local, client, segment, now)
        if overtaken is not None:
            overtaken.opened, overtaken.opened_on, overtaken.first_number = overtaken.closed, segment.dport, segment.seq
            self._latest[client][segment.dport] = overtaken
            self._partial.discard(overtaken)
            self._put(self._ended, overtaken)
            return
        server = _named(local, segment.destination) or _owner(local, segment.dport)
        record = Record(client, now, now, segment.dport, segment.seq, None, server, opened=now)
        record.heard = next(self._heard)
        self._latest.setdefault(client, {})[segment.dport] = record
        self._put(self._open, record)

    def _overtaken(
        self, local: VipOnSwitch, client: Client, syn: packets.Segment, now: float
    ) -> Record | None:
        """The record of a connection on this port, or redirected from it, whose end arrived just before its SYN.

        The client's numbers in it are above the SYN's; those of the connection before on the same ports are below.
        """
        for known in self._latest.get(client, {}).values():
            if known.opened is not None or known.last_number is None or known.last < now - REORDER_SECONDS:
                continue
            port = known.continued_on
            if port is None or syn.dport not in (port, local.applications.get(port)):
                continue
            if 0 < (known.last_number - syn.seq) % (1 << 32) < 1 << 31:
                return known
        return None

    def _ending(self, local: VipOnSwitch, client: Client, port: int, now: float) -> Record:
        """The record that an end on this port is about: the one there, or the one that was redirected to it.

        That is the one of its application, or, whatever the application, the client's only one, if it opened on a
        redirect port.
        """
        known = self._latest.get(client, {})
        shared = next((pool.port for pool in local.vip.redirect_ports if pool.port in known), None)
        for each in (port, local.applications.get(port), shared if len(known) == 1 else None):
            record = None if each is None else known.get(each)
            if record is not None and not (record.is_over and record.last < now - LINGER_SECONDS):
                return record
        self._counts[TcpEvent.UNOPENED] += 1
        return Record(client, now, now)

    def _ends(
        self, record: Record, side: Side, port: int, server: str | None, flags: int, number: int | None, now: float
    ) -> None:
        is_reset = bool(flags & RST)
        if record.is_over or (side in record.ended_by and not is_reset):
            self._counts[TcpEvent.REPEATED] += 1
            return
        how = EndReason.RESET if is_reset else EndReason.FIN
        first = TcpEvent.CONFIRMED if record.ended_by else TcpEvent.CLOSED
        self._counts[TcpEvent.RESET if is_reset else first] += 1
        if record.continued_on not in (port, record.opened_on):
            self._forget_port(record, record.continued_on)
        record.continued_on, record.closed, record.last, record.heard = port, now, now, next(self._heard)
        record.last_number = number if record.opened is None else None
        self._latest.setdefault(record.client, {})[port] = record
        record.server = server or record.server
        record.ended_by |= side
        if record.how in (None, EndReason.UNKNOWN):
            self._end(record, how, now)
        record.how = how

    def _end(self, record: Record, how: EndReason, now: float) -> None:
        """Put a record among those with an end; one that was given up may yet get its own."""
        if how is EndReason.UNKNOWN:
            self._counts[TcpEvent.UNKNOWN] += 1
        self._open.discard(record)
        self._partial.discard(record)
        record.how, record.since = how, now
        is_whole = how is not EndReason.UNKNOWN and record.opened is not None
        self._put(self._ended if is_whole else self._partial, record)

    def _put(self, kind: Records, record: Record) -> None:
        gone = kind.add(record)
        if gone is not None:
            self._counts[TcpEvent.FORGOTTEN] += 1
            self._forget(gone)

    def _forget(self, record: Record) -> None:
        self._forget_port(record, record.opened_on)
        self._forget_port(record, record.continued_on)

    def _forget_port(self, record: Record, port: int | None) -> None:
        known = self._latest.get(record.client, {})
        if port is not None and known.get(port) is record:
            del known[port]
            if not known:
                del self._latest[record.client]


def _answers_syn(segment: packets.Segment, record: Record) -> bool:
    """Whether a reset is the answer to the SYN of a record (RFC 9293, 3.10.7.1): nothing listens on that port."""
    is_answer = segment.flags & (RST | ACK) == RST | ACK and segment.seq == 0
    return is_answer and record.first_number is not None and segment.ack == (record.first_number + 1) % (1 << 32)


def _connection(record: Record) -> Connection:
    return Connection(
        *record.client,
        opened_on=record.opened_on,
        continued_on=record.continued_on,
        server=record.server,
        opened=record.opened,
        closed=record.closed,
        how=record.how,
        heard=record.heard,
    )


def _named(local: VipOnSwitch, address: Address) -> str | None:
    """The server whose service address this is (row X1)."""
    server = local.by_service_address.get(address)
    return None if server is None else server.name


def _owner(local: VipOnSwitch, port: int) -> str | None:
    """The server that owns a port, unless it is shared."""
    shared = any(pool.port == port for pool in local.vip.redirect_ports)
    return None if shared else local.owners.get(port)


def _attached(local: VipOnSwitch, in_port: int) -> str | None:
    """The server on a connector, if it is there alone."""
    here = [server.name for server in local.attached if server.connector.port == in_port]
    return here[0] if len(here) == 1 else None
