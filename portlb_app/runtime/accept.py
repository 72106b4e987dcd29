"""Listening TCP sockets on which a lack of descriptors, buffers or memory ends nothing."""

from __future__ import annotations

import errno
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

from eventlet.greenio import GreenSocket
from ryu.lib import hub

BACKLOG = 512
"""Connections the kernel keeps until they are accepted; it may keep fewer (net.core.somaxconn)."""
WAIT_SECONDS = 0.2
LOG_SECONDS = 60.0

_FATAL = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EFAULT, errno.EOPNOTSUPP})
"""What says that there is nothing to accept from, now or later. All else (EMFILE, ENFILE, ENOBUFS, ENOMEM,
ECONNABORTED, and errors of the new connection that Linux passes on, see accept(2)) passes."""
_LOG = logging.getLogger("portlb")


class PatientSocket(GreenSocket):  # type: ignore[misc]
    """A listening socket whose `accept` waits where the machine has no room for another connection."""

    make_room: Callable[[], None] | None = None
    """Called where a connection cannot be accepted: it may close a connection that can be spared."""
    _logged_at = float("-inf")

    def accept(self) -> tuple[GreenSocket, Any]:
        """The next connection and its address; OSError only if this socket itself is no good."""
        while True:
            try:
                connection, address = super().accept()
                return connection, address
            except OSError as error:
                if error.errno in _FATAL:
                    raise
                if time.monotonic() - self._logged_at > LOG_SECONDS:
                    self._logged_at = time.monotonic()
                    _LOG.error("no connection can be accepted on port %s: %s", self.getsockname()[1], error.strerror)
                if self.make_room:
                    self.make_room()
                hub.sleep(WAIT_SECONDS)


def listen(host: str, port: int) -> PatientSocket:
    """Listen on an address at once, so that a port in use is found at once: OSError.

    The port is not shared (SO_REUSEPORT): a second program on it does not start.
    """
    found = PatientSocket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(BACKLOG)
    except BaseException:
        found.close()
        raise
    return found
