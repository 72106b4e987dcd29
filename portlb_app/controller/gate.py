"""The middleware before Ryu's WSGI application: what reaches an application is sound, and what it answers ends.

It cures what Ryu's router and applications do not look at: a path or query that is not UTF-8, a body without a length,
or one that is too long or stops in the middle, a Host or Origin that is foreign, an error of an application's own.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from portlb_app.api import messages
from portlb_app.api.problem_details import failure
from portlb_app.api.routes import is_this_machine
from portlb_app.controller import streams
from portlb_app.controller.bodies import Environ, read_body
from portlb_app.controller.http_clients import Client, Listener, Phase
from portlb_app.controller.http_server import phrase
from portlb_app.controller.site import Site

_LOG = logging.getLogger("portlb.rest")
_TOO_MANY = failure("busy", f"there are {streams.STREAMS} streams already", headers={"Retry-After": "5"})

Start = Callable[..., Any]


class Gate:
    """A WSGI application around another one, for one listener."""

    def __init__(self, site: Site, listener: Listener) -> None:
        self._site = site
        self._listener = listener

    def __call__(self, environ: Environ, start_response: Start) -> Iterable[bytes]:
        client: Client = environ["portlb.client"]
        refusal = self._refusal(environ)
        if refusal is not None:
            return _send(refusal, environ, start_response)
        kept: list[Sequence[Any]] = []  # what the application begins with; it may have to take it back
        try:
            body: Iterable[bytes] = self._site(environ, lambda *begin: kept.append(begin))
        except Exception:
            _LOG.exception("a request failed")
            return _send(failure("internal", "an error of portlb itself; its log says more"), environ, start_response)
        if not kept:
            return body  # it has answered by itself, as WebSockets do
        if _content_type(kept[-1][1]) == streams.CONTENT_TYPE:
            if self._listener.streams >= streams.STREAMS:
                _close(body)
                return _send(_TOO_MANY, environ, start_response)
            body = streams.Stream(body, client, environ)
        else:
            client.wait_for(Phase.ANSWER)
        start_response(*kept[-1])
        return body

    def _refusal(self, environ: Environ) -> messages.Response | None:
        """Why a request reaches no application, if so."""
        host = environ.get("HTTP_HOST", "")
        if not is_this_machine(host):
            return failure("host-not-allowed", f"the Host header {host!r} does not name this machine")
        try:
            environ["PATH_INFO"].encode("latin-1").decode()
            unquote_to_bytes(environ.get("QUERY_STRING", "")).decode()
        except UnicodeDecodeError:
            return failure("bad-request", "the path and the query are UTF-8")
        if self._site.is_ours(environ):
            return None
        if "HTTP_ORIGIN" in environ and environ["HTTP_ORIGIN"].lower() != f"http://{host.lower()}":
            return failure("foreign-origin", f"a page of {environ['HTTP_ORIGIN']!r} is not answered")
        return _read_whole(environ)


def _read_whole(environ: Environ) -> messages.Response | None:
    """Read the body, so that applications find one with a length: webob takes one without for none at all."""
    body = read_body(environ)
    if isinstance(body, messages.Response):
        return body
    environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    return None


def _send(response: messages.Response, environ: Environ, start_response: Start) -> list[bytes]:
    body = "".join(response.body).encode()
    headers = {**messages.headers(response), "Content-Length": str(len(body))}
    environ["portlb.client"].wait_for(Phase.ANSWER)
    start_response(f"{response.status} {phrase(response.status)}", list(headers.items()))
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def _content_type(headers: Sequence[tuple[str, str]]) -> str:
    found = next((value for name, value in headers if name.lower() == "content-type"), "")
    return found.partition(";")[0].strip().lower()


def _close(body: Iterable[bytes]) -> None:
    if close := getattr(body, "close", None):
        close()
