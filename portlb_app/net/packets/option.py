"""TCP options, and what this protocol has in a TCP header: the REDIRECT bits and REDIRECT_OPT."""

from __future__ import annotations

from collections.abc import Iterator

REDIRECT = 0x800
"""The REDIRECT header bit, in the low 12 bits of the 16-bit word at offset 12 of a TCP header."""
CONFIRM = 0x400
"""The REDIRECT_CONFIRM header bit."""
OPTION_KIND = 253
"""TCP option kind of REDIRECT_OPT: shared experimental use (RFC 6994)."""
OPTION_EXID = 0x5250
"""The experiment's identifier within that kind."""
TYPE_PORT = 1
OPTION_REDIRECT = 0x8
"""The flag of REDIRECT_OPT that repeats the REDIRECT bit."""


def options(header: bytes) -> Iterator[tuple[int, bytes]]:
    """The options of a TCP header, kind and value, up to the first malformed one (RFC 9293, 3.2)."""
    at = 0
    while at < len(header):
        kind = header[at]
        if kind == 0:
            return
        if kind == 1:
            at += 1
            continue
        length = header[at + 1] if at + 1 < len(header) else 0
        if length < 2 or at + length > len(header):
            return
        yield kind, header[at + 2 : at + length]
        at += length
