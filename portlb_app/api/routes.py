"""The REST interface without HTTP: a request value in, a response value out, or what the request asks for.

`ROUTES` is the table of all of it, and the OpenAPI document (``GET /v1/openapi.json``) is that table for programs.
docs/rest.md is for people.

An entity tag names a configuration (`etag`): GET /v1/config sends it, the status has it as ``etag``, and a PUT with
``If-Match`` changes nothing (412) when another configuration is live by the time its turn has come. Without
``If-Match`` a PUT replaces whatever is live.

Every error is a problem (`problem_details`). `access` says before who may ask, and that no web page does; every answer
says that it is kept nowhere and is nothing but what its type says.
"""

from __future__ import annotations

from typing import Any

from portlb_app.api import (
    asking,
    batches,
    changes,
    checks,
    configuration,
    connections,
    edit_routes,
    edits,
    events,
    explaining,
    paging,
    pools,
    readiness,
    resources,
    servers,
    status,
    why,
    wishes,
)
from portlb_app.api.batches import Batch
from portlb_app.api.configuration import DRY_RUN, STEPS
from portlb_app.api.identity import Role
from portlb_app.api.messages import Proposal, Request, Response, json_text
from portlb_app.api.models import asking as of_asking
from portlb_app.api.models import batches as of_batches
from portlb_app.api.models import explaining as of_explaining
from portlb_app.api.models import history as of_history
from portlb_app.api.models import lists as of_lists
from portlb_app.api.models import pools as of_pools
from portlb_app.api.models import preview as of_preview
from portlb_app.api.models import servers as of_servers
from portlb_app.api.models import status as of_status
from portlb_app.api.openapi import document
from portlb_app.api.problem_details import Slug
from portlb_app.api.routing import Body, Call, Media, Operation, Parameter, Route, Routes
from portlb_app.api.snapshot import Snapshot
from portlb_app.api.waiting import WISH_TIMEOUT, WISH_WAIT
from portlb_app.api.wishes import Wish
from portlb_app.punt.asking import Question

_Recorded = events.Follow | changes.ReadChange | changes.Rollback
Asked = Proposal | Wish | Batch | Question | explaining.Asked | resources.Asked | edits.Edit | _Recorded
"""What the controller carries out, and answers then (`configuration.outcome_response`, `wish_answers.answer`,
`asking.response`)."""

_YAML = Media("application/yaml", "The text of a configuration (YAML or JSON)", "object")
_TEXT = Media(readiness.TEXT, "A line of text")
_VIP = Parameter("vip", "Only of this VIP")
_BY = Parameter("by", "Who asks; a request without a body says it here")
_WISH: tuple[Slug, ...] = (
    *("not-found", "would-break", "too-many-overrides", "changed-meanwhile", "not-saved", "timed-out", "not-computed"),
)


def _get(
    name: str, summary: str, answer: Any, returns: Any, query: tuple[Parameter, ...] = (), **more: Any
) -> Operation[Asked]:
    return Operation("GET", name, summary, Role.READ, answer, {200: returns}, query=query, **more)


def _wish(
    method: str,
    name: str,
    summary: str,
    answer: Any,
    takes: Any = (),
    query: tuple[Parameter, ...] = (),
    returns: tuple[Body, Body] = (of_servers.WishAnswer, of_servers.WishLater),
) -> Operation[Asked]:
    problems = (*_WISH, "invalid-request") if takes else _WISH
    query, by_status = (WISH_WAIT, WISH_TIMEOUT, DRY_RUN, STEPS, *query), dict(zip((200, 202), returns, strict=True))
    return Operation(method, name, summary, Role.OPERATOR, answer, by_status, problems, query, takes, prefers=True)


_METRICS = Media("text/plain; version=0.0.4; charset=utf-8", "Prometheus' text format")


def _metrics(call: Call) -> Response:
    return Response(200, call.snapshot.exposition(call.snapshot), _METRICS.content_type)


_OPENAPI: dict[str, str] = {}


def _openapi(_call: Call) -> Response:
    return Response(200, _OPENAPI["text"])


