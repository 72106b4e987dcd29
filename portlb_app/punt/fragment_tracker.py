"""Fragments follow their first: a bounded memory of what the first fragments of packets said (rows F1, F2).

A packet is told by its key (source, destination, protocol, identifier). Its first fragment shows ports and is judged;
the verdict is for all of them, in whatever order they come. What comes before the first waits for it. A packet that is
there in full is forgotten, because its identifier may be used again at once; so is one that is not there in time.

Nothing is put together here: fragments pass as they are, overlapping and doubled ones too, and the host decides
(RFC 791, 3.2; RFC 8200, 4.5). A first fragment with other ports than the one before begins a new packet.

Bounds, against floods of nothing but first fragments or nothing but later ones: packets in all, packets per source,
bytes and fragments that wait. A full source loses its own oldest packet; only when all is full the oldest of all goes.
With the meter of `pipeline.PUNTED` in the switch (1000 a second) and `FOLLOW_SECONDS`, no flood gets that far.

Time is an argument: seconds of any monotonic clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from portlb_app.net.packets import Fragment, FragmentKey

WAIT_SECONDS = 1.0
"""How long a fragment waits for its first: packets overtake each other by milliseconds."""
FOLLOW_SECONDS = 5.0
"""How long a first fragment's verdict is good for, and an incomplete packet's rest may still come."""
PACKETS = 16384
"""Packets remembered; each takes about 1 kB."""
PACKETS_PER_SOURCE = 1024
"""Of them from one source: an IPv4 address, or an IPv6 network of 64 bits."""
WAITING_BYTES = 4 << 20
WAITING_BYTES_PER_SOURCE = 256 << 10
"""Fragments that wait for their first: four packets of 64 kB per source."""
PIECES = 128
"""Fragments of one packet: 64 kB in fragments of 512 bytes."""

Verdict = TypeVar("Verdict")


class NoRoom(Exception):
    """A fragment cannot wait for its first, or its packet is in too many pieces."""


@dataclass(slots=True)
class _Packet(Generic[Verdict]):
    """What is known of one packet. `covered` holds the (begin, end) of its bytes that were seen, without overlaps."""

    since: float
    verdict: Verdict | None = None
    ports: tuple[int, int] | None = None
    waiting: list[bytes] = field(default_factory=list)
    covered: list[tuple[int, int]] = field(default_factory=list)
    pieces: int = 0
    total: int | None = None

    def see(self, fragment: Fragment) -> None:
        """Take note of a fragment's bytes; NoRoom if it is one too many."""
        if self.pieces >= PIECES:
            raise NoRoom
        self.pieces += 1
        begin, end = fragment.offset, fragment.offset + fragment.size
        if not fragment.more:
            self.total = end
        apart = []
        for other in self.covered:
            if other[1] < begin or other[0] > end:
                apart.append(other)
            else:
                begin, end = min(begin, other[0]), max(end, other[1])
        self.covered = [*apart, (begin, end)]

    @property
    def is_whole(self) -> bool:
        """Whether every byte was seen."""
        return self.total is not None and any(begin == 0 and end >= self.total for begin, end in self.covered)


