"""Answers without an end: events that are sent as they come (``text/event-stream``).

Any WSGI application may give one: a body that is an iterator of bytes, of which each piece is sent at once. Its
``next`` may wait. It is closed when the client goes, or does not take a piece within the time for an answer; so what it
holds belongs into its ``finally``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import eventlet

from portlb_app.controller.http_clients import Client, Gone, Phase
from portlb_app.runtime import supervision

CONTENT_TYPE = "text/event-stream"
STREAMS = 16
"""Streams at a time, of all connections."""


class Stream:
    """The body of a stream for its client, made in the green thread that sends it."""

    def __init__(self, pieces: Iterable[bytes], client: Client, environ: dict[str, Any]) -> None:
        self._pieces = pieces
        self._client = client
        client.is_stream = True
        environ["eventlet.minimum_write_chunk_size"] = 1  # else it waits until there are 4 KiB
        self._watcher = supervision.spawn("the watcher of a stream", _end_with, client, eventlet.getcurrent())

    def __iter__(self) -> Iterator[bytes]:
        self._client.wait_for(Phase.EVENTS)
        for piece in self._pieces:
            self._client.wait_for(Phase.ANSWER)
            yield piece
            self._client.wait_for(Phase.EVENTS)

    def close(self) -> None:
        """The stream has ended, whatever ended it."""
        self._watcher.kill()
        if close := getattr(self._pieces, "close", None):
            close()


def _end_with(client: Client, thread: Any) -> None:
    """End a stream's green thread as soon as its client has gone, and not at the next piece only."""
    try:
        client.connection.recv(1)
    except OSError:
        pass
    eventlet.kill(thread, Gone("the client of a stream has gone"))
