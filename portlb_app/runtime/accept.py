"""Listening sockets on which a lack of descriptors, buffers or memory ends nothing."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
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

    @property
    def name(self) -> str:
        """Its TCP port, or its path."""
        found = self.getsockname()
        return found if isinstance(found, str) else f"port {found[1]}"

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
                    _LOG.error("no connection can be accepted on %s: %s", self.name, error.strerror)
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


def listen_unix(path: str) -> PatientSocket:
    """Listen on a Unix socket, which root, its user and its group may connect to (0660); OSError.

    One that a program left, which has ended, is replaced; one that is listened on is not (EADDRINUSE).
    """
    if _is_listened_on(path):
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), path)
    found = PatientSocket(socket.AF_UNIX, socket.SOCK_STREAM)
    made = f"{path}.{os.getpid()}"
    try:
        found.bind(made)
        os.chmod(made, 0o660)
        found.listen(BACKLOG)
        os.rename(made, path)  # nothing connects before its mode is right
    except BaseException as error:
        found.close()
        with contextlib.suppress(OSError):
            os.unlink(made)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror or str(error), path) from error
        raise
    return found


def _is_listened_on(path: str) -> bool:
    """Whether a program listens on a path; OSError if something else is there, or it may not be asked."""
    try:
        if not stat.S_ISSOCK(os.stat(path, follow_symlinks=False).st_mode):
            raise OSError(errno.EEXIST, "it is there and no socket", path)
    except FileNotFoundError:
        return False
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
    return True
