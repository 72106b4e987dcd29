"""Results of the eBPF programs that processes call: `enum call_result` of probe.h, and one more."""

from __future__ import annotations

import enum


class CallResult(enum.IntEnum):
    """Result of an announcement, or of a close."""

    MADE = 0
    GONE = 1
    FOLLOWED = 2
    NO_SOCKET = 3
    IMPOSSIBLE = 4
    BUSY = 5
    TIMED_OUT = 6
    """No program returns this: the other end has not followed in time."""
    CALL_AGAIN = 7
