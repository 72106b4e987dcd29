"""Sources of a server's mapping: the command line, a configuration file, or the controller's REST interface.

A source has one method, `mapping`, which may be called repeatedly; `every` says how often.
Importing this module needs nothing but Python: the parser of configurations and the HTTP client are loaded on use.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol
from urllib.parse import SplitResult, quote, urlsplit

from portlb_app.agent import trust
from portlb_app.agent.errors import AgentError, Unreachable
from portlb_app.agent.mapping import ServerMapping, mapping_of

if TYPE_CHECKING:
    from http.client import HTTPConnection

MAX_BYTES = 4 << 20  # of a configuration, as in the REST interface
MAX_TOKEN = 240  # characters
ANSWER_WITHIN = 5.0  # seconds to connect to the controller, and as many for its whole answer
POLL_EVERY = 10.0  # seconds
_ADDRESSES = "say unix:///PATH, https://HOST:PORT, or http://HOST:PORT"


class WrongConfiguration(AgentError):
    """The configuration has mistakes, or does not name the server: asking again helps only after a correction."""


class Source(Protocol):
    """Anything that knows a server's mapping."""

    every: ClassVar[float | None]
    """Seconds after which to ask again; None: only when told to."""

    def mapping(self) -> ServerMapping:
        """Return what it knows now; AgentError if it does not."""


@dataclass(frozen=True)
class Fixed:
    """The mapping given on the command line."""

    given: ServerMapping
    every: ClassVar[float | None] = None

    def mapping(self) -> ServerMapping:
        """Return it."""
        return self.given


