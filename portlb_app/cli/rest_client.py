"""The controller's REST interface, as a command asks it. Nothing but the standard library."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import socket
import ssl
import sys
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from portlb_app.cli.output import FAILED, NOT_YET, WRONG_INPUT, Failed, WrongInput
from portlb_app.config.problems import printable

ENVIRONMENT = "PORTLB_CONTROLLER"
TOKEN_ENVIRONMENT = "PORTLB_TOKEN_FILE"
CA_ENVIRONMENT = "PORTLB_CA"
SOCKETS = ("/run/portlb.sock", "/run/portlb/portlb.sock")
"""Where a controller listens by itself, and where systemd's unit has it listen."""
USUAL = "http://127.0.0.1:8080"
SECONDS = 60.0
"""How long an answer may take: 15 s for the switches, and the requests that came before."""
STREAM_SECONDS = 45.0
"""How long a stream of events may be silent: it says that it lives every 15 s."""
MAX_TOKEN = 240
"""Characters of a token."""
PAGE, MAX_PAGES = 1000, 200
"""Elements of a page of a list, and pages of one."""
MAX_ANSWER = 256 << 20
MAX_LINE = 1 << 20
"""Bytes of an answer, and of a line of one without an end."""
SHOWN_LINES = 200
"""Lines of a difference that are shown with what is wrong."""
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
        for each in self.body.get("errors") or ():
            lines.append(printable(f"{each['path']}: {each['message']}" if each["path"] else each["message"]))
        switches = self.body.get("switches") or {}
        for name in switches:
            said = switches[name] if isinstance(switches, dict) else ["does not have it"]
            lines.append(printable(f"{name}: {'; '.join(map(str, said))}"))
        lines += [printable(line) for line in str(self.body.get("diff") or "").splitlines()[:SHOWN_LINES]]
        print(*lines, sep="\n", file=sys.stderr)


