"""HTTP on one side, `api` on the other: nothing is decided here.

Served by eventlet's WSGI server, which Ryu brings along, behind what `http_server` does for it. Ryu's own router is not
used: it answers a path that is not UTF-8 with a trace, and a body without a length as if there were none.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import eventlet

from portlb_app.api import asking, messages
from portlb_app.api.problem_details import failure
from portlb_app.api.request_head import BadRequest
from portlb_app.api.routes import respond
from portlb_app.api.wishes import Wish
from portlb_app.controller.app import Controller
from portlb_app.controller.http_clients import Listener
from portlb_app.controller.http_server import phrase, serve
from portlb_app.punt.asking import Question
from portlb_app.runtime.turn import Turn

PROPOSALS = 8
"""Configurations proposed at a time; each holds a connection until it is known what became of it."""

_LOG = logging.getLogger("portlb.rest")


class Rest:
    """The REST interface on one TCP port of loopback."""

    def __init__(self, host: str, port: int) -> None:
        """Listen at once, so that a port in use is found at once: OSError."""
        self._listener = Listener(host, port)
        self._encoded = ("", b"")
        self._proposals = 0

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return int(self._listener.getsockname()[1])

    @property
    def is_waited_for(self) -> bool:
        """Whether a client waits for the outcome of a configuration."""
        return self._proposals > 0 or self._listener.is_answering

    def serve(self, controller: Controller) -> None:
        """Answer requests about `controller` for ever."""

        def application(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
            response = self._answer(controller, environ)
            body = self._encode(_whole(response.body))
            headers = messages.headers(response)
            if response.status != 304:
                headers["Content-Length"] = str(len(body))
            start_response(f"{response.status} {phrase(response.status)}", list(headers.items()))
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

        serve(self._listener, application)

    def _encode(self, text: str) -> bytes:
        """A text's bytes: one value for all clients that read the same configuration slowly."""
        if text is not self._encoded[0]:
            self._encoded = text, text.encode()
        return self._encoded[1]

    def _answer(self, controller: Controller, environ: dict[str, Any]) -> messages.Response:
        """The answer to one request (PEP 3333), JSON whatever happens."""
        try:
            request = _request(environ)
            if isinstance(request, messages.Response):
                return request
            response = respond(request, controller.snapshot)
            if isinstance(response, messages.Proposal):
                response = self._replace(controller, response)
            elif isinstance(response, Wish):
                response = controller.wishes.carry_out(response)
            elif isinstance(response, Question):
                response = self._ask(controller, response)
            return replace(response, body=_whole(response.body))
        except Exception:
            _LOG.exception("a request failed")
            return failure("internal", "an error of portlb itself; its log says more")

    def _ask(self, controller: Controller, question: Question) -> messages.Response:
        try:
            answers = controller.asking.ask(question)
        except ValueError as error:
            return failure("busy", str(error))
        return asking.response(question, answers, controller.snapshot)

    def _replace(self, controller: Controller, proposal: messages.Proposal) -> messages.Response:
        if self._proposals >= PROPOSALS:
            return failure("busy", f"{PROPOSALS} configurations wait already; nothing was changed")
        self._proposals += 1
        try:
            return controller.proposals.replace(proposal)
        finally:
            self._proposals -= 1


def _whole(body: str | Iterator[str]) -> str:
    """A body; others have their turns while it is made."""
    if isinstance(body, str):
        return body
    turn, parts, began = Turn(), [], time.monotonic()
    for piece in body:
        parts.append(piece)
        now = time.monotonic()
        if turn.worked(now - began):
            eventlet.sleep(turn.pause())
            now = time.monotonic()
        began = now
    return "".join(parts)


def _request(environ: dict[str, Any]) -> messages.Request | messages.Response:
    """The request, or the answer to one that cannot be read."""
    method = environ["REQUEST_METHOD"]
    if int(environ.get("CONTENT_LENGTH") or 0) > messages.MAX_BODY:
        return failure("too-large", f"a configuration has at most {messages.MAX_BODY} bytes")
    if method == "PUT" and environ.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        text = "a configuration comes as it is, without Content-Encoding; nothing was changed"
        return failure("unsupported-media-type", text)
    if method == "PUT" and "HTTP_CONTENT_RANGE" in environ:
        return failure("bad-request", "a configuration is replaced whole: no Content-Range; nothing was changed")
    try:
        body = environ["wsgi.input"].read(messages.MAX_BODY + 1) if method == "PUT" else b""
    except BadRequest as bad:
        return failure("bad-request", f"{bad.text}; nothing was changed")
    except OSError as error:
        return failure("bad-request", f"the connection is lost: {error}; nothing was changed")
    host, query = environ.get("HTTP_HOST", ""), environ.get("QUERY_STRING", "")
    conditions = (environ.get(f"HTTP_{name}") for name in ("ORIGIN", "IF_MATCH", "IF_NONE_MATCH"))
    return messages.Request(method, environ["PATH_INFO"], host, body, query, *conditions)
