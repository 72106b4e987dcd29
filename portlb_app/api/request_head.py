"""The head of an HTTP/1.1 request, from the bytes, and strictly (RFC 9112).

A server that reads a request more leniently than a proxy in front of it can be made to see two where the proxy saw
one. So what has two readings is refused: two lengths, a length beside a transfer coding, a coding that is not
``chunked``, folded lines, bare line feeds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_HEAD = 16 << 10
"""Bytes of a whole head."""
MAX_LINE = 4 << 10
"""Bytes of its first line."""
MAX_FIELDS = 64
MAX_CHUNK_LINE = 256
"""Bytes of the line before a chunk, and of one behind the last."""

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_LINE = re.compile(_TOKEN + rb" [!-~]+ HTTP/1\.[01]")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([ -~\x80-\xff\t]*)")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[ -~\x80-\xff\t]*)?\r\n")


class BadRequest(Exception):
    """A request that is not understood: its status and what is wrong; the connection ends."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text


def check(head: bytes) -> None:
    """BadRequest unless this is the head of a request, up to the empty line, that can be read in one way only."""
    if len(head) > MAX_HEAD:
        raise BadRequest(431, f"the head of a request has at most {MAX_HEAD} bytes")
    if not head.endswith(b"\r\n\r\n"):
        raise BadRequest(400, "the head ends in the middle, or a line of it with a bare line feed")
    first, *lines = head[:-4].split(b"\r\n")
    if len(first) > MAX_LINE:
        raise BadRequest(414, f"the first line has at most {MAX_LINE} bytes")
    if not _LINE.fullmatch(first):
        raise BadRequest(400, "the first line is not METHOD, target and HTTP/1.0 or 1.1")
    if len(lines) > MAX_FIELDS:
        raise BadRequest(431, f"a request has at most {MAX_FIELDS} header fields")
    fields: dict[bytes, list[bytes]] = {}
    for line in lines:
        found = _FIELD.fullmatch(line)
        if not found:
            raise BadRequest(400, "a header field is not NAME: value on one line")
        fields.setdefault(found[1].lower(), []).append(found[2].rstrip(b" \t"))
    if len(fields.get(b"host", ())) > 1:
        raise BadRequest(400, "there is more than one Host")
    _check_length(fields.get(b"content-length", []), fields.get(b"transfer-encoding", []), first.endswith(b"1.1"))


def _check_length(lengths: list[bytes], codings: list[bytes], is_1_1: bool) -> None:
    if codings and (not is_1_1 or [each.lower() for each in codings] != [b"chunked"]):
        raise BadRequest(400, "the only transfer coding is chunked, in HTTP/1.1")
    if codings and lengths:
        raise BadRequest(400, "there are both a Content-Length and a Transfer-Encoding")
    if len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
        raise BadRequest(400, "Content-Length is one decimal number")


def chunk_size(line: bytes) -> int:
    """The size a chunk's first line says, in bytes; BadRequest if it says none."""
    found = _CHUNK.fullmatch(line)
    if not found:
        raise BadRequest(400, "a chunk does not begin with its size")
    return int(found[1], 16)


def skip_trailers(lines: Iterable[bytes]) -> None:
    """Read what may follow the last chunk, up to the empty line; BadRequest if it does not end."""
    for number, line in enumerate(lines):
        if line == b"\r\n":
            return
        if number >= MAX_FIELDS or not line.endswith(b"\r\n"):
            break
    raise BadRequest(400, "what follows the last chunk does not end")
