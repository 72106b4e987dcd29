"""HTTP on eventlet's WSGI server, made so that no client can hold it or confuse it.

`Protocol` reads the head of a request whole and strictly (`request_head`), answers one request, and ends the
connection. What it waits for has an end (`http_clients`). A client's mistake is answered with 400, counted nowhere, and
logged at debug level, not more often than a log can bear.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import eventlet.wsgi

from portlb_app.api import messages, request_head
from portlb_app.api.problem_details import Slug, failure
from portlb_app.api.request_head import BadRequest
from portlb_app.controller.http_clients import CLIENTS, Client, Gone, Listener, Phase
from portlb_app.runtime.turn import Turn
from portlb_app.southbound import tls

LINGER_BYTES = 8 << 20
"""How much is still read from a client that was answered before it had sent all."""
CHUNK_SECONDS = 0.000002
"""What it costs to read a chunk, which may be one byte. A fast client is never waited for, and 4 MiB are 4 million."""

_KINDS: Mapping[int, Slug] = {414: "target-too-long", 431: "head-too-large"}


def serve(listener: Listener, application: Callable[..., Any]) -> None:
    """Answer requests by a WSGI application for ever."""
    eventlet.wsgi.server(
        listener, application, log=listener.log, protocol=functools.partial(Protocol, listener), max_size=CLIENTS,
        keepalive=False, log_x_forwarded_for=False, debug=False,
    )  # fmt: skip


def phrase(status: int) -> str:
    """The words behind a status."""
    return HTTPStatus(status).phrase


class Protocol(eventlet.wsgi.HttpProtocol):  # type: ignore[misc]
    """One connection, which has one request."""

    rfile: Any

    def __init__(self, listener: Listener, state: list[Any], server: Any) -> None:
        self._listener = listener
        accepted = state[1]
        self._client = listener.client(accepted)
        try:
            if listener.tls is not None:
                state[1] = self._client.connection = tls.shake_hands(accepted, listener.tls)
            super().__init__(state, server)
        except (OSError, Gone) as error:
            listener.log.write(f"a connection is lost: {error}")
        finally:
            listener.forget(accepted)

    def handle(self) -> None:
        """Answer the request, and let the client read the answer before the connection is closed."""
        self.close_connection = True
        self.handle_one_request()
        if self._client.sends_more:
            self.wfile.flush()
            if self._listener.tls is None:  # with TLS that ends both ways; the answer's length says where it ends
                self.connection.shutdown(socket.SHUT_WR)
            self._client.wait_for(Phase.LINGER)
            left = LINGER_BYTES
            while left > 0 and (data := self.connection.recv(1 << 16)):
                left -= len(data)

    def _read_request_line(self) -> bytes:
        """The first line, once the whole head is there and sound; b"" if there is no request to answer."""
        head = b""
        while not head.endswith(b"\n\r\n") and not head.endswith(b"\n\n"):
            line = self.rfile.readline(request_head.MAX_HEAD + 1 - len(head))
            if not line and not head:
                return b""
            head += line
            if not line or len(head) > request_head.MAX_HEAD:
                break
        try:
            request_head.check(head)
        except BadRequest as bad:
            self._refuse(bad.status, bad.text)
            return b""
        line, end, rest = head.partition(b"\r\n")
        self.rfile = _Replayed(rest, self.rfile)
        return line + end

    def get_environ(self) -> dict[str, Any]:
        """What the application gets to know."""
        environ: dict[str, Any] = super().get_environ()
        known = environ["wsgi.input"]
        is_chunked, length = known.chunked_input, known.content_length
        told_to_go_on = None if self.request_version == "HTTP/1.0" else known.wfile  # RFC 9110, 10.1.1
        body = Body(self.rfile, length, self.connection, told_to_go_on, known.wfile_line, is_chunked)
        body.listener, body.client, body.turn = self._listener, self._client, Turn()
        environ["wsgi.input"] = environ["eventlet.input"] = body
        environ["portlb.client"] = self._client
        if self._listener.tls is not None:
            environ["wsgi.url_scheme"], environ["HTTPS"] = "https", "on"
        self._client.sends_more = is_chunked or bool(length)
        self._client.wait_for(Phase.WORK)
        return environ

    def finish(self) -> None:
        """Close the connection, and what reads from it: it stays open until both are, and eventlet can miss one."""
        try:
            super().finish()
        finally:
            self.rfile.close()

    def _refuse(self, status: int, text: str) -> None:
        response = failure(_KINDS.get(status, "bad-request"), text)
        head = "".join(f"{name}: {value}\r\n" for name, value in messages.headers(response).items())
        body = "".join(response.body).encode()
        self._client.wait_for(Phase.ANSWER)
        self.wfile.write(
            f"HTTP/1.1 {status} {phrase(status)}\r\n{head}Content-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n".encode() + body
        )
        self._client.sends_more = True
        self._listener.log.write(f"{self.client_address}: {status} {text}")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library finds wrong with a head."""
        self._refuse(int(code), message or "not a request")

    def log_message(self, format: str, *args: Any) -> None:
        """What the standard library would write to standard error."""
        self._listener.log.write(format % args)


