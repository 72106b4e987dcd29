"""Long lists in pages: ``limit``, an opaque ``cursor``, and ``next``, the address of the page that follows.

A cursor is the position behind the last element by what the list is sorted by, so that a page stays where it is while
elements come and go: what is there all the time is in exactly one page.
"""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from portlb_app.api.messages import Response
from portlb_app.api.problem_details import failure
from portlb_app.api.routing import Call, Parameter, written

MAX_LIMIT = 1000
LIMIT = Parameter("limit", f"At most so many; all if it is not given, at most {MAX_LIMIT}", numbers=(1, MAX_LIMIT))
CURSOR = Parameter("cursor", "What ``next`` of the page before has")
PAGED = (LIMIT, CURSOR)

Item = TypeVar("Item")


class Page(Generic[Item]):
    """The elements of one page, made while they are asked for; `next` is known when they have been."""

    def __init__(self, call: Call, items: Iterable[Item], key: Callable[[Item], str], after: str) -> None:
        self._call, self._items, self._key, self._after = call, items, key, after
        self._limit = int(call.query["limit"]) if "limit" in call.query else None
        self._next: str | None = None

    def __iter__(self) -> Iterator[Item]:
        shown, last = 0, ""
        for each in self._items:
            place = self._key(each)
            if self._after and place <= self._after:
                continue
            if shown == self._limit:
                self._next = following(self._call, last)
                return
            yield each
            shown, last = shown + 1, place

    def next(self) -> str | None:
        """The address of the next page; None if this is the last."""
        return self._next


def page(call: Call, items: Iterable[Item], key: Callable[[Item], str]) -> Page[Item] | Response:
    """The page that a query means, of elements that are sorted by `key`."""
    after = position(call)
    return after if isinstance(after, Response) else Page(call, items, key, after)


def position(call: Call) -> str | Response:
    """What the cursor of a query has: the key behind which the page begins; empty without a cursor."""
    cursor = call.query.get("cursor")
    if cursor is None:
        return ""
    try:
        found = b64decode(cursor.encode() + b"=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except ValueError:
        found = ""
    return found or failure("bad-query", "cursor is what next of the page before has")


def following(call: Call, last: str) -> str:
    """The address of the page behind the element with this key."""
    query = {**call.query, "cursor": urlsafe_b64encode(last.encode()).decode().rstrip("=")}
    return f"{call.request.path}?{written(query)}"
