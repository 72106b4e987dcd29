"""A controller for the command line's tests, without a socket: what it answers, and what it was asked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from portlb_app.cli.output import Failed
from portlb_app.cli.rest_client import Controller


class FakeController(Controller):
    """`answers`: by method and path what it answers in turn, a status and a value; the last one again and again.

    `events`: the lines of its stream; there is none if they are None.
    """

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:8080")
        self.answers: dict[str, list[tuple[int, Any]]] = {}
        self.asked: list[tuple[str, Any, dict[str, str]]] = []
        self.events: list[bytes] | None = None

    def text(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | str | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = 0.0,
    ) -> tuple[int, bytes]:
        """The answer to one request."""
        request = f"{method} {path}"
        self.asked.append((request, body, dict(headers or {})))
        answers = self.answers.get(request, [(404, {"error": f"there is no {path}"})])
        status, said = answers.pop(0) if len(answers) > 1 else answers[0]
        return status, said if isinstance(said, bytes) else json.dumps(said).encode()

    def stream(self, path: str) -> Iterator[bytes]:
        """The lines of its events."""
        if self.events is None:
            raise Failed("no events")
        yield from self.events
