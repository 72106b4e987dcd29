"""Ring buffer maps. Every function raises OSError with the kernel's errno."""

from __future__ import annotations

import ctypes
import os
from ctypes import CFUNCTYPE, c_int, c_size_t, c_void_p

from portlb_app.agent.kernel.library import checked, declare, library

declare("ring_buffer__new", c_void_p, c_int, c_void_p, c_void_p, c_void_p)
declare("ring_buffer__consume", c_int, c_void_p)
declare("ring_buffer__epoll_fd", c_int, c_void_p)


class Ring:
    """The reading end of a ring buffer map."""

    def __init__(self, fd: int) -> None:
        """Read the map behind `fd`."""
        self._taken: list[bytes] = []
        self._take_one = CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)(self._append)  # kept: libbpf calls it
        self._ring = library.ring_buffer__new(fd, self._take_one, None, None)
        if not self._ring:
            error = ctypes.get_errno()
            raise OSError(error, f"ring buffer: {os.strerror(error)}")

    def _append(self, _: int, data: int, size: int) -> int:
        self._taken.append(ctypes.string_at(data, size))
        return 0

    def fileno(self) -> int:
        """Return a file descriptor that becomes readable when there is something."""
        return int(library.ring_buffer__epoll_fd(self._ring))

    def take(self) -> list[bytes]:
        """Take out everything there is."""
        checked(library.ring_buffer__consume(self._ring), "ring buffer")
        taken, self._taken[:] = list(self._taken), []
        return taken
