"""A thread of this process in the network namespace of a host."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Protocol

_LIBC = ctypes.CDLL(None)


class Host(Protocol):
    """Whatever has a network namespace by this name."""

    name: str


@contextlib.contextmanager
def on(host: Host) -> Iterator[None]:
    """Have this thread in the network namespace of a host."""
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{host.name}") as there:
        assert _LIBC.setns(there.fileno(), 0) == 0
        try:
            yield
        finally:
            assert _LIBC.setns(home.fileno(), 0) == 0