@dataclass(frozen=True)
class File:
    """A configuration file, and the server's name in it."""

    path: str
    server: str
    every: ClassVar[float | None] = None

    def mapping(self) -> ServerMapping:
        """Read the file; AgentError if that is impossible, WrongConfiguration if it has mistakes."""
        try:
            with open(self.path, "rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise AgentError(f"{self.path}: {error.strerror}") from error
        return _mapping(content, self.server, self.path)


@dataclass(frozen=True)
class Controller:
    """A controller's REST interface, and the server's name in the configuration that is live there.

    `url`: http or https, or unix:///PATH of a Unix socket. `insecure`: plain http from another host is trusted.
    `token_file` has the token to show, and is read each time; `ca` the authority of an https controller's certificate.
    Raises AgentError if `url` is none of these, or a token would be sent in the clear.
    """

    url: str
    server: str
    insecure: bool = False
    token_file: str | None = None
    ca: str | None = None
    every: ClassVar[float | None] = POLL_EVERY

    def __post_init__(self) -> None:
        """Check the address."""
        try:
            parts = urlsplit(self.url)
            sound = bool(parts.hostname) and parts.port != 0
        except ValueError:
            raise AgentError(f"--controller {self.url!r}: {_ADDRESSES}") from None
        if parts.scheme == "unix":
            sound = not parts.netloc and len(parts.path) > 1
        elif parts.scheme not in ("http", "https"):
            sound = False
        if not sound or parts.query or parts.fragment:
            raise AgentError(f"--controller {self.url!r}: {_ADDRESSES}")
        if "@" in parts.netloc or not self.url.isascii() or not self.url.isprintable() or " " in self.url:
            raise AgentError(f"--controller {self.url!r}: an address has no login, no space and ASCII only")
        if self.token_file and self.insecure and parts.scheme == "http":
            raise AgentError("--token-file with --insecure-http: a token is not sent in the clear; use https")

    def mapping(self) -> ServerMapping:
        """Ask the controller; Unreachable if it does not answer, AgentError if that is no configuration."""
        return _mapping(self._ask(), self.server, self.url)

    def _ask(self) -> bytes:
        from http.client import HTTPException

        parts = urlsplit(self.url)
        prefix = "" if parts.scheme == "unix" else parts.path.rstrip("/")
        headers = {"Authorization": f"Bearer {_token(self.token_file)}"} if self.token_file else {}
        with contextlib.closing(_connection(parts, self.ca)) as connection:
            try:
                if parts.scheme == "unix":
                    connection.sock = _connected(parts.path)
                    trust.check_unix(connection.sock, parts.path)
                else:
                    connection.connect()
                checks_peer = parts.scheme == "http" and not self.insecure
                peer = connection.sock.getpeername()[:2] if checks_peer else None
                self._check(peer)
                with _hung_up_after(ANSWER_WITHIN, connection.sock):
                    target = f"{prefix}/v1/config?server={quote(self.server, safe='')}"
                    connection.request("GET", target, headers=headers)
                    answer = connection.getresponse()
                    content = answer.read(MAX_BYTES + 1)
                self._check(peer)
            except (OSError, HTTPException) as error:
                reason = error.strerror if isinstance(error, OSError) and error.strerror else error
                raise Unreachable(f"{self.url} does not answer: {reason}") from error
        if answer.status >= 500:
            raise Unreachable(f"{self.url} answers {answer.status} {answer.reason}")
        if answer.status != 200:
            raise AgentError(f"{self.url} answers {answer.status} {answer.reason} instead of a configuration")
        if len(content) <= MAX_BYTES and not answer.chunked and answer.length != 0:
            raise Unreachable(f"{self.url} answers with a text that is cut short")  # the text may be valid all the same
        return content

    def _check(self, peer: tuple[str, int] | None) -> None:
        if peer is not None:
            trust.check_loopback(*peer, self.url)


def _connection(parts: SplitResult, ca: str | None) -> HTTPConnection:
    """Return an HTTP client, which follows no redirects and asks no proxy; AgentError if `ca` cannot be used."""
    from http.client import HTTPConnection, HTTPSConnection

    host = parts.hostname or "localhost"
    if parts.scheme != "https":
        return HTTPConnection(host, parts.port, timeout=ANSWER_WITHIN)
    import ssl

    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise AgentError(f"--ca {ca}: {error.strerror or error}") from error
    return HTTPSConnection(host, parts.port, timeout=ANSWER_WITHIN, context=context)


def _token(path: str) -> str:
    """Return the token in a file; AgentError if there is none."""
    try:
        with open(path, "rb") as file:
            token = file.read(MAX_TOKEN + 1).strip()
    except OSError as error:
        raise AgentError(f"--token-file {path}: {error.strerror}") from error
    if not 0 < len(token) <= MAX_TOKEN or not token.isascii() or not token.decode().isprintable() or b" " in token:
        raise AgentError(f"--token-file {path}: there is no token in it")
    return token.decode()


def _connected(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(ANSWER_WITHIN)
    try:
        made.connect(path)
    except OSError:
        made.close()
        raise
    return made


@contextlib.contextmanager
def _hung_up_after(seconds: float, connection: socket.socket) -> Iterator[None]:
    """Bound an exchange as a whole: a socket's own time-out starts anew with every byte."""

    def hang_up() -> None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_RDWR)

    limit = threading.Timer(seconds, hang_up)
    limit.daemon = True
    limit.start()
    try:
        yield
    finally:
        limit.cancel()


@functools.lru_cache(maxsize=16)  # a controller that is asked again mostly says the same; one for each server
def _mapping(content: bytes, server: str, origin: str) -> ServerMapping:
    try:
        from portlb_app.config import ConfigError, load
    except ImportError as error:
        raise AgentError(
            f"reading a configuration needs the Python package {error.name}, which this host does not have: install "
            "it, or give --vip, --service and --redirect"
        ) from error
    if len(content) > MAX_BYTES:
        raise WrongConfiguration(f"{origin}: a configuration has at most {MAX_BYTES} bytes")
    try:
        return mapping_of(load(content.decode()), server)
    except UnicodeDecodeError as error:
        raise WrongConfiguration(f"{origin}: byte {error.start} is not UTF-8") from None
    except (ConfigError, AgentError) as error:
        raise WrongConfiguration(f"{origin}: {error}") from error
