"""Colours of states, on a terminal that has them. A colour is never alone: it is that of a word that stands there."""

from __future__ import annotations

import os
import re
from typing import TextIO

RED, GREEN, YELLOW, PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"

_COLOURS = {
    **dict.fromkeys(("down", "error", "absent", "empty", "closed", "fail_open", "refused", "lost", "missing"), RED),
    **dict.fromkeys(("up", "ok", "synced", "well", "applied", "live"), GREEN),
    **dict.fromkeys(("drain", "maint", "degraded", "draining", "applying", "reading", "unknown", "unverified"), YELLOW),
}
_WORD = re.compile(r"(\s*)([a-z_]+)(\s*)")


def is_wanted(stream: TextIO) -> bool:
    """Whether a stream is a terminal that shows colours, and nobody has asked for none (NO_COLOR)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def paint(cell: str) -> str:
    """A cell that is nothing but a word for a state, in its colour; any other one as it is."""
    found = _WORD.fullmatch(cell)
    if found is None or (chosen := _COLOURS.get(found[2])) is None:
        return cell
    return f"{found[1]}{chosen}{found[2]}{PLAIN}{found[3]}"
