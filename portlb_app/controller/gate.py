"""The middleware before Ryu's WSGI application: what reaches an application is sound, and what it answers ends.

It cures what Ryu's router and applications do not look at: a path or query that is not UTF-8, a body without a length,
or one that is too long or stops in the middle, a Host or Origin that is foreign, an error of an application's own.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from portlb_app.api import access, messages
from portlb_app.api.identity import Identity, Role
from portlb_app.api.problem_details import failure
from portlb_app.controller import audit, streams
from portlb_app.controller.bodies import Environ, read_body
from portlb_app.controller.http_clients import Client, Listener, Log, Phase
from portlb_app.controller.http_server import phrase
from portlb_app.controller.identification import Identify
from portlb_app.controller.login import Login
from portlb_app.controller.site import Site

_LOG = logging.getLogger("portlb.rest")
_AUDIT = logging.getLogger("portlb.audit")
_NO_REQUESTS = ("400", "404", "405", "413", "415")
"""What is answered to a client that asks for nothing there is, or not in a form that is read."""
_REFUSED = Log(logging.WARNING, _AUDIT)
_TOO_MANY = failure("busy", f"there are {streams.STREAMS} streams already", headers={"Retry-After": "5"})

Start = Callable[..., Any]


class Gate:
    """A WSGI application around another one, for one listener.

    `identify` says who asks. `only`: the paths that are answered there, and that to any client; empty for all.
    `login`: where browsers log in, if they have to.
    """

    def __init__(
        self, site: Site, listener: Listener, identify: Identify, only: Collection[str] = (), login: Login | None = None
    ) -> None:
        self._site = site
        self._listener = listener
        self._identify = identify
        self._only = only
        self._login = login

    def __call__(self, environ: Environ, start_response: Start) -> Iterable[bytes]:
        refusal = self._refusal(environ)
        if refusal is not None:
            return self._send(refusal, environ, start_response)
        kept: list[Sequence[Any]] = []  # what the application begins with; it may have to take it back
        try:
            body: Iterable[bytes] = self._site(environ, lambda *begin: kept.append(begin))
        except Exception:
            _LOG.exception("a request failed")
            refusal = failure("internal", "an error of portlb itself; its log says more")
            return self._send(refusal, environ, start_response)
        if not kept:
            return body  # it has answered by itself, as WebSockets do
        client: Client = environ["portlb.client"]
        if _content_type(kept[-1][1]) == streams.CONTENT_TYPE:
            if self._listener.streams >= streams.STREAMS:
                _close(body)
                return self._send(_TOO_MANY, environ, start_response)
            body = streams.Stream(body, client, environ)
        else:
            client.wait_for(Phase.ANSWER)
        self._note(environ, kept[-1][0])
        start_response(*kept[-1])
        return body

    def _refusal(self, environ: Environ) -> messages.Response | None:
        """Why a request reaches no application, if so."""
        environ["portlb.identity"] = identity = self._identify(environ)
        method, host, origin = environ["REQUEST_METHOD"], environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN")
        is_foreign = None if self._only else access.foreign(method, host, origin, environ["wsgi.url_scheme"])
        if is_foreign is None and self._login and (answer := self._login.answer(environ)):
            return answer
        if isinstance(identity, messages.Response):
            return identity
        if is_foreign is not None:
            return is_foreign
        try:
            path = environ["PATH_INFO"].encode("latin-1").decode()
            unquote_to_bytes(environ.get("QUERY_STRING", "")).decode()
        except UnicodeDecodeError:
            return failure("bad-request", "the path and the query are UTF-8")
        if self._only and path not in self._only:
            return failure("not-found", f"here are {', '.join(self._only)} only")
        if self._site.is_ours(environ):
            return None
        if identity.role is not Role.ADMIN:
            return failure("not-allowed", f"{identity.name} may not ask applications: it takes the role admin")
        return access.foreign("POST", host, origin, environ["wsgi.url_scheme"]) or _read_whole(environ)

    def _send(self, response: messages.Response, environ: Environ, start_response: Start) -> list[bytes]:
        body = "".join(response.body).encode()
        headers = {**messages.headers(response), "Content-Length": str(len(body))}
        status = f"{response.status} {phrase(response.status)}"
        environ["portlb.client"].wait_for(Phase.ANSWER)
        self._note(environ, status)
        start_response(status, list(headers.items()))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _note(self, environ: Environ, status: str) -> None:
        """Have the log say what may have changed, and some of what was refused: any host can ask for that."""
        changes = environ.get("portlb.changes", environ["REQUEST_METHOD"] not in access.READING)
        if changes and isinstance(environ["portlb.identity"], Identity) and status[:3] not in _NO_REQUESTS:
            _AUDIT.info("%s", audit.line(environ, status))
        elif status[:3] in ("401", "403"):
            _REFUSED.write(audit.line(environ, status))


def _read_whole(environ: Environ) -> messages.Response | None:
    """Read the body, so that applications find one with a length: webob takes one without for none at all."""
    body = read_body(environ)
    if isinstance(body, messages.Response):
        return body
    environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    return None


def _content_type(headers: Sequence[tuple[str, str]]) -> str:
    found = next((value for name, value in headers if name.lower() == "content-type"), "")
    return found.partition(";")[0].strip().lower()


def _close(body: Iterable[bytes]) -> None:
    if close := getattr(body, "close", None):
        close()
