"""HTTP on one side, `api` on the other: nothing is decided here.

Served by eventlet's WSGI server, which Ryu brings along. Ryu's own router is not used: it answers a path that is not
UTF-8 with a trace, and a body without a length as if there were none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import eventlet
import eventlet.wsgi

from portlb_app import api, ryu_accept
from portlb_app.ryu_app import Controller

SOCKET_SECONDS = 30.0
"""How long a client may be silent."""
CLIENTS = 64
"""Connections served at a time; more wait."""

_LOG = logging.getLogger("portlb.rest")


class _Log:
    """Where eventlet's server writes its lines."""

    def write(self, line: str) -> None:
        _LOG.debug("%s", line.rstrip())


class Rest:
    """The REST interface on one TCP port of loopback."""

    def __init__(self, host: str, port: int) -> None:
        """Listen at once, so that a port in use is found at once: OSError."""
        self._server = ryu_accept.listen(host, port)

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return int(self._server.getsockname()[1])

    def serve(self, controller: Controller) -> None:
        """Answer requests about `controller` for ever."""

        def application(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
            response = _answer(controller, environ)
            body = response.body.encode()
            headers = {**api.headers(response), "Content-Length": str(len(body))}
            start_response(f"{response.status} {HTTPStatus(response.status).phrase}", list(headers.items()))
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

        eventlet.wsgi.server(
            self._server, application, log=_Log(), max_size=CLIENTS, socket_timeout=SOCKET_SECONDS, debug=False
        )


def _answer(controller: Controller, environ: dict[str, Any]) -> api.Response:
    """The answer to one request (PEP 3333), JSON whatever happens."""
    try:
        method = environ["REQUEST_METHOD"]
        body = environ["wsgi.input"].read(api.MAX_BODY + 1) if method == "PUT" else b""
        declared = int(environ.get("CONTENT_LENGTH") or 0)
        if method == "PUT" and len(body) < min(declared, api.MAX_BODY + 1):
            return api.failure(400, f"the body ends after {len(body)} of {declared} bytes; nothing was changed")
        host, query = environ.get("HTTP_HOST", ""), environ.get("QUERY_STRING", "")
        conditions = (environ.get(f"HTTP_{name}") for name in ("ORIGIN", "IF_MATCH", "IF_NONE_MATCH"))
        request = api.Request(method, environ["PATH_INFO"], host, body, query, *conditions)
        response = api.respond(request, controller.view)
        return response if isinstance(response, api.Response) else controller.replace(response)
    except Exception:
        _LOG.exception("a request failed")
        return api.failure(500, "an error of portlb itself; its log says more")