class Body(eventlet.wsgi.Input):  # type: ignore[misc]
    """The body of a request. Reading raises BadRequest for a chunk that is none, and for an end in the middle."""

    listener: Listener
    client: Client
    chunk_length: int
    turn: Turn

    def read(self, length: int | None = None) -> bytes:
        """At most so many bytes, or all."""
        if not self.chunked_input and not self.content_length:
            return b""
        self.listener.wait_for_body(self.client)
        try:
            data: bytes = super().read(length)
        except (OSError, BadRequest):
            self.client.require()
            raise
        self.client.require()
        self.client.wait_for(Phase.WORK)
        is_read = self.chunk_length == 0 if self.chunked_input else self.position == self.content_length
        self.client.sends_more = not is_read
        if not is_read and (length is None or len(data) < length):
            raise BadRequest(400, f"the body ends after {self.position} of {self.content_length} bytes")
        return data

    def _chunked_read(self, rfile: Any, length: int | None = None, use_readline: bool = False) -> bytes:
        if self.should_send_hundred_continue:
            self.send_hundred_continue_response()
            self.is_hundred_continue_response_sent = True
        found = bytearray()
        left = length
        while self.chunk_length != 0 and left != 0:
            if self.turn.worked(CHUNK_SECONDS):
                eventlet.sleep(self.turn.pause())
            if self.chunk_length < 0:
                self.chunk_length, self.position = self._next_chunk(rfile), 0
                continue
            missing = self.chunk_length - self.position
            data = rfile.read(missing if left is None else min(missing, left))
            if not data:
                raise BadRequest(400, "the body ends in the middle of a chunk")
            found += data
            self.position += len(data)
            left = None if left is None else left - len(data)
            if self.position == self.chunk_length:
                if rfile.read(2) != b"\r\n":
                    raise BadRequest(400, "a chunk is longer than it says")
                self.chunk_length = -1
        return bytes(found)

    def _next_chunk(self, rfile: Any) -> int:
        size = request_head.chunk_size(rfile.readline(request_head.MAX_CHUNK_LINE))
        if size == 0:
            request_head.skip_trailers(iter(lambda: rfile.readline(request_head.MAX_CHUNK_LINE), None))
        return size


class _Replayed:
    """A head that has been read, and then the rest of the connection, as one file."""

    def __init__(self, head: bytes, file: Any) -> None:
        self._head = head
        self._file = file
        self.closed = False

    def readline(self, size: int = -1) -> bytes:
        if not self._head:
            line: bytes = self._file.readline(size)
            return line
        line, end, self._head = self._head.partition(b"\n")
        return line + end

    def read(self, size: int) -> bytes:
        assert not self._head, "the head is read before the body"
        data: bytes = self._file.read(size)
        return data

    def close(self) -> None:
        self.closed = True
        self._file.close()
