"""The connections to a TCP port: how many, for how long, and which one gives way.

eventlet's servers wait for a silent client as long as the client pleases. A `Listener` counts connections and gives
each a deadline for what it waits for: the head of a request, its body, and the client's taking the answer. When there
are too many, the oldest that waits for its client gives way; one whose request is being worked on never does.
"""

from __future__ import annotations

import enum
import logging
import re
import socket
import time
from collections import deque
from typing import Any

from eventlet.hubs import get_hub

from portlb_app.runtime import accept

CLIENTS = 64
"""Open connections."""
BODIES = 8
"""Requests whose bodies are read at a time; each may hold 4 MiB."""
SEND_BUFFER = 128 << 10
"""Bytes of an answer that the kernel takes at once, so that no answer takes long to begin."""
LOGGED_PER_MINUTE = 20

_LOG = logging.getLogger("portlb.rest")
_UNPRINTABLE = re.compile(r"[^ -~]")


class Phase(enum.Enum):
    """What a connection waits for."""

    HEAD = enum.auto()
    BODY = enum.auto()
    WORK = enum.auto()
    """The request is worked on."""
    EVENTS = enum.auto()
    """There is nothing to send yet on a stream."""
    ANSWER = enum.auto()
    """The client takes the answer."""
    LINGER = enum.auto()
    """The client was answered before it had sent all."""


SECONDS = {Phase.HEAD: 5.0, Phase.BODY: 15.0, Phase.ANSWER: 15.0, Phase.LINGER: 1.0}
"""How long each phase that waits for the client may take."""


class Gone(BaseException):
    """A connection was cut while its request was read. It is no Exception, so no handler answers it."""


class Client:
    """One connection."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.phase = Phase.HEAD
        self.sends_more = False
        """Whether what it sends has not been read to the end."""
        self.is_cut = False
        self.is_stream = False
        """Whether its answer has no end."""
        self._timer: Any = None
        self.wait_for(Phase.HEAD)

    def wait_for(self, phase: Phase) -> None:
        """Begin a phase; when its time is over, the connection is."""
        self.stop()
        self.phase = phase
        if phase in SECONDS:
            self._timer = get_hub().schedule_call_global(SECONDS[phase], self.cut)

    def cut(self) -> None:
        """End the connection: whatever waits for it in its thread finds it closed."""
        self.is_cut = True
        self.stop()
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is closed already

    def require(self) -> None:
        """Gone, if the connection was cut."""
        if self.is_cut:
            raise Gone("it took too long, or gave way")

    def stop(self) -> None:
        """Forget the deadline."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Log:
    """What clients do, at debug level; where eventlet's server writes its lines."""

    def __init__(self) -> None:
        self._logged: deque[float] = deque(maxlen=LOGGED_PER_MINUTE)

    def write(self, line: str) -> None:
        """Log a line, unless there were many lately; a client may have chosen what it says."""
        now = time.monotonic()
        if _LOG.isEnabledFor(logging.DEBUG) and (
            len(self._logged) < LOGGED_PER_MINUTE or now - self._logged[0] > 60
        ):
            self._logged.append(now)
            _LOG.debug("%s", _UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], line.rstrip()))


class Listener:
    """A listening TCP socket, as far as `eventlet.wsgi.server` uses one."""

    def __init__(self, host: str, port: int) -> None:
        """Listen at once, so that a port in use is found at once: OSError."""
        self._server = accept.listen(host, port)
        self._server.make_room = lambda: self._give_way(1)
        self.family = self._server.family
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # accepted ones inherit it
        self._clients: dict[Any, Client] = {}
        self.log = Log()

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return int(self._server.getsockname()[1])

    def getsockname(self) -> tuple[Any, ...]:
        """Address and port."""
        name: tuple[Any, ...] = self._server.getsockname()
        return name

    def close(self) -> None:
        """Listen no more."""
        self._server.close()

    def accept(self) -> tuple[Any, Any]:
        """The next connection; the oldest that waits for its client gives way where there are too many."""
        connection, address = self._server.accept()
        self._give_way(CLIENTS)
        self._clients[connection] = Client(connection)
        return connection, address

    @property
    def is_answering(self) -> bool:
        """Whether a client takes an answer just now."""
        return any(each.phase is Phase.ANSWER for each in self._clients.values())

    @property
    def streams(self) -> int:
        """Connections whose answers have no end."""
        return sum(each.is_stream for each in self._clients.values())

    def client(self, connection: Any) -> Client:
        """What is known of a connection."""
        return self._clients[connection]

    def forget(self, connection: Any) -> None:
        """A connection has ended."""
        self._clients.pop(connection).stop()

    def wait_for_body(self, client: Client) -> None:
        """A client's request has a body; when too many have, the oldest gives way."""
        self._give_way(BODIES, Phase.BODY)
        client.wait_for(Phase.BODY)

    def _give_way(self, most: int, phase: Phase | None = None) -> None:
        """Where there are `most` connections (in a phase), end the oldest that waits for its client."""
        found = [each for each in self._clients.values() if phase is None or each.phase is phase]
        if len(found) >= most:
            oldest = next((each for each in found if each.phase in SECONDS), None)
            if oldest is not None:
                self.log.write("a connection gives way to another")
                oldest.cut()
