"""The controller's REST interface, as a command asks it. Nothing but the standard library."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import ssl
import sys
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from portlb_app.cli.output import FAILED, WRONG_INPUT, Failed, WrongInput
from portlb_app.config.problems import printable

ENVIRONMENT = "PORTLB_CONTROLLER"
TOKEN_ENVIRONMENT = "PORTLB_TOKEN_FILE"
CA_ENVIRONMENT = "PORTLB_CA"
SOCKETS = ("/run/portlb.sock", "/run/portlb/portlb.sock")
"""Where a controller listens by itself, and where systemd's unit has it listen."""
USUAL = "http://127.0.0.1:8080"
SECONDS = 60.0
"""How long an answer may take: 15 s for the switches, and the requests that came before."""
MAX_TOKEN = 240
"""Characters of a token."""
MAX_ANSWER = 256 << 20
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


def controller_of(options: argparse.Namespace) -> Controller:
    """The controller that the flags or the environment name; WrongInput."""
    known = os.environ.get
    token, ca = options.token_file or known(TOKEN_ENVIRONMENT), options.ca or known(CA_ENVIRONMENT)
    return Controller(options.controller or known(ENVIRONMENT) or _usual(), token, ca)


class Controller:
    """A controller's REST interface; WrongInput for no address, or a file that cannot be used.

    `token_file` has a token, which is not sent in the clear to another host; `ca` the authority of its certificate.
    """

    def __init__(self, url: str, token_file: str | None = None, ca: str | None = None) -> None:
        self._url = url
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

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        """One request and its answer; Failed if there is none."""
        text = None if body is None else json.dumps(body)
        headers = self._headers if text is None else {**self._headers, "Content-Type": "application/json"}
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

    def _connection(self) -> HTTPConnection:
        if self._tls is not None:
            host, port = self._parts.hostname or "localhost", self._parts.port
            return HTTPSConnection(host, port, timeout=SECONDS, context=self._tls)
        if self._parts.scheme != "unix":
            return HTTPConnection(self._parts.hostname or "localhost", self._parts.port or 80, timeout=SECONDS)
        connection = HTTPConnection("localhost", timeout=SECONDS)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(SECONDS)
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
