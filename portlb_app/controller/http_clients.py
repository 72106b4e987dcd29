"""The connections to a TCP port: how many, for how long, and which one gives way.

eventlet's servers wait for a silent client as long as the client pleases. A `Listener` counts connections and gives
each a deadline for what it waits for: the head of a request, its body, and the client's taking the answer. When there
are too many, the oldest that waits for its client gives way; one whose request is being worked on never does.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import re
import socket
import ssl
import time
from collections import deque
from typing import Any

from eventlet import patcher
from eventlet.hubs import get_hub

from portlb_app.runtime.accept import PatientSocket

CLIENTS = 64
"""Open connections."""
BODIES = 8
"""Requests whose bodies are read at a time; each may hold 4 MiB."""
SEND_BUFFER = 128 << 10
"""Bytes of an answer that the kernel takes at once, so that no answer takes long to begin."""
LOGGED_PER_MINUTE = 20

_LOG = logging.getLogger("portlb.rest")
_socket = patcher.original("socket")
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


SECONDS = {Phase.HEAD: 5.0, Phase.BODY: 15.0, Phase.ANSWER: 15.0, Phase.LINGER: 5.0}
"""How long each phase that waits for the client may take.

LINGER: a connection that is closed while something of the client's is unread is reset, and the client may lose the
answer over it (RFC 9112, section 9.6). Clients such as Python's read nothing before they have sent all; 8 MiB in 5 s
are 13 Mbit/s. It costs others nothing: a connection that lingers gives way like one that waits for a head, holds no
body, and a client that wants to hold a place has 5 s for its head as well.
"""


class Gone(BaseException):
    """A connection was cut while its request was read. It is no Exception, so no handler answers it."""


class Client:
    """One connection."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._descriptor = connection.fileno()  # the same when it is encrypted
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
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):  # the client has closed it already
                raw = _socket.socket(fileno=self._descriptor)  # TLS would forget its state, which a thread waits in
                try:
                    raw.shutdown(socket.SHUT_RDWR)
                finally:
                    raw.detach()

    def forget(self) -> None:
        """The connection has ended; its descriptor may be another's."""
        self._descriptor = -1
        self.stop()

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
    """What clients do, at debug level at first; where eventlet's server writes its lines."""

    def __init__(self, level: int = logging.DEBUG, log: logging.Logger = _LOG) -> None:
        self._level, self._log = level, log
        self._logged: deque[float] = deque(maxlen=LOGGED_PER_MINUTE)

    def write(self, line: str) -> None:
        """Log a line, unless there were many lately; a client may have chosen what it says."""
        now = time.monotonic()
        if self._log.isEnabledFor(self._level) and (
            len(self._logged) < LOGGED_PER_MINUTE or now - self._logged[0] > 60
        ):
            self._logged.append(now)
            self._log.log(self._level, "%s", _UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], line.rstrip()))


class Listener:
    """A listening socket, as far as `eventlet.wsgi.server` uses one. `tls`: how its connections are encrypted."""

    tls: ssl.SSLContext | None = None

    def __init__(self, server: PatientSocket) -> None:
        self._server = server
        self._server.make_room = lambda: self._give_way(1)
        self.family = self._server.family
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # accepted ones inherit it
        self._clients: dict[Any, Client] = {}
        self.log = Log()

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return int(self._server.getsockname()[1])

    def getsockname(self) -> Any:
        """Address and port, or a path."""
        return self._server.getsockname()

    def close(self) -> None:
        """Listen no more."""
        self._server.close()

    def accept(self) -> tuple[Any, Any]:
        """The next connection; the oldest that waits for its client gives way where there are too many."""
        connection, address = self._server.accept()
        self._give_way(CLIENTS)
        self._clients[connection] = Client(connection)
        return connection, address if self.family != socket.AF_UNIX else ("unix", "")

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
        self._clients.pop(connection).forget()

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
