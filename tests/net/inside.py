"""A thread of this process in the network namespace of a host."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

from tests.net.network import Namespace

_LIBC = ctypes.CDLL(None)


@contextlib.contextmanager
def on(host: Namespace) -> Iterator[None]:
    """Have this thread in the network namespace of a host."""
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{host.name}") as there:
        assert _LIBC.setns(there.fileno(), 0) == 0
        try:
            yield
        finally:
            assert _LIBC.setns(home.fileno(), 0) == 0
