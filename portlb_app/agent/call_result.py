"""What the eBPF programs that the process calls say of a connection: `enum call_result` of probe.h, and one more."""

from __future__ import annotations

import enum


class CallResult(enum.IntEnum):
    """What became of a connection that was to be announced to, or to be ended."""

    MADE = 0
    GONE = 1
    FOLLOWED = 2
    NO_SOCKET = 3
    IMPOSSIBLE = 4
    BUSY = 5
    TIMED_OUT = 6
    """No program says this: the peer has not followed in time."""
    CALL_AGAIN = 7
