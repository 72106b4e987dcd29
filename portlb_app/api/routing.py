"""What a route is: a path, and by method what is done, by which role, what it takes and what it answers.

From the same table requests are routed, and 404, 405, ``Allow`` and the OpenAPI document are made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel

from portlb_app.api.identity import Role
from portlb_app.api.messages import Request, Response
from portlb_app.api.problem_details import Slug, failure
from portlb_app.api.snapshot import Snapshot
from portlb_app.config.problems import printable

Asked = TypeVar("Asked")
"""What a request asks for, if it is more than to be told something."""
_NUMBER = re.compile("[1-9][0-9]{0,8}")
_NAME = re.compile(r"\{([a-z]+)\}")
MAX_VALUE = 256
"""Characters of a value of the query."""


@dataclass(frozen=True)
class Parameter:
    """A key of the query. `words`: the values it may have; `numbers`: the least and the greatest; else any text."""

    name: str
    text: str
    words: tuple[str, ...] = ()
    numbers: tuple[int, int] | None = None

    def problem(self, value: str) -> str:
        """What is wrong with a value; empty if it is sound."""
        if self.words and value not in self.words:
            return f"there is no {self.name} {printable(value)!r}; there are {', '.join(self.words)}"
        if self.numbers and not (_NUMBER.fullmatch(value) and self.numbers[0] <= int(value) <= self.numbers[1]):
            return f"{self.name} is a number from {self.numbers[0]} to {self.numbers[1]}"
        if not value or len(value) > MAX_VALUE:
            return f"{self.name} has from 1 to {MAX_VALUE} characters"
        return ""


@dataclass(frozen=True)
class Media:
    """A body that is not JSON of a model: its type, what it is, and whether it is text or, once read, an object."""

    content_type: str
    text: str
    schema_type: Literal["string", "object"] = "string"


Body = type[BaseModel] | Media


@dataclass(frozen=True)
class Call:
    """A request that has found its operation: `names` are those in its path, `query` the keys that were given."""

    request: Request
    snapshot: Snapshot
    names: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation(Generic[Asked]):
    """What one method of a route does.

    `name`: its operationId. `role`: the least that may. `agents`: an agent may, too, for its own server only. `takes`:
    bodies that it takes, by media type. `returns`: bodies by status; `problems`: what may be wrong, beside `ALWAYS`.
    `tags`: it sends an entity tag. `prefers`: it heeds ``Prefer`` (`waiting`). `also`: other bodies than the one for
    200.
    """

    method: str
    name: str
    summary: str
    role: Role
    answer: Callable[[Call], Response | Asked]
    returns: Mapping[int, Body]
    problems: tuple[Slug, ...] = ()
    query: tuple[Parameter, ...] = ()
    takes: tuple[Body, ...] = ()
    agents: bool = False
    tags: bool = False
    prefers: bool = False
    also: tuple[Media, ...] = ()


@dataclass(frozen=True)
class Route(Generic[Asked]):
    """A path, with ``{name}`` for each segment that names something, and its operations."""

    template: str
    operations: tuple[Operation[Asked], ...]

    @property
    def allow(self) -> str:
        """The methods it knows, for ``Allow``."""
        return ", ".join(each.method for each in self.operations)

    @property
    def names(self) -> tuple[str, ...]:
        """The names in its path."""
        return tuple(_NAME.findall(self.template))

    def match(self, segments: list[str]) -> dict[str, str] | None:
        """The names in a path that was split at its slashes; None if it is another one."""
        mine = self.template.split("/")
        if len(mine) != len(segments):
            return None
        names: dict[str, str] = {}
        for each, given in zip(mine, segments, strict=True):
            if each.startswith("{") and given:
                names[each[1:-1]] = given
            elif each != given:
                return None
        return names


@dataclass(frozen=True)
class Found(Generic[Asked]):
    """The operation that a request means, and the names in its path."""

    operation: Operation[Asked]
    names: Mapping[str, str]

    def answer(self, request: Request, snapshot: Snapshot) -> Response | Asked:
        """Do it, if the query is sound."""
        query = read_query(request.query, self.operation)
        if isinstance(query, Response):
            return query
        return self.operation.answer(Call(request, snapshot, self.names, query))


class Routes(Generic[Asked]):
    """All routes. Of two that match, the first is meant."""

    def __init__(self, routes: Iterable[Route[Asked]]) -> None:
        self.all = tuple(routes)

    def find(self, method: str, path: str) -> Found[Asked] | Response:
        """The operation that a method and a path mean, or that there is none. Nothing in the path is decoded here."""
        segments = path.split("/")
        for route in self.all:
            names = route.match(segments)
            if names is not None:
                return self._operation(route, method, path, names)
        known = ", ".join(route.template for route in self.all)
        return failure("not-found", f"there is no {printable(path)}; there are {known}")

    def template(self, path: str) -> str:
        """The template of a path; empty if there is none."""
        segments = path.split("/")
        return next((route.template for route in self.all if route.match(segments) is not None), "")

    def _operation(
        self, route: Route[Asked], method: str, path: str, names: Mapping[str, str]
    ) -> Found[Asked] | Response:
        for each in route.operations:
            if each.method == method:
                return Found(each, names)
        text = f"{printable(path)} knows {route.allow}, not {printable(method)}"
        return failure("method-not-allowed", text, headers={"Allow": route.allow})


def read_query(query: str, operation: Operation[Asked]) -> dict[str, str] | Response:
    """The keys and values of a query, or what is wrong with it. Names need no percent-encoding, so none is undone."""
    parameters = {each.name: each for each in operation.query}
    given: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        key, _, value = pair.partition("=")
        if key not in parameters:
            known = f"there are {', '.join(parameters)}" if parameters else "there is nothing to choose here"
            return failure("bad-query", f"there is no {printable(key)!r}; {known}")
        if key in given:
            return failure("bad-query", f"{key} is given twice")
        if problem := parameters[key].problem(value):
            return failure("bad-query", problem)
        given[key] = value
    return given


def written(query: Mapping[str, str]) -> str:
    """The query that `read_query` reads as these keys and values."""
    return "&".join(f"{key}={value}" for key, value in query.items())
