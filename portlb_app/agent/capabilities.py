"""The capabilities that agents need (capabilities(7))."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from portlb_app.agent.errors import AgentError

_NUMBERS = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}


def require(what: str, needed: Collection[str] = tuple(_NUMBERS)) -> None:
    """Raise AgentError if this thread lacks a capability the agents need: the message names it, and `what` needs it."""
    lacking = missing_in(Path("/proc/thread-self/status").read_text(encoding="ascii", errors="replace"))
    missing = [each for each in lacking if each in needed]
    if missing:
        raise AgentError(f"{what} needs {' and '.join(missing)}: run it as root, or with these capabilities")


def missing_in(status: str) -> list[str]:
    """Return what the agents need and is not effective, by the text of /proc/PID/status (proc(5))."""
    effective = int(status.partition("\nCapEff:")[2].split()[0], 16)
    return [name for name, number in _NUMBERS.items() if not effective >> number & 1]
