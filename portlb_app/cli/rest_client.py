"""The controller's REST interface, as a command asks it. Nothing but the standard library."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from portlb_app.cli.output import FAILED, WRONG_INPUT, Failed, WrongInput
from portlb_app.config.problems import printable

ENVIRONMENT = "PORTLB_CONTROLLER"
USUAL = "http://127.0.0.1:8080"
SECONDS = 60.0
"""How long an answer may take: 15 s for the switches, and the requests that came before."""
MAX_ANSWER = 256 << 20
MAX_LINE = 1 << 20
NOT_YET = 3
"""Exit code: it stands, but has not come about within the time."""

_CODES = {404: WRONG_INPUT, 413: WRONG_INPUT, 422: WRONG_INPUT, 504: NOT_YET}
"""Exit codes by status; of all others that are errors FAILED."""


class Answer(NamedTuple):
    """A status and a JSON object."""

    status: int
    body: dict[str, Any]

    @property
    def code(self) -> int:
        """The exit code that it means."""
        return 0 if self.status < 400 else _CODES.get(self.status, FAILED)

    def complain(self) -> None:
        """Print a line for each mistake, if there are any."""
        if not self.code:
            return
        lines = [f"portlb: {printable(str(self.body.get('error', f'the controller answers {self.status}')))}"]
        for each in self.body.get("errors", ()):
            lines.append(printable(f"{each['path']}: {each['message']}" if each["path"] else each["message"]))
        print(*lines, sep="\n", file=sys.stderr)


def add_flag(parser: argparse.ArgumentParser) -> None:
    """Add the flag that says which controller."""
    parser.add_argument(
        "--controller", metavar="URL", default=None,
        help=f"its REST interface, http://HOST:PORT or unix:///PATH (default ${ENVIRONMENT}, else {USUAL})",
    )  # fmt: skip


class Controller:
    """The controller that the command line or the environment names; WrongInput for no address."""

    def __init__(self, given: str | None) -> None:
        self._url = given or os.environ.get(ENVIRONMENT) or USUAL
        try:
            self._parts = urlsplit(self._url)
            is_sound = bool(self._parts.hostname) and self._parts.port != 0 and self._parts.scheme == "http"
        except ValueError:
            is_sound = False
        if self._url.startswith("unix:///"):
            is_sound = True
        if not is_sound or not self._url.isprintable():
            raise WrongInput(f"portlb: {self._url!r} is no controller: say http://HOST:PORT or unix:///PATH")

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        """One request and its answer; Failed if there is none."""
        text = None if body is None else json.dumps(body)
        headers = {} if text is None else {"Content-Type": "application/json"}
        try:
            with contextlib.closing(self._connection()) as connection:
                connection.request(method, path, text, headers)
                response = connection.getresponse()
                content = response.read(MAX_ANSWER)
        except (OSError, HTTPException) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise Failed(f"portlb: {self._url} does not answer: {reason}") from error
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Failed(f"portlb: {self._url} answers {response.status} without a JSON object: is it a controller?")
        return Answer(response.status, answer)

    def lines(self, path: str) -> Iterator[str]:
        """The lines of a stream of events, as they come; Failed when it ends, or says nothing for too long."""
        try:
            with contextlib.closing(self._connection()) as connection:
                connection.request("GET", path, headers={"Accept": "text/event-stream"})
                response = connection.getresponse()
                if response.status != 200:
                    raise Failed(f"portlb: {self._url} answers {response.status} instead of a stream")
                while line := response.readline(MAX_LINE):
                    yield line.decode(errors="replace").rstrip("\n")
        except (OSError, HTTPException) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise Failed(f"portlb: {self._url}: the stream is lost: {reason}") from error
        raise Failed(f"portlb: {self._url}: the stream has ended")

    def _connection(self) -> HTTPConnection:
        if self._parts.scheme != "unix":
            return HTTPConnection(self._parts.hostname or "localhost", self._parts.port or 80, timeout=SECONDS)
        connection = HTTPConnection("localhost", timeout=SECONDS)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(SECONDS)
        connection.sock.connect(self._parts.path)
        return connection
