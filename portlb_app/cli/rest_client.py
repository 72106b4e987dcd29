"""The controller's REST interface, as a command asks it. Nothing but the standard library."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import socket
import sys
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from portlb_app.cli.output import FAILED, NOT_YET, WRONG_INPUT, Failed, WrongInput
from portlb_app.config.problems import printable

ENVIRONMENT = "PORTLB_CONTROLLER"
USUAL = "http://127.0.0.1:8080"
SECONDS = 60.0
"""How long an answer may take: 15 s for the switches, and the requests that came before."""
STREAM_SECONDS = 45.0
"""How long a stream of events may be silent: it says that it lives every 15 s."""
MAX_ANSWER = 256 << 20
MAX_LINE = 1 << 20
"""Bytes of an answer, and of a line of one without an end."""
SHOWN_BODY = 1000
"""Characters of a body that is shown with its request."""

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
    """Add the flags that say which controller, and whether the requests are shown."""
    parser.add_argument(
        "--controller", metavar="URL", default=None,
        help=f"its REST interface, http://HOST:PORT or unix:///PATH (default ${ENVIRONMENT}, else {USUAL})",
    )  # fmt: skip
    parser.add_argument("-v", "--verbose", action="store_true", help="print the requests, as curl sends them")


def controller_of(options: argparse.Namespace) -> Controller:
    """The controller that these flags name."""
    return Controller(options.controller, is_verbose=options.verbose)


class Controller:
    """The controller that the command line or the environment names; WrongInput for no address."""

    def __init__(self, given: str | None, is_verbose: bool = False) -> None:
        self._url = given or os.environ.get(ENVIRONMENT) or USUAL
        self._is_verbose = is_verbose
        try:
            self._parts = urlsplit(self._url)
            is_sound = bool(self._parts.hostname) and self._parts.port != 0 and self._parts.scheme == "http"
        except ValueError:
            is_sound = False
        if self._url.startswith("unix:///"):
            is_sound = True
        if not is_sound or not self._url.isprintable():
            raise WrongInput(f"portlb: {self._url!r} is no controller: say http://HOST:PORT or unix:///PATH")

    def get(self, path: str) -> Answer:
        """The answer to a GET; what is wrong with it has been printed. Failed if there is none."""
        answer = self.ask("GET", path)
        answer.complain()
        return answer

    def ask(
        self, method: str, path: str, body: dict[str, Any] | str | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request, with a JSON object or a YAML text, and its answer, a JSON object; Failed if there is none."""
        status, content = self.text(method, path, body, headers)
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Failed(f"portlb: {self._url} answers {status} without a JSON object: is it a controller?")
        return Answer(status, answer)

    def text(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """One request, and the status and the body of its answer; Failed if there is none."""
        kind = "application/yaml" if isinstance(body, str) else "application/json"
        text = body if body is None or isinstance(body, str) else json.dumps(body)
        sent = {**({} if text is None else {"Content-Type": kind}), **(headers or {})}
        try:
            with contextlib.closing(self._connection(SECONDS)) as connection:
                response = self._request(connection, method, path, text, sent)
                return response.status, response.read(MAX_ANSWER)
        except (OSError, HTTPException) as error:
            raise self._no_answer(error) from error

    def stream(self, path: str) -> Iterator[bytes]:
        """The lines of an answer without an end (``text/event-stream``), as they come; Failed when it breaks off."""
        headers = {"Accept": "text/event-stream"}
        try:
            with contextlib.closing(self._connection(STREAM_SECONDS)) as connection:
                response = self._request(connection, "GET", path, None, headers)
                if response.status != 200:
                    raise Failed(f"portlb: {self._url} answers {response.status}")
                while line := response.readline(MAX_LINE):
                    yield line
        except (OSError, HTTPException) as error:
            raise self._no_answer(error) from error

    def _request(
        self, connection: HTTPConnection, method: str, path: str, text: str | None, headers: dict[str, str]
    ) -> HTTPResponse:
        if self._is_verbose:
            print(self.curl(method, path, text, headers), file=sys.stderr)
        connection.request(method, path, None if text is None else text.encode(), headers)
        return connection.getresponse()

    def curl(self, method: str, path: str, text: str | None, headers: Mapping[str, str]) -> str:
        """The command that sends the same request; a long body is left out."""
        words = ["curl"] if method == "GET" else ["curl", "-X", method]
        url = self._url.rstrip("/")
        if self._parts.scheme == "unix":
            words, url = [*words, "--unix-socket", self._parts.path], "http://localhost"
        for name, value in headers.items():
            words += ["-H", f"{name}: {value}"]
        if text is not None:
            words += ["--data-binary", text if len(text) <= SHOWN_BODY else "@FILE"]
        return shlex.join([*words, url + path])

    def _no_answer(self, error: Exception) -> Failed:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        return Failed(f"portlb: {self._url} does not answer: {printable(str(reason))}")

    def _connection(self, seconds: float) -> HTTPConnection:
        if self._parts.scheme != "unix":
            return HTTPConnection(self._parts.hostname or "localhost", self._parts.port or 80, timeout=seconds)
        connection = HTTPConnection("localhost", timeout=seconds)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(seconds)
        connection.sock.connect(self._parts.path)
        return connection
