"""Heads of HTTP requests: one reading, or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portlb_app.api.request_head import MAX_FIELDS, MAX_HEAD, MAX_LINE, BadRequest, check, chunk_size, skip_trailers

GET = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n"
PUT = b"PUT /v1/config HTTP/1.1\r\nHost: localhost\r\n"
BAD = {
    "gzip, chunked": PUT + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "gzip": PUT + b"Transfer-Encoding: gzip\r\n\r\n",
    "identity": PUT + b"Transfer-Encoding: identity\r\n\r\n",
    "chunked twice": PUT + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunked, then a length": PUT + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    "a coding in HTTP/1.0": PUT.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n",
    "two lengths": PUT + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "the same length twice": PUT + b"Content-Length: 5\r\ncontent-length: 5\r\n\r\n",
    "a list of lengths": PUT + b"Content-Length: 5, 5\r\n\r\n",
    "a signed length": PUT + b"Content-Length: +5\r\n\r\n",
    "an underlined length": PUT + b"Content-Length: 1_0\r\n\r\n",
    "no length": PUT + b"Content-Length: \r\n\r\n",
    "two hosts": GET + b"Host: other\r\n\r\n",
    "a folded line": GET + b"X: 1\r\n 2\r\n\r\n",
    "a space before the colon": PUT + b"Content-Length : 5\r\n\r\n",
    "no colon": GET + b"Nonsense\r\n\r\n",
    "a control character": GET + b"X: \x1b[2J\r\n\r\n",
    "a bare carriage return": GET + b"X: 1\rY: 2\r\n\r\n",
    "a bare line feed": b"GET / HTTP/1.1\nHost: localhost\r\n\r\n",
    "only line feeds": b"GET / HTTP/1.1\n\n",
    "a zero byte": GET + b"X: \0\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "another version": b"GET / HTTP/2.0\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\n\r\n",
    "a target of another alphabet": b"GET /\x9b HTTP/1.1\r\n\r\n",
    "an end in the middle": GET,
    "nothing": b"\r\n\r\n",
}


def status(head: bytes) -> int:
    """200, or what a head is refused with."""
    try:
        check(head)
    except BadRequest as bad:
        return bad.status
    return 200


@pytest.mark.parametrize("which", BAD)
def test_what_has_two_readings_has_none(which: str) -> None:
    assert status(BAD[which]) == 400


@pytest.mark.parametrize(
    "head",
    [
        GET + b"\r\n",
        b"GET /%ff%00?x=%20 HTTP/1.0\r\n\r\n",
        PUT + b"Content-Length: 12\r\nExpect: 100-continue\r\nX-Any: \xe4\tok \r\n\r\n",
        PUT + b"transfer-encoding:CHUNKED\r\n\r\n",
    ],
)
def test_what_is_sound(head: bytes) -> None:
    assert status(head) == 200


def test_bounds() -> None:
    assert status(b"GET /%s HTTP/1.1\r\n\r\n" % (b"a" * (MAX_LINE - 14))) == 200
    assert status(b"GET /%s HTTP/1.1\r\n\r\n" % (b"a" * (MAX_LINE - 13))) == 414
    assert status(GET + b"X: 1\r\n" * (MAX_FIELDS - 1) + b"\r\n") == 200
    assert status(GET + b"X: 1\r\n" * MAX_FIELDS + b"\r\n") == 431
    assert status(GET + b"X: %s\r\n\r\n" % (b"a" * MAX_HEAD)) == 431


@given(st.binary(max_size=200))
def test_whatever_comes_is_answered(data: bytes) -> None:
    assert status(data) in (200, 400, 414, 431)
    assert status(GET + data + b"\r\n\r\n") in (200, 400, 414, 431)


def test_chunks() -> None:
    assert [chunk_size(line) for line in (b"0\r\n", b"1F\r\n", b"a;name=value\r\n", b"5 \r\n")] == [0, 31, 10, 5]
    for line in (b"", b"\r\n", b"-5\r\n", b"+5\r\n", b"0x5\r\n", b"1_0\r\n", b"5", b"5\n", b"g\r\n", b"123456789\r\n"):
        with pytest.raises(BadRequest):
            chunk_size(line)
    skip_trailers([b"X: 1\r\n", b"\r\n"])
    for lines in ([b"X: 1\r\n"] * 1000, [b"X: 1"], [], [b""]):
        with pytest.raises(BadRequest):
            skip_trailers(lines)
