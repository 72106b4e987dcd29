"""The paths of the page, after those of REST."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from portlb_app.api import routes as rest
from portlb_app.api.identity import Role
from portlb_app.api.messages import Response
from portlb_app.api.problem_details import MEDIA_TYPE
from portlb_app.api.routing import Call, Media, Operation, Parameter, Route, Routes
from portlb_app.api.snapshot import Snapshot
from portlb_app.page import actions, events, network, overview, pool, server
from portlb_app.page.frame import frame
from portlb_app.page.rendering import HTML, file, page
from portlb_app.reconcile.happened import KINDS

Asked = rest.Asked | actions.Confirmed
FORM = Media("application/x-www-form-urlencoded", "The fields of a form")
_HTML = Media(HTML, "A page")


def _page(
    template: str, name: str, answer: Callable[[Call], Response], query: tuple[Parameter, ...] = ()
) -> Route[Asked]:
    operation: Operation[Asked] = Operation(
        *("GET", name, "A page", Role.READ, answer), {200: _HTML}, problems=("not-found",), query=query
    )
    return Route(template, (operation,))


def _file(name: str) -> Route[Asked]:
    return _page(f"/page/{name}", name, lambda _call: file(name))


_ACT: Operation[Asked] = Operation(
    *("POST", "act", "A dry run, or what was shown by one", Role.OPERATOR, actions.answer),
    {200: _HTML},
    problems=("not-found", "invalid-request"),
    takes=(FORM,),
)
PAGES: tuple[Route[Asked], ...] = (
    _page("/", "overview", overview.answer, (Parameter("vip", "Only what is behind this VIP"),)),
    _page("/network", "network", network.answer),
    _page(
        *("/events", "events", events.answer),
        (
            Parameter("kind", "Only of this kind", words=KINDS),
            Parameter("before", "Those before this number", numbers=(1, 999_999_999)),
        ),
    ),
    _page("/pools/{vip}/{port}", "pool", pool.answer),
    _page("/servers/{server}", "server", server.answer),
    Route("/servers/{server}/act", (_ACT,)),
    _file("style.css"),
    _file("page.js"),
)
_OF_REST: Iterable[Route[Any]] = rest.ROUTES.all
ROUTES: Routes[Asked] = Routes((*_OF_REST, *PAGES))
"""All paths, of REST and of the page."""


def is_page(path: str) -> bool:
    """Whether a path is one that people look at."""
    return not path.startswith("/v1/") and any(route.match(path.split("/")) is not None for route in PAGES)


def for_people(response: Response, snapshot: Snapshot) -> Response:
    """A problem as a page; everything else as it is."""
    if response.content_type != MEDIA_TYPE:
        return response
    problem = json.loads(response.body if isinstance(response.body, str) else "".join(response.body))
    values = {**frame(snapshot, problem["title"], refresh=0), "problem": problem}
    shown = page("problem.html", values, response.status)
    return Response(shown.status, shown.body, shown.content_type, response.headers)
