"""Events as a stream (``text/event-stream``, WHATWG HTML, "Server-sent events"): each as soon as it happens.

A stream reads from the ring at its own place, so a reader that is slow holds up nothing and costs nothing but that
place. One that `WAITING` events have overtaken is told to read anew, and is closed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator

import eventlet
from eventlet.event import Event as Future

from portlb_app.api.event_ring import Event, EventRing
from portlb_app.reconcile.happened import Happened

WAITING = 256
"""Events that may come while a reader takes what it was sent."""
AT_ONCE = 64
"""Events in one piece."""
BEAT_SECONDS = 15.0
"""How often a stream on which nothing happens shows that it is alive, and how far it is."""
RETRY_MILLISECONDS = 2000
"""When a browser is to connect again."""


class EventStreams:
    """Takes what happens, and wakes the streams that wait for it. `ring` has what happened."""

    def __init__(self, ring: EventRing) -> None:
        self.ring = ring
        self.open = 0
        """Streams at this moment."""
        self._news = Future()

    def add(self, at: float, what: Happened) -> None:
        """Something has happened, at this time of day."""
        self.ring.add(at, what)
        news, self._news = self._news, Future()
        news.send()

    def follow(self, last: str | None, kinds: Collection[str]) -> Iterator[bytes]:
        """The stream behind the event `last`; None: from now on. Of these kinds; empty: all."""
        self.open += 1
        try:
            position = self.ring.last if last is None else self.ring.number(last)  # a reader of a piece misses nothing
            yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
            if position is None:
                position = self.ring.last
                yield self._reset("the events after the one that was named are not kept any more", position)
            yield from self._go_on(position, kinds)
        finally:
            self.open -= 1

    def _go_on(self, position: int, kinds: Collection[str]) -> Iterator[bytes]:
        while True:
            known = self.ring.last
            if position == known:
                news = self._news
                with eventlet.Timeout(BEAT_SECONDS, False):
                    news.wait()
                if position == self.ring.last:
                    yield f": nothing happens\nid: {self.ring.id(position)}\n\n".encode()
                continue
            found, position = self.ring.after(position, kinds, AT_ONCE)
            if found:
                yield b"".join(map(_encoded, found))
            if self.ring.last - known > WAITING:
                yield self._reset(f"{WAITING} events came while this stream was not read", self.ring.last)
                return

    def _reset(self, reason: str, number: int) -> bytes:
        """What tells a reader that it has missed something: it is to read the status, and goes on from there."""
        data = json.dumps({"reason": reason, "read": "/v1/status"})
        return f"id: {self.ring.id(number)}\nevent: reset\ndata: {data}\n\n".encode()


def _encoded(event: Event) -> bytes:
    return f"id: {event.id}\nevent: {event.what.kind}\ndata: {json.dumps(event.value())}\n\n".encode()