class FragmentTracker(Generic[Verdict]):
    """The memory of one VIP on one switch."""

    def __init__(self) -> None:
        self._judged: OrderedDict[FragmentKey, _Packet[Verdict]] = OrderedDict()
        self._early: OrderedDict[FragmentKey, _Packet[Verdict]] = OrderedDict()
        self._sources: dict[int, OrderedDict[FragmentKey, None]] = {}
        self._bytes: dict[int, int] = {}
        self._waiting_bytes = 0
        self._lost = 0

    def __len__(self) -> int:
        """Packets remembered."""
        return len(self._judged) + len(self._early)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of fragments that wait for their first."""
        return self._waiting_bytes

    def lost(self) -> int:
        """Fragments that waited, and had to give way to others since this was asked last."""
        lost, self._lost = self._lost, 0
        return lost

    def take(
        self, fragment: Fragment, frame: bytes, now: float, judge: Callable[[Fragment], Verdict]
    ) -> tuple[Verdict, list[bytes]] | None:
        """What becomes of a fragment and of those that waited for it, in order; None if it waits itself.

        `judge` says it of a first fragment. NoRoom if a bound is reached and the fragment is lost.
        """
        key = fragment.key
        if fragment.offset == 0:
            return self._first(key, fragment, frame, now, judge)
        packet = self._judged.get(key)
        if packet is None or packet.verdict is None:
            self._wait(key, fragment, frame, now)
            return None
        packet.see(fragment)
        if packet.is_whole:
            self._forget(key)
        return packet.verdict, [frame]

    def expire(self, now: float) -> Iterator[bytes]:
        """Forget what is too old; the fragments that waited in vain."""
        yield from self._older(self._early, now - WAIT_SECONDS)
        yield from self._older(self._judged, now - FOLLOW_SECONDS)

    def _first(
        self, key: FragmentKey, fragment: Fragment, frame: bytes, now: float, judge: Callable[[Fragment], Verdict]
    ) -> tuple[Verdict, list[bytes]]:
        known = self._judged.get(key)
        if known is not None and known.verdict is not None and known.ports == fragment.ports:
            known.see(fragment)
            return known.verdict, [frame]
        early = self._early.get(key)
        self._forget(key)
        packet: _Packet[Verdict] = _Packet(now) if early is None else early
        packet.since, packet.ports, packet.verdict = now, fragment.ports, judge(fragment)
        released, packet.waiting = packet.waiting, []
        packet.see(fragment)
        if not packet.is_whole:
            self._remember(self._judged, key, packet)
        return packet.verdict, [frame, *released]

    def _wait(self, key: FragmentKey, fragment: Fragment, frame: bytes, now: float) -> None:
        source = _source(key)
        if self._waiting_bytes + len(frame) > WAITING_BYTES:
            raise NoRoom
        if self._bytes.get(source, 0) + len(frame) > WAITING_BYTES_PER_SOURCE:
            raise NoRoom
        packet = self._early.get(key)
        if packet is None:
            packet = _Packet(now)
            packet.see(fragment)
            self._remember(self._early, key, packet)
        elif packet.pieces >= PIECES - 1:  # one is left for the first
            raise NoRoom
        else:
            packet.see(fragment)
        packet.waiting.append(frame)
        self._waiting_bytes += len(frame)
        self._bytes[source] = self._bytes.get(source, 0) + len(frame)

    def _remember(
        self, where: dict[FragmentKey, _Packet[Verdict]], key: FragmentKey, packet: _Packet[Verdict]
    ) -> None:
        source = _source(key)
        own = self._sources.setdefault(source, OrderedDict())
        oldest = None
        if len(own) >= PACKETS_PER_SOURCE:
            oldest = next(iter(own))
        elif len(self) >= PACKETS:
            oldest = next(iter(self._early or self._judged))
        if oldest is not None:
            self._lost += len(self._early[oldest].waiting) if oldest in self._early else 0
            self._forget(oldest)
        self._sources.setdefault(source, OrderedDict())[key] = None
        where[key] = packet

    def _forget(self, key: FragmentKey) -> None:
        early = self._early.pop(key, None)
        if self._judged.pop(key, early) is None:
            return
        source = _source(key)
        own = self._sources[source]
        del own[key]
        if not own:
            del self._sources[source]
        if early is not None:
            size = sum(map(len, early.waiting))
            self._waiting_bytes -= size
            self._bytes[source] = self._bytes.get(source, 0) - size
            if not self._bytes[source]:
                del self._bytes[source]

    def _older(self, where: dict[FragmentKey, _Packet[Verdict]], than: float) -> Iterator[bytes]:
        while where:
            key, packet = next(iter(where.items()))
            if packet.since > than:
                return
            self._forget(key)
            yield from packet.waiting


def _source(key: FragmentKey) -> int:
    """The source that the bounds per source count: an IPv6 host has a whole network's addresses."""
    return key.source if key.version == 4 else key.source >> 64 | 1 << 64
