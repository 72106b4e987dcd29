"""Ryu's WSGI application (`ryu.app.wsgi`), which portlb shares with Ryu's other applications.

Its router decides whose a request is. Routes of portlb are those of the table in `api`, and come first; a request that
no route is for is portlb's, too, which answers 404 as it answers everything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ryu.app.wsgi import ControllerBase, Request, Response, WSGIApplication, route

from portlb_app.controller.rest import Rest


class RestController(ControllerBase):  # type: ignore[misc]
    """What Ryu calls for a request that is portlb's. Its `data` is the `Rest` that answers."""

    data: Rest

    def answer(self, request: Request, **_names: str) -> Response:
        """The answer; names in the path are looked up again, where nothing of it is decoded."""
        return self.data.answer(request)


class Site(WSGIApplication):  # type: ignore[misc]
    """Ryu's router, with the routes of portlb."""

    def __init__(self, rest: Rest) -> None:
        super().__init__()
        self._ours = _controller(rest.templates)
        self.register(self._ours, rest)

    def is_ours(self, environ: dict[str, Any]) -> bool:
        """Whether a request (PEP 3333), whose path is UTF-8, is portlb's."""
        return self._found(self.mapper.match(environ=environ))["controller"] is self._ours

    def _match(self, request: Request) -> dict[str, Any]:
        return self._found(super()._match(request))

    def _found(self, match: dict[str, Any] | None) -> dict[str, Any]:
        return match or {"controller": self._ours, "action": "answer"}


def _controller(templates: Iterable[str]) -> type[RestController]:
    """The class that Ryu registers: a method with a route for each path."""

    def method(number: int, path: str) -> Any:
        def answer(self: RestController, request: Request, **names: str) -> Response:
            return self.answer(request, **names)

        return route(f"portlb {number}", path)(answer)

    return type("Rest", (RestController,), {f"answer_{n}": method(n, path) for n, path in enumerate(templates)})
