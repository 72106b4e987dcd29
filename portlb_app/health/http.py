"""The request of a check, and what of the answer decides (RFC 9112). The answer is hostile: at most `LONGEST` bytes are
read, and nothing of it but the three digits of the status is ever shown."""

from __future__ import annotations

import re

from portlb_app.config import Check
from portlb_app.health.probe import Failure, Result, Verdict

LONGEST = 16384
"""Bytes of an answer that are read."""
_STATUS = re.compile(rb"HTTP/1\.[0-9] ([1-5][0-9][0-9])(?: [^\r\n]*)?\r?\n")
_BEGINNING = b"HTTP/1."
_LINE = 1024
"""Bytes of a status line, at most."""
_BLANK = re.compile(rb"\r?\n\r?\n")


def request(check: Check, address: str) -> bytes:
    """The request. A new connection for each, so HTTP/1.1 with "close": some servers know nothing older."""
    host = check.host or (f"[{address}]" if ":" in address else address)
    lines = (
        f"{check.method} {check.path} HTTP/1.1",
        f"Host: {host}",
        "User-Agent: portlb",
        "Accept: */*",
        "Connection: close",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii")


def judge(check: Check, data: bytes, is_whole: bool) -> Result | None:
    """What the beginning of an answer says; None if more is needed. `is_whole`: no more will come."""
    is_whole = is_whole or len(data) >= LONGEST
    found = _STATUS.match(data)
    while found is not None and found[1].startswith(b"1"):  # an interim answer; the next one follows it
        blank = _BLANK.search(data, found.end() - 2)
        if blank is None:
            return _none(is_whole)
        data = data[blank.end() :]
        found = _STATUS.match(data)
    if found is None:
        is_begun = data.startswith(_BEGINNING[: len(data)]) if len(data) < len(_BEGINNING) else data[:7] == _BEGINNING
        if is_whole or not is_begun or len(data) > _LINE or b"\n" in data:
            return Result(Verdict.FAILED, "no HTTP answer" if data else "closed without an answer", Failure.PROTOCOL)
        return None
    status = int(found[1])
    if not any(low <= status <= high for low, high in check.status):
        return Result(Verdict.FAILED, f"http {status}", Failure.STATUS)
    if not check.body:
        return Result(Verdict.PASSED, f"http {status}")
    blank = _BLANK.search(data, found.end() - 2)
    if blank is not None and check.body in data[blank.end() : LONGEST]:
        return Result(Verdict.PASSED, f"http {status}")
    return Result(Verdict.FAILED, f"http {status}, without the expected text", Failure.BODY) if is_whole else None


def _none(is_whole: bool) -> Result | None:
    return Result(Verdict.FAILED, "no HTTP answer", Failure.PROTOCOL) if is_whole else None
