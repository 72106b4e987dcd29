"""Ryu's WSGI on one side, `api` on the other: nothing is decided here."""

from __future__ import annotations

import logging
import socket
from typing import Any

import eventlet
import eventlet.wsgi
from ryu.app.wsgi import ControllerBase, WSGIApplication, route
from webob import Request, Response

from portlb_app import api
from portlb_app.ryu_app import Controller

SOCKET_SECONDS = 30.0
"""How long a client may be silent."""
CLIENTS = 64
"""Connections served at a time; more wait."""

_LOG = logging.getLogger("portlb.rest")


class _Resource(ControllerBase):  # type: ignore[misc]
    """Every path there is. `data` is the Controller."""

    @route("portlb", "/{path:.*}")  # type: ignore[untyped-decorator]
    def any(self, request: Request, path: str) -> Response:
        """Answer one request, with JSON whatever happens."""
        del path
        try:
            response = self._respond(request)
        except Exception:
            _LOG.exception("%s %s", request.method, request.path)
            response = api.failure(500, "an error of portlb itself; its log says more")
        return Response(
            response.body,
            status=response.status,
            content_type=response.content_type,
            charset="UTF-8",
            headerlist=None,
        )

    def _respond(self, request: Request) -> api.Response:
        body = request.body_file.read(api.MAX_BODY + 1) if request.method == "PUT" else b""
        asked = api.Request(request.method, request.path_info, request.headers.get("Host", ""), body)
        response = api.respond(asked, self.data.view)
        return response if isinstance(response, api.Response) else self.data.replace(response)


class _Log:
    """Where eventlet's server writes its lines."""

    def write(self, line: str) -> None:
        _LOG.debug("%s", line.rstrip())


class Rest:
    """The REST interface on one TCP port of loopback."""

    def __init__(self, host: str, port: int) -> None:
        """Listen at once, so that a port in use is found at once: OSError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._server = eventlet.listen((host, port), family=family)

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return int(self._server.getsockname()[1])

    def serve(self, controller: Controller) -> None:
        """Answer requests about `controller` for ever."""
        application: Any = WSGIApplication()
        application.register(_Resource, controller)
        eventlet.wsgi.server(
            self._server,
            application,
            log=_Log(),
            max_size=CLIENTS,
            socket_timeout=SOCKET_SECONDS,
            debug=False,
        )
