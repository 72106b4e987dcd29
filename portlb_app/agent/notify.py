"""Messages to the service manager: sd_notify(3), a datagram to the socket it names."""

from __future__ import annotations

import contextlib
import os
import socket


def tell(*assignments: str) -> None:
    """Send assignments such as "READY=1" to the service manager, if one listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address.startswith("@"):
        address = "\0" + address[1:]  # abstract: unix(7)
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, contextlib.suppress(OSError):
            manager.sendto("\n".join(assignments).encode(), address)


def watchdog_seconds() -> float | None:
    """Return after how many seconds of silence the service manager ends this process; None: never."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) else None
