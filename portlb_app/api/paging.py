"""Long lists in pages: ``limit``, an opaque ``cursor``, and ``next``, the address of the page that follows.

A cursor is the position behind the last element by what the list is sorted by, so that a page stays where it is while
elements come and go.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from portlb_app.api.messages import Response
from portlb_app.api.problem_details import failure
from portlb_app.api.routing import Call, Parameter

MAX_LIMIT = 1000
LIMIT = Parameter("limit", f"At most so many; all if it is not given, at most {MAX_LIMIT}", numbers=(1, MAX_LIMIT))
CURSOR = Parameter("cursor", "What ``next`` of the page before has")
PAGED = (LIMIT, CURSOR)

Item = TypeVar("Item")


class Page(NamedTuple):
    """The elements of one page, and the address of the next one; None if this is the last."""

    items: Sequence[Any]
    next: str | None


def page(call: Call, items: Sequence[Item], key: Callable[[Item], str]) -> Page | Response:
    """The page that a query means, of elements that are sorted by `key`."""
    after = ""
    if (cursor := call.query.get("cursor")) is not None:
        try:
            after = urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)).decode()
        except ValueError:
            return failure("bad-query", "cursor is what next of the page before has")
    left: Iterator[Item] = (each for each in items if not after or key(each) > after)
    if "limit" not in call.query:
        return Page(tuple(left), None)
    some = tuple(islice(left, int(call.query["limit"]) + 1))
    shown = some[: int(call.query["limit"])]
    if len(shown) == len(some):
        return Page(shown, None)
    following = urlsafe_b64encode(key(shown[-1]).encode()).decode().rstrip("=")
    query = {**call.query, "cursor": following}
    return Page(shown, f"{call.request.path}?{'&'.join(f'{name}={value}' for name, value in query.items())}")
