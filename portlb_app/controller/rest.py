"""HTTP on one side, `api` on the other: nothing is decided here.

`Rest` is what Ryu's router calls for a request that is portlb's (`site`), behind the middleware (`gate`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import eventlet
from ryu.app.wsgi import Request, Response

from portlb_app.api import asking, explaining, messages
from portlb_app.api.events import CONTENT_TYPE, Follow
from portlb_app.api.problem_details import failure
from portlb_app.api.routes import respond
from portlb_app.api.wishes import Wish
from portlb_app.controller.app import Controller
from portlb_app.controller.bodies import FORM, Environ, read_body, read_form
from portlb_app.controller.http_server import phrase
from portlb_app.page.actions import Confirmed
from portlb_app.page.routes import ROUTES, Asked, for_people, is_page
from portlb_app.punt.asking import Question
from portlb_app.runtime.turn import Turn

_LOG = logging.getLogger("portlb.rest")


class Rest:
    """Answers requests about a controller."""

    templates = tuple(route.template for route in ROUTES.all)
    """The paths it knows."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._encoded = ("", b"")
        self._proposals = 0

    @property
    def is_waited_for(self) -> bool:
        """Whether a client waits for the outcome of a configuration."""
        return self._proposals > 0

    def answer(self, request: Request) -> Response:
        """The answer to a request whose path is UTF-8."""
        began = time.monotonic()
        response = self._respond(request)
        path = request.environ["PATH_INFO"]
        route, code = ROUTES.template(path), 200 if isinstance(response, Follow) else response.status
        self._controller.metrics.requested(request.method, route, code, time.monotonic() - began)
        if isinstance(response, Follow):
            pieces = self._controller.streams.follow(response.last, response.kinds)
            return Response(content_type=CONTENT_TYPE, app_iter=pieces)
        if is_page(path):
            response = for_people(response, self._controller.snapshot)
        body = self._encode(_whole(response.body))
        headers = messages.headers(response)
        if response.status != 304:
            headers["Content-Length"] = str(len(body))
        status = f"{response.status} {phrase(response.status)}"
        return Response(status=status, headerlist=list(headers.items()), app_iter=[body])

    def _encode(self, text: str) -> bytes:
        """A text's bytes: one value for all clients that read the same configuration slowly."""
        if text is not self._encoded[0]:
            self._encoded = text, text.encode()
        return self._encoded[1]

    def _respond(self, request: Request) -> messages.Response | Follow:
        read = _read(request.environ)
        if isinstance(read, messages.Response):
            return read
        response: messages.Response | Asked = respond(read, self._controller.snapshot, ROUTES)
        if isinstance(response, messages.Proposal):
            return self._replace(response)
        if isinstance(response, Wish):
            return self._controller.wishes.carry_out(response)
        if isinstance(response, Question):
            return self._ask(response)
        if isinstance(response, explaining.Asked):
            return self._controller.explaining.answer(response)
        if isinstance(response, Confirmed):
            outcome = self._controller.wishes.carry_out(response.wish)
            return response.answer(outcome, self._controller.snapshot)
        return response

    def _ask(self, question: Question) -> messages.Response:
        try:
            answers = self._controller.asking.ask(question)
        except ValueError as error:
            return failure("busy", str(error))
        return asking.response(question, answers, self._controller.snapshot)

    def _replace(self, proposal: messages.Proposal) -> messages.Response:
        self._proposals += 1
        try:
            return self._controller.proposals.replace(proposal)
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


def _read(environ: Environ) -> messages.Request | messages.Response:
    """The request, or the answer to one that cannot be read."""
    method = environ["REQUEST_METHOD"]
    if method == "PUT" and environ.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        text = "a configuration comes as it is, without Content-Encoding; nothing was changed"
        return failure("unsupported-media-type", text)
    if method == "PUT" and "HTTP_CONTENT_RANGE" in environ:
        return failure("bad-request", "a configuration is replaced whole: no Content-Range; nothing was changed")
    body = read_body(environ) if method in ("PUT", "PATCH", "POST") else b""
    if isinstance(body, messages.Response):
        return body
    form = read_form(body) if method == "POST" and environ.get("CONTENT_TYPE") == FORM else {}
    if isinstance(form, messages.Response):
        return form
    host, query = environ.get("HTTP_HOST", ""), environ.get("QUERY_STRING", "")
    return messages.Request(
        *(method, environ["PATH_INFO"].encode("latin-1").decode(), host, body, query),
        origin=environ.get("HTTP_ORIGIN"),
        if_match=environ.get("HTTP_IF_MATCH"),
        if_none_match=environ.get("HTTP_IF_NONE_MATCH"),
        came_from=environ.get("REMOTE_ADDR", ""),
        last_event=environ.get("HTTP_LAST_EVENT_ID"),
        form=form,
    )
