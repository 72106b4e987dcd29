"""Bodies of requests, read within bounds."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from portlb_app.api import messages
from portlb_app.api.problem_details import failure
from portlb_app.api.request_head import BadRequest

MAX_FIELDS = 16
"""Fields of a form."""
MAX_FORM = 16 << 10
"""Bytes of a form."""

Environ = dict[str, Any]
"""A request, as WSGI has it (PEP 3333)."""


def read_body(environ: Environ) -> bytes | messages.Response:
    """The body of a request, or the answer to one that cannot be read."""
    if environ.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        return failure("unsupported-media-type", "a body comes as it is, without Content-Encoding; nothing was changed")
    if "HTTP_CONTENT_RANGE" in environ:
        return failure("bad-request", "a body is there whole: no Content-Range; nothing was changed")
    if int(environ.get("CONTENT_LENGTH") or 0) > messages.MAX_BODY:
        return failure("too-large", f"a body has at most {messages.MAX_BODY} bytes; nothing was changed")
    try:
        body: bytes = environ["wsgi.input"].read(messages.MAX_BODY + 1)
    except BadRequest as bad:
        return failure("bad-request", f"{bad.text}; nothing was changed")
    except OSError as error:
        return failure("bad-request", f"the connection is lost: {error}; nothing was changed")
    environ["portlb.body"] = body
    if len(body) > messages.MAX_BODY:
        return failure("too-large", f"a body has at most {messages.MAX_BODY} bytes; nothing was changed")
    return body


def read_form(body: bytes) -> dict[str, str] | messages.Response:
    """The fields of a form, each once, or the answer to one that cannot be read."""
    if len(body) > MAX_FORM:
        return failure("too-large", f"a form has at most {MAX_FORM} bytes; nothing was changed")
    try:
        text = body.decode("ascii")
        fields = parse_qsl(text, True, bool(text), errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError as error:
        return failure("bad-request", f"the form cannot be read: {error}; nothing was changed")
    found = dict(fields)
    if len(found) < len(fields):
        return failure("bad-request", "a field of the form is given twice; nothing was changed")
    return found
