"""The route table: what is found by it, and what is made of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from portlb_app.api.messages import Request, Response
from portlb_app.api.openapi import document
from portlb_app.api.problem_details import KINDS, failure
from portlb_app.api.routes import ROUTES, respond
from portlb_app.api.routing import Call, Operation, Parameter, Role, Route, Routes
from portlb_app.api.snapshot import RefusedConnections, Snapshot
from portlb_app.config.problems import Problem
from portlb_app.reconcile.status import Status

OPERATIONS = [(route, operation) for route in ROUTES.all for operation in route.operations]
SNAPSHOT = Snapshot(Status(1, (), ()), "", RefusedConnections())
DOCUMENTS = Path(__file__).parents[3] / "docs"


def echo(call: Call) -> Response:
    return Response(200, f"{dict(call.names)} {dict(call.query)}")


def operation(method: str, *query: Parameter) -> Operation[Any]:
    return Operation(method, method, "", Role.READ, echo, {}, query=query)


PARAMETERS = (Parameter("n", "", numbers=(1, 12)), Parameter("w", "", ("p", "q")), Parameter("t", ""))
SMALL: Routes[Any] = Routes(
    (
        Route("/v1/a", (operation("GET"), operation("PUT"))),
        Route("/v1/a/x", (operation("GET"),)),
        Route(
            "/v1/a/{name}/b/{other}",
            (operation("GET", *PARAMETERS),),
        ),
    )
)


def ask(method: str, path: str, query: str = "") -> Response:
    found = SMALL.find(method, path)
    answered = found if isinstance(found, Response) else found.answer(Request(method, path, "", query=query), SNAPSHOT)
    assert isinstance(answered, Response)
    return answered


def test_a_path_has_names() -> None:
    assert ask("GET", "/v1/a/x.y/b/%2e").body == "{'name': 'x.y', 'other': '%2e'} {}"
    assert ask("GET", "/v1/a/x/b/y", "w=q&n=12").body == "{'name': 'x', 'other': 'y'} {'w': 'q', 'n': '12'}"


@pytest.mark.parametrize("path", ["", "/", "v1/a", "/v1/a/", "/v1/a/y", "/v1/a//b/y", "/v1/a/x/b/", "/v1/a/x/b/y/z"])
def test_another_path_is_not_found(path: str) -> None:
    answered = ask("GET", path)
    assert answered.status == 404
    assert json.loads("".join(answered.body))["detail"].endswith("there are /v1/a, /v1/a/x, /v1/a/{name}/b/{other}")


def test_another_method_is_told_which_there_are() -> None:
    answered = ask("DELETE", "/v1/a")
    assert (answered.status, answered.headers) == (405, {"Allow": "GET, PUT"})


@pytest.mark.parametrize("query", "n|n=|n=0|n=13|n=1.0|n=01|w=r|t=|a=1|t=1&t=1".split("|") + ["t=" + "x" * 257])
def test_a_query_is_known_or_refused(query: str) -> None:
    answered = ask("GET", "/v1/a/x/b/y", query)
    assert answered.status == 400
    assert json.loads("".join(answered.body))["type"] == "/docs/problems#bad-query"


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [each.name for _, each in OPERATIONS]
    assert len(names) == len(set(names)) and all(re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", name) for name in names)


def test_what_changes_something_is_not_for_readers() -> None:
    readers = {each.name for _, each in OPERATIONS if each.method != "GET" and each.role is Role.READ}
    assert readers == {"explainPacket"}, "a question with a body"


def test_the_document_says_what_the_table_says() -> None:
    made = document(ROUTES.all)
    assert made == document(ROUTES.all)
    assert json.dumps(made) == json.dumps(document(ROUTES.all)), "in the same order, too"
    for route, each in OPERATIONS:
        told = made["paths"][route.template][each.method.lower()]
        assert told["operationId"] == each.name
        assert {*map(str, each.returns)} <= told["responses"].keys()
        asked = [every["name"] for every in told.get("parameters", ()) if every["in"] == "query"]
        assert asked == [every.name for every in each.query]
    served = respond(Request("GET", "/v1/openapi.json", "localhost"), SNAPSHOT)
    assert isinstance(served, Response) and json.loads("".join(served.body)) == made


def test_the_document_is_openapi() -> None:
    """And says how clients of other hosts say who they are."""
    made = json.loads(json.dumps(document(ROUTES.all)))
    OpenAPIV31SpecValidator(made).validate()
    schemes = made["components"]["securitySchemes"]
    assert {each["type"] for each in schemes.values()} == {"http", "mutualTLS"}
    assert [*schemes] == [name for each in made["security"] for name in each]


def test_every_reference_of_the_document_leads_somewhere() -> None:
    text = json.dumps(document(ROUTES.all))
    made = json.loads(text)
    for kind, name in set(re.findall(r'"#/components/(\w+)/(\w+)"', text)):
        assert name in made["components"][kind], name


def test_every_kind_of_problem_is_documented() -> None:
    """With its status, and in the order of the statuses."""
    told = re.findall(r"^## (\S+)\n(\d+)\.", (DOCUMENTS / "problems.md").read_text(), re.M)
    assert told == [(slug, str(kind.status)) for slug, kind in KINDS.items()]


def test_a_problem_is_what_rfc_9457_says() -> None:
    answered = failure("invalid-request", 'a "quote"', errors=(Problem("a.b", "no"),), says=["x"])
    assert (answered.status, answered.content_type) == (422, "application/problem+json")
    assert json.loads("".join(answered.body)) == {
        "type": "/docs/problems#invalid-request",
        "title": "The request has mistakes",
        "status": 422,
        "detail": 'a "quote"',
        "error": 'a "quote"',
        "errors": [{"path": "a.b", "message": "no"}],
        "says": ["x"],
    }
