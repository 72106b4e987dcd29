"""The OpenAPI document (3.1.0): made of the route table and the models, so it says what there is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from portlb_app import __version__
from portlb_app.api.models.problem import ProblemBody
from portlb_app.api.problem_details import KINDS, MEDIA_TYPE, Slug
from portlb_app.api.routing import Asked, Body, Media, Operation, Parameter, Route

ALWAYS: tuple[Slug, ...] = (
    *("unauthenticated", "not-allowed"),
    *("bad-request", "bad-query", "host-not-allowed", "method-not-allowed", "too-large", "target-too-long"),
    *("head-too-large", "internal"),
)
"""What may be wrong with any request."""
CHANGING: tuple[Slug, ...] = ("foreign-origin", "unsupported-media-type", "busy", "ending")
"""And with one that changes something."""
_REF = "#/components/schemas/{model}"
_JSON = "application/json"
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
NAMES = {
    "change": ("The number of a change", {"type": "integer", "minimum": 1, "maximum": 999_999_999}),
    "server": ("The name of a server", {"type": "string", "pattern": NAME}),
    "vip": ("The name of a VIP", {"type": "string", "pattern": NAME}),
    "port": ("A redirect port", {"type": "integer", "minimum": 1, "maximum": 65535}),
    "switch": ("The name of a switch, or its datapath id, decimal or hexadecimal with 0x", {"type": "string"}),
}
"""What the names in paths are: a sentence and a schema."""

SECURITY: Mapping[str, Mapping[str, str]] = {
    "token": {"type": "http", "scheme": "bearer", "description": "A line of the file of tokens, over TLS"},
    "certificate": {"type": "mutualTLS", "description": "A client certificate, whose name the file of tokens has"},
}
"""How clients of other hosts say who they are; programs of this one need not."""
_ACCESS = (
    "x-portlb-role is the least role that an operation takes: read, operator or admin. On the Unix socket the kernel "
    "says which user asks, and no token is needed; on loopback it is needed only with --wsapi-access. "
    "See REST in docs/operations.md."
)


def document(routes: Iterable[Route[Asked]]) -> dict[str, Any]:
    """The whole document. The same routes and models make the same text."""
    routes = tuple(routes)
    models: dict[str, type[BaseModel]] = {"ProblemBody": ProblemBody}
    models |= {each.__name__: each for each in _models(routes)}
    _, schemas = models_json_schema([(models[name], "validation") for name in sorted(models)], ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "portlb",
            "version": __version__,
            "summary": "A stateless layer-4 load balancer for Open vSwitch",
            "description": _ACCESS,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {route.template: _path(route) for route in routes},
        "security": [{}, *({name: []} for name in SECURITY)],
        "components": {
            "securitySchemes": SECURITY,
            "schemas": schemas["$defs"],
            "responses": {
                "Problem": {
                    "description": "What is wrong (RFC 9457)",
                    "content": {MEDIA_TYPE: {"schema": _reference(ProblemBody)}},
                }
            },
        },
    }


def _models(routes: Iterable[Route[Asked]]) -> Iterator[type[BaseModel]]:
    for route in routes:
        for operation in route.operations:
            for body in (*operation.takes, *operation.returns.values()):
                if not isinstance(body, Media):
                    yield body


def _path(route: Route[Asked]) -> dict[str, Any]:
    named = [
        {"name": name, "in": "path", "required": True, "description": NAMES[name][0], "schema": NAMES[name][1]}
        for name in route.names
    ]
    operations = {each.method.lower(): _operation(each) for each in route.operations}
    return {"parameters": named, **operations} if named else operations


def _operation(operation: Operation[Asked]) -> dict[str, Any]:
    made: dict[str, Any] = {"operationId": operation.name, "summary": operation.summary}
    made["x-portlb-role"] = operation.role.name.lower()
    parameters = [_query(each) for each in operation.query]
    if operation.method == "GET":
        parameters.append(_header("If-None-Match"))
    elif operation.tags:
        fields = ["If-Match", "If-None-Match"]
        parameters += [_header(each) for each in fields]
    if operation.prefers:
        parameters.append(_header("Prefer", "respond-async and wait (RFC 7240)"))
    if parameters:
        made["parameters"] = parameters
    if operation.takes:
        made["requestBody"] = {"required": True, "content": dict(map(_content, operation.takes))}
    made["responses"] = {str(status): each for status, each in sorted(_responses(operation).items())}
    return made


def _responses(operation: Operation[Asked]) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for status, body in operation.returns.items():
        text = body.text if isinstance(body, Media) else (body.__doc__ or "").partition("\n")[0]
        bodies = (body, *operation.also) if status == 200 else (body,)
        found[status] = {"description": text, "content": dict(map(_content, bodies))}
        if operation.tags or operation.method == "GET":
            found[status]["headers"] = {"ETag": {"schema": {"type": "string"}}}
        if operation.prefers:
            found[status].setdefault("headers", {})["Preference-Applied"] = {"schema": {"type": "string"}}
    if operation.method == "GET":
        found[304] = {"description": "What If-None-Match names is still what there is"}
    slugs = (*ALWAYS, *(CHANGING if operation.method != "GET" else ()), *operation.problems)
    for status in sorted({KINDS[slug].status for slug in slugs}):
        found[status] = {"$ref": "#/components/responses/Problem"}
    return found


def _content(body: Body) -> tuple[str, dict[str, Any]]:
    if isinstance(body, Media):
        return body.content_type, {"schema": {"type": body.schema_type}}
    return _JSON, {"schema": _reference(body)}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}


def _query(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if parameter.words:
        schema["enum"] = list(parameter.words)
    elif parameter.numbers:
        schema = {"type": "integer", "minimum": parameter.numbers[0], "maximum": parameter.numbers[1]}
    return {"name": parameter.name, "in": "query", "description": parameter.text, "schema": schema}


def _header(name: str, text: str = "Entity tags (RFC 9110)") -> dict[str, Any]:
    return {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}
