"""The shape of ``….check``, of a VIP, a redirect port or a server."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from portlb_app.config.entries import Entry, Number, Port
from portlb_app.config.policies import CheckKind, Via
from portlb_app.config.shapes import SECONDS, STATUSES, shape

MAX_RANGES = 16
"""Ranges of status codes that one check may expect."""
_DECIMAL = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,3})?")
_RANGE = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")
_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2})+")
_PRINTABLE = re.compile(r"[!-~]+")
_METHOD = re.compile(r"[A-Z]{1,16}")


def _seconds(value: Any) -> float:
    """A number of seconds; the text of a configuration has no fractions, so one comes as text."""
    if isinstance(value, bool) or not _DECIMAL.fullmatch(str(value)):
        raise ValueError("a number of seconds like 2 or 0.5 is expected")
    return float(value)


def _status(value: Any) -> tuple[tuple[int, int], ...]:
    ranges = value if isinstance(value, list) else [value]
    if not 1 <= len(ranges) <= MAX_RANGES:
        raise ValueError(f"1 to {MAX_RANGES} status codes or ranges are expected")
    found = []
    for each in ranges:
        matched = None if isinstance(each, bool) else _RANGE.fullmatch(str(each))
        if matched is None:
            raise ValueError("status codes like 200, or ranges like 200-399, are expected")
        low, high = int(matched[1]), int(matched[2] or matched[1])
        if high < low:
            raise ValueError(f"{each} is a range from its lower to its higher end")
        found.append((low, high))
    return tuple(sorted(found))


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a text is expected")
    return value


def _bytes(value: Any) -> bytes:
    """A text in UTF-8, or bytes written like "0x00ff"."""
    text = _text(value)
    if _HEX.fullmatch(text):
        return bytes.fromhex(text[2:])
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError("a text that UTF-8 can express is expected") from None


def _path(value: Any) -> str:
    if not _text(value).startswith("/") or not _PRINTABLE.fullmatch(value):
        raise ValueError("a path like /healthz, of printable ASCII without spaces, is expected")
    return str(value)


def _host(value: Any) -> str:
    if not _PRINTABLE.fullmatch(_text(value)):
        raise ValueError("a host's name of printable ASCII without spaces is expected")
    return str(value)


def _method(value: Any) -> str:
    if not _METHOD.fullmatch(_text(value)):
        raise ValueError("a method like GET or HEAD is expected")
    return str(value)


Seconds = Annotated[float, BeforeValidator(_seconds), shape(SECONDS)]
Bytes = Annotated[bytes, BeforeValidator(_bytes), shape({"type": "string", "minLength": 1})]
Streak = Annotated[Number, Field(ge=1, le=32)]


class CheckEntry(Entry):
    """``….check``. What is not given is as in the check it takes the place of, or else the default."""

    kind: CheckKind | None = None
    port: Port | None = None
    via: Via | None = None
    interval: Annotated[Seconds, Field(ge=0.2, le=3600)] | None = None
    timeout: Annotated[Seconds, Field(ge=0.1, le=60)] | None = None
    fall: Streak | None = None
    rise: Streak | None = None
    path: Annotated[str, BeforeValidator(_path)] | None = None
    host: Annotated[str, BeforeValidator(_host)] | None = None
    method: Annotated[str, BeforeValidator(_method)] | None = None
    status: Annotated[tuple[tuple[int, int], ...], BeforeValidator(_status), shape(STATUSES)] | None = None
    body: Bytes | None = None
    send: Bytes | None = None
    expect: Bytes | None = None


OF_KIND = {
    CheckKind.HTTP: ("path", "host", "method", "status", "body"),
    CheckKind.UDP: ("send", "expect"),
}
"""The keys that only one kind of check has."""
OF_ANY = ("via", "interval", "timeout", "fall", "rise")
"""The keys that every kind has; all but pings also have a `port`."""