ROUTES: Routes[Asked] = Routes(
    (
        Route("/v1/status", (_get("getStatus", "The whole status", status.read, of_status.Status),)),
        Route(
            "/v1/connections",
            (
                _get(
                    *("listConnections", "The log of connections, newest first", connections.listed),
                    of_lists.Connections,
                    query=connections.QUERY,
                    problems=("gone",),
                ),
            ),
        ),
        Route("/v1/checks", (_get("listChecks", "Every health check", checks.listed, of_lists.Checks, checks.QUERY),)),
        Route(
            "/v1/config",
            (
                _get(
                    *("getConfig", "The text of the live configuration, as it was given", configuration.read, _YAML),
                    query=(Parameter("server", "The one that this server's agent may act on"),),
                    problems=("not-known-yet",),
                    agents=True,
                    tags=True,
                ),
                Operation(
                    *("PUT", "replaceConfig", "Replace the configuration", Role.ADMIN, configuration.propose),
                    {200: of_preview.ConfigAnswer, 202: of_preview.ConfigLater},
                    problems=edit_routes.PROPOSAL,
                    query=(configuration.WAIT_OR_NOT, *configuration.HOW[1:]),
                    takes=(_YAML, Media("application/json", _YAML.text, "object")),
                    tags=True,
                    prefers=True,
                ),
                edit_routes.CONFIG,
            ),
        ),
        Route(
            "/v1/servers",
            (
                _get(
                    *("listServers", "What is wanted, seen and held of servers", servers.listed, of_servers.Servers),
                    query=(_VIP, servers.STATE, *paging.PAGED),
                    problems=("not-found",),
                ),
                _wish(
                    *("PATCH", "patchServers", "States and weights of several, all or none", batches.batch),
                    (of_batches.BatchBody,),
                    returns=(of_batches.BatchAnswer, of_batches.BatchLater),
                ),
            ),
        ),
        Route(
            "/v1/servers/{server}",
            (_get("getServer", "One server", servers.one, of_servers.Server, problems=("not-found",)),),
        ),
        Route(
            "/v1/servers/{server}/why",
            (
                _get(
                    *("getWhy", "Why it gets new connections, or gets none", why.read, of_servers.ServerWhy),
                    problems=("not-found",),
                ),
            ),
        ),
        Route(
            "/v1/servers/{server}/state",
            (
                _get("getState", "What is wanted", servers.state, of_servers.WantedState, problems=("not-found",)),
                _wish("PUT", "setState", "Ready, drain or maint", wishes.state, (of_servers.StateBody,)),
            ),
        ),
        Route(
            "/v1/servers/{server}/weight",
            (
                _get("getWeight", "Its weight", servers.weight, of_servers.WeightState, problems=("not-found",)),
                _wish("PUT", "setWeight", "A weight in place of the file's", wishes.weight, (of_servers.WeightBody,)),
                _wish("DELETE", "unsetWeight", "Back to the file's weight", wishes.no_weight, query=(_BY,)),
            ),
        ),
        Route(
            "/v1/pools",
            (
                _get(
                    *("listPools", "The slots of pools", pools.listed, of_pools.Pools),
                    query=(_VIP, *paging.PAGED),
                    problems=("not-found",),
                ),
            ),
        ),
        Route(
            "/v1/events",
            (
                _get(
                    *("listEvents", "What has happened; with Accept: text/event-stream, as it happens", events.read),
                    of_history.Events,
                    query=(events.KIND, events.SINCE, events.CURSOR, events.LIMIT),
                ),
            ),
        ),
        Route(
            "/v1/changes",
            (
                _get(
                    *("listChanges", "Who changed what, and what became of it", changes.listed, of_history.Changes),
                    query=(changes.WHAT, changes.BEFORE, changes.LIMIT),
                ),
            ),
        ),
        Route(
            "/v1/changes/{change}",
            (
                _get(
                    *("getChange", "One change, with its configuration", changes.one, of_history.WholeChange),
                    problems=("not-found", "not-known-yet"),
                ),
            ),
        ),
        Route(
            "/v1/changes/{change}/rollback",
            (
                Operation(
                    *("POST", "rollBack", "Make its configuration live again", Role.ADMIN, changes.rollback),
                    {200: of_preview.ConfigAnswer, 202: of_preview.ConfigLater},
                    problems=(*edit_routes.PROPOSAL, "not-found", "gone", "not-known-yet"),
                    query=(configuration.WAIT_OR_NOT, *configuration.HOW[1:]),
                    tags=True,
                    prefers=True,
                ),
            ),
        ),
        Route("/healthz", (_get("getHealth", "Whether the controller runs", readiness.healthz, _TEXT),)),
        Route(
            "/readyz",
            (
                Operation(
                    *("GET", "getReadiness", "Whether every switch was read once", Role.READ, readiness.readyz),
                    {200: _TEXT, 503: _TEXT},
                ),
            ),
        ),
        Route("/metrics", (_get("getMetrics", "The metrics, for Prometheus", _metrics, _METRICS),)),
        Route(
            "/v1/explain",
            (
                Operation(
                    *("POST", "explainPacket", "Where a packet goes, and why", Role.READ, explaining.read),
                    {200: of_explaining.Explained},
                    problems=("invalid-request", "busy", "not-known-yet", "not-computed"),
                    takes=(of_explaining.ExplainBody,),
                ),
            ),
        ),
        *resources.ROUTES,
        Route(
            "/v1/ask",
            (
                _get(
                    *("ask", "Which slot and server a packet would get, by the switches' hash", asking.read),
                    of_asking.Asked,
                    query=asking.QUERY,
                    problems=("not-found", "no-switch", "timed-out", "busy"),
                ),
            ),
        ),
        Route(
            "/v1/openapi.json",
            (_get("getOpenapi", "This document", _openapi, Media("application/json", "OpenAPI 3.1", "object")),),
        ),
    )
)
"""Everything there is. A request is answered by the first route that its path is."""
_OPENAPI["text"] = json_text(document(ROUTES.all))


def respond(request: Request, snapshot: Snapshot, routes: Routes[Any] = ROUTES) -> Any:
    """The answer to a request that `access` lets through (`Response`), or what it asks for."""
    found = routes.find(request.method, request.path)
    if isinstance(found, Response):
        return found
    return found.answer(request, snapshot)