def add_flag(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say which controller, and with which login."""
    parser.add_argument(
        "--controller", "--url", metavar="URL", default=None,
        help=f"its REST interface: unix:///PATH, https://HOST:PORT or http://HOST:PORT (default ${ENVIRONMENT}, else "
        f"{SOCKETS[0]} if there is one, else {USUAL})",
    )  # fmt: skip
    parser.add_argument(
        "--token-file", metavar="FILE", default=None, help=f"file with the token to show (default ${TOKEN_ENVIRONMENT})"
    )
    parser.add_argument(
        "--ca", metavar="FILE", default=None,
        help=f"authority of an https controller's certificate (default ${CA_ENVIRONMENT}, else those of the system)",
    )  # fmt: skip
    parser.add_argument("-v", "--verbose", action="store_true", help="print the requests, as curl sends them")


def controller_of(options: argparse.Namespace) -> Controller:
    """The controller that the flags or the environment name; WrongInput."""
    known = os.environ.get
    token, ca = options.token_file or known(TOKEN_ENVIRONMENT), options.ca or known(CA_ENVIRONMENT)
    return Controller(options.controller or known(ENVIRONMENT) or _usual(), token, ca, options.verbose)


class Controller:
    """A controller's REST interface; WrongInput for no address, or a file that cannot be used.

    `token_file` has a token, which is not sent in the clear to another host; `ca` the authority of its certificate.
    `is_verbose`: each request is printed.
    """

    def __init__(
        self, url: str, token_file: str | None = None, ca: str | None = None, is_verbose: bool = False
    ) -> None:
        self._url, self._token_file, self._ca = url, token_file, ca
        self._is_verbose = is_verbose
        try:
            self._parts = urlsplit(self._url)
            is_sound = bool(self._parts.hostname) and self._parts.port != 0 and self._parts.scheme in ("http", "https")
        except ValueError:
            is_sound = False
        if self._url.startswith("unix:///"):
            is_sound = True
        if not is_sound or not self._url.isprintable():
            kinds = "unix:///PATH, https://HOST:PORT or http://HOST:PORT"
            raise WrongInput(f"portlb: {self._url!r} is no controller: say {kinds}")
        self._headers = {"Authorization": f"Bearer {_token(token_file)}"} if token_file else {}
        if self._headers and self._parts.scheme == "http" and not _is_loopback(self._parts.hostname or ""):
            raise WrongInput(f"portlb: a token is not sent to {self._url} in the clear: use https")
        self._tls = _tls(ca) if self._parts.scheme == "https" else None

    def get(self, path: str) -> Answer:
        """The answer to a GET; what is wrong with it has been printed. Failed if there is none."""
        answer = self.ask("GET", path)
        answer.complain()
        return answer

    def listed(self, path: str, key: str, most: int = PAGE * MAX_PAGES) -> Answer:
        """The answer to a GET of a list, with the elements of all pages, at most so many; as `get`."""
        following, found = f"{path}{'&' if '?' in path else '?'}limit={min(PAGE, most)}", list[Any]()
        while True:
            answer = self.get(following)
            if answer.code:
                return answer
            found += answer.body[key]
            following = str(answer.body.get("next") or "")
            if not following.startswith("/") or len(found) >= most:
                return Answer(answer.status, {**answer.body, key: found[:most]})

    def ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | str | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = SECONDS,
    ) -> Answer:
        """One request, with a JSON object or a YAML text, and its answer, a JSON object; Failed if there is none."""
        status, content = self.text(method, path, body, headers, seconds)
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
        seconds: float = SECONDS,
    ) -> tuple[int, bytes]:
        """One request, and the status and the body of its answer; Failed if there is none within the seconds."""
        kind = "application/yaml" if isinstance(body, str) else "application/json"
        text = body if body is None or isinstance(body, str) else json.dumps(body)
        sent = {**({} if text is None else {"Content-Type": kind}), **(headers or {})}
        try:
            with contextlib.closing(self._connection(seconds)) as connection:
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
        connection.request(method, path, None if text is None else text.encode(), {**self._headers, **headers})
        return connection.getresponse()

    def curl(self, method: str, path: str, text: str | None, headers: Mapping[str, str]) -> str:
        """The command that sends the same request; a long body is left out, and a token."""
        words = ["curl"] if method == "GET" else ["curl", "-X", method]
        url = self._url.rstrip("/")
        if self._parts.scheme == "unix":
            words, url = [*words, "--unix-socket", self._parts.path], "http://localhost"
        if self._ca is not None:
            words += ["--cacert", self._ca]
        for name, value in headers.items():
            words += ["-H", f"{name}: {value}"]
        if text is not None:
            words += ["--data-binary", text if len(text) <= SHOWN_BODY else "@FILE"]
        token = f' -H "Authorization: Bearer $(cat {shlex.quote(self._token_file)})"' if self._token_file else ""
        return f"{shlex.join([*words, url + path])}{token}"

    def _no_answer(self, error: Exception) -> Failed:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        return Failed(f"portlb: {self._url} does not answer: {printable(str(reason))}")

    def _connection(self, seconds: float) -> HTTPConnection:
        if self._tls is not None:
            host, port = self._parts.hostname or "localhost", self._parts.port
            return HTTPSConnection(host, port, timeout=seconds, context=self._tls)
        if self._parts.scheme != "unix":
            return HTTPConnection(self._parts.hostname or "localhost", self._parts.port or 80, timeout=seconds)
        connection = HTTPConnection("localhost", timeout=seconds)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(seconds)
        connection.sock.connect(self._parts.path)
        return connection


def _usual() -> str:
    """The Unix socket of a controller on this machine that may be asked, else its usual port."""
    for path in SOCKETS:
        with contextlib.suppress(OSError), contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
            probe.settimeout(SECONDS)
            probe.connect(path)
            return f"unix://{path}"
    return USUAL


def _token(path: str) -> str:
    try:
        with open(path, "rb") as file:
            token = file.read(MAX_TOKEN + 1).strip().decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no token"
        raise WrongInput(f"portlb: {path}: {reason}") from error
    if not token.isprintable() or not 0 < len(token) <= MAX_TOKEN or " " in token:
        raise WrongInput(f"portlb: {path}: it is no token")
    return token


def _tls(ca: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise WrongInput(f"portlb: {ca}: {error.strerror or error}") from error


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
