"""HTTP on one side, `api` on the other: nothing is decided here.

`Rest` is what Ryu's router calls for a request that is portlb's (`site`), behind the middleware (`gate`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import eventlet
from ryu.app.wsgi import Request, Response

from portlb_app.api import access, asking, explaining, messages, switches
from portlb_app.api.batches import Batch
from portlb_app.api.changes import ReadChange, Rollback
from portlb_app.api.edits import Edit
from portlb_app.api.effective import EffectiveWanted
from portlb_app.api.events import CONTENT_TYPE, Follow
from portlb_app.api.identity import Role
from portlb_app.api.problem_details import failure
from portlb_app.api.routes import respond
from portlb_app.api.waiting import told
from portlb_app.api.wishes import Wish
from portlb_app.config.etag import Precondition, is_known, weak_etag
from portlb_app.controller.app import Controller
from portlb_app.controller.bodies import Environ, read_body, read_form
from portlb_app.controller.http_server import phrase
from portlb_app.page.actions import Confirmed
from portlb_app.page.routes import FORM, ROUTES, Asked, for_people, is_page
from portlb_app.punt.asking import Question
from portlb_app.runtime.turn import Turn

Change = TypeVar("Change")
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
            headers = messages.headers(messages.Response(200, "", CONTENT_TYPE))
            return Response(status="200 OK", headerlist=list(headers.items()), app_iter=pieces)
        if is_page(path):
            response = for_people(response, self._controller.snapshot)
        body = self._encode(_whole(response.body))
        if response.status == 200 and request.method in ("GET", "HEAD") and "ETag" not in response.headers:
            tag = weak_etag(body)
            is_there = is_known(request.environ.get("HTTP_IF_NONE_MATCH"), tag)
            response = replace(response, status=304 if is_there else 200, headers={**response.headers, "ETag": tag})
            body = b"" if is_there else body
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
        read = self._read(request.environ)
        if isinstance(read, messages.Response):
            return read
        response: messages.Response | Asked = respond(read, self._controller.snapshot, ROUTES)
        if isinstance(response, ReadChange):
            return self._controller.changes.tell(response.change)
        if isinstance(response, Rollback):
            response = self._controller.changes.proposed(response)
        if isinstance(response, messages.Proposal | Edit):
            asked = response if isinstance(response, messages.Proposal) else response.proposal
            return told(self._compared(self._proposed(response), asked.precondition), asked.applied)
        if isinstance(response, Wish | Batch) and response.dry_run:
            return self._controller.previews.of_wish(response)
        if isinstance(response, Wish | Batch):
            return told(self._controller.wishes.carry_out(response), response.waiting.applied)
        if isinstance(response, switches.Resync):
            return self._controller.inspecting.resync(response)
        if isinstance(response, switches.TablesWanted):
            return self._controller.inspecting.tables(response)
        if isinstance(response, EffectiveWanted):
            return self._controller.inspecting.effective(response)
        if isinstance(response, Question):
            return self._ask(response)
        if isinstance(response, explaining.Asked):
            return self._controller.explaining.answer(response)
        if isinstance(response, Confirmed):
            outcome = self._controller.wishes.carry_out(response.wish)
            return response.answer(outcome, self._controller.snapshot)
        return response

    def _proposed(self, asked: messages.Proposal | Edit) -> messages.Response:
        if isinstance(asked, Edit):
            return self._waited_for(self._controller.edits.carry_out, asked)
        if asked.dry_run:
            return self._controller.previews.of_configuration(asked)
        return self._waited_for(self._controller.proposals.replace, asked)

    def _compared(self, response: messages.Response, condition: Precondition) -> messages.Response:
        """The answer; that another configuration is live than the client means, with what has changed since."""
        if response.status != 412 or not condition.meant:
            return response
        found = self._controller.changes.outdated(condition.meant, self._controller.snapshot)
        return replace(found, headers={**response.headers, **found.headers})

    def _read(self, environ: Environ) -> messages.Request | messages.Response:
        """The request, or the answer to one that may not be made, or cannot be read: of that no body is waited for."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"].encode("latin-1").decode()
        found = ROUTES.find(method, path)
        if isinstance(found, messages.Response):
            return found
        environ["portlb.changes"] = found.operation.role > Role.READ
        asks, query = environ["portlb.identity"], environ.get("QUERY_STRING", "")
        if refusal := access.refusal(asks, found.operation, found.names, query, _field(environ, "content-type")):
            return refusal
        body = read_body(environ) if found.operation.takes else b""
        if isinstance(body, messages.Response):
            return body
        conditions = environ.get("HTTP_IF_MATCH"), environ.get("HTTP_IF_NONE_MATCH")
        host, known = environ.get("HTTP_HOST", ""), (asks.name, environ["portlb.from"])
        last, accept = environ.get("HTTP_LAST_EVENT_ID"), environ.get("HTTP_ACCEPT", "")
        form = read_form(body) if any(each is FORM for each in found.operation.takes) else {}
        if isinstance(form, messages.Response):
            return form
        prefer = environ.get("HTTP_PREFER")
        who = asks.role, environ.get("portlb.has_session", False)
        return messages.Request(method, path, host, body, query, *conditions, *known, last, form, accept, prefer, *who)

    def _ask(self, question: Question) -> messages.Response:
        try:
            answers = self._controller.asking.ask(question)
        except ValueError as error:
            return failure("busy", str(error))
        return asking.response(question, answers, self._controller.snapshot)

    def _waited_for(self, carry_out: Callable[[Change], messages.Response], change: Change) -> messages.Response:
        self._proposals += 1
        try:
            return carry_out(change)
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


def _field(environ: Environ, name: str) -> str | None:
    """A header field as it was sent; WSGI has a type for every body, also where a request says none."""
    return next((value for key, value in environ["headers_raw"] if key.lower() == name), None)
