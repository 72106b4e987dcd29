"""Where HTTP is answered: a TCP port, a Unix socket, and a TCP port for reading only.

Each has its own places for clients, so that a crowd at one of them leaves the others as they are.
"""

from __future__ import annotations

import contextlib
import logging
import os

from portlb_app.controller.credentials import Credentials
from portlb_app.controller.gate import Gate
from portlb_app.controller.http_clients import Listener
from portlb_app.controller.http_server import serve
from portlb_app.controller.identification import of_reader, of_tcp, of_unix
from portlb_app.controller.login import Login
from portlb_app.controller.settings import USUAL_SOCKET, Settings
from portlb_app.controller.site import Site
from portlb_app.runtime import accept, supervision

FOR_READERS = ("/metrics", "/healthz", "/readyz")
"""What is answered at the port for reading."""

_LOG = logging.getLogger("portlb.rest")


class Taken(Exception):
    """An address cannot be listened on; the message says which and why."""


class Listeners:
    """All of them, listening from the beginning, so that what is in use is found at once: Taken."""

    def __init__(self, settings: Settings, credentials: Credentials) -> None:
        self._credentials = credentials
        self._tcp = _tcp(settings.rest_host, settings.rest_port)
        self._tcp.tls = credentials.tls
        credentials.on_change = self._renew
        self._unix = _unix(settings.rest_socket)
        self._path = settings.rest_socket
        self._metrics = _tcp(*settings.metrics) if settings.metrics else None

    @property
    def port(self) -> int:
        """The TCP port of REST."""
        return self._tcp.port

    @property
    def is_answering(self) -> bool:
        """Whether a client takes an answer just now."""
        return any(each.is_answering for each in (self._tcp, self._unix, self._metrics) if each)

    def serve(self, site: Site) -> None:
        """Answer requests in green threads, for ever."""
        login = Login(self._credentials)
        gate = Gate(site, self._tcp, of_tcp(self._credentials, login), login=login)
        supervision.spawn_forever("the REST interface", serve, self._tcp, gate)
        if self._unix:
            gate = Gate(site, self._unix, of_unix)
            supervision.spawn_forever("the Unix socket of REST", serve, self._unix, gate)
        if self._metrics:
            gate = Gate(site, self._metrics, of_reader, FOR_READERS)
            supervision.spawn_forever("the listener for metrics", serve, self._metrics, gate)

    def end(self) -> None:
        """Leave no Unix socket behind."""
        if self._unix:
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    def _renew(self) -> None:
        """Encrypt connections from now on by what was read again."""
        self._tcp.tls = self._credentials.tls


def _tcp(host: str, port: int) -> Listener:
    try:
        return Listener(accept.listen(host, port))
    except OSError as error:
        raise Taken(f"cannot listen on {host} port {port}: {error.strerror}") from error


def _unix(path: str) -> Listener | None:
    """The Unix socket. Without the usual one, which a user other than root cannot make, REST has its TCP port."""
    if not path:
        return None
    try:
        return Listener(accept.listen_unix(path))
    except OSError as error:
        if path != USUAL_SOCKET:
            raise Taken(f"cannot listen on {path}: {error.strerror}") from error
        _LOG.info("REST has no Unix socket: cannot listen on %s: %s", path, error.strerror)
        return None
