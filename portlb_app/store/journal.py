"""A file of lines, each with its checksum, to which lines are appended so that a crash cannot make one a lie.

A line is there whole, or it is not: one that was cut, or altered, does not have the checksum that it says. A line is on
the disk when `append` returns. Room for lines that must not fail later is taken beforehand (`room`); the file ends with
zeros then, which are no line.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

MAX_LINE = 8 << 10
"""Bytes of a line."""
MAX_BYTES = 32 << 20
"""Bytes that are read of a file."""


class Journal:
    """The file at `path`, read when it is made. `damaged`: how many lines in the middle of it are none; OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.damaged = 0
        self.lines: list[bytes] = []
        self._end = 0
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            self._read(file.read(MAX_BYTES))

    @property
    def size(self) -> int:
        """Bytes of lines in it."""
        return self._end

    def append(self, line: bytes, room: int = 0) -> None:
        """Add a line, and take room for so many more bytes; OSError, and then the file says what it said before."""
        data = _framed(line)
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(handle).st_size < self._end:
                raise FileNotFoundError(2, "it was removed or cut while the controller ran", str(self._path))
            try:
                if room:
                    os.posix_fallocate(handle, self._end, len(data) + room)
                _write(handle, data, self._end)
                os.fdatasync(handle)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(handle, self._end)
                raise
        finally:
            os.close(handle)
        self._end += len(data)

    def replace(self, lines: Iterable[bytes], room: int = 0) -> None:
        """Have these lines and no others, and room for more; OSError, and then the file is as it was."""
        data = b"".join(map(_framed, lines))
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.portlb-")
        try:
            if room:
                os.posix_fallocate(handle, 0, len(data) + room)
            _write(handle, data, 0)
            os.fsync(handle)
            os.replace(name, self._path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        finally:
            os.close(handle)
        self._end = len(data)

    def _read(self, data: bytes) -> None:
        """Take the lines that are whole. What is behind the last one is of a crash, and is cut off."""
        at = skipped = 0
        for line in data.split(b"\n")[:-1]:
            at += len(line) + 1
            content = _content(line)
            if content is None:
                skipped += 1
                continue
            self.lines.append(content)
            self.damaged += skipped
            skipped, self._end = 0, at
        if data[self._end :].strip(b"\0"):
            os.truncate(self._path, self._end)


def _framed(line: bytes) -> bytes:
    assert len(line) + 10 <= MAX_LINE and b"\n" not in line
    return b"%08x %s\n" % (zlib.crc32(line), line)


def _content(line: bytes) -> bytes | None:
    checksum, _, content = line.partition(b" ")
    return content if checksum == b"%08x" % zlib.crc32(content) else None


def _write(handle: int, data: bytes, at: int) -> None:
    for piece in _pieces(data):
        done = 0
        while done < len(piece):
            done += os.pwrite(handle, piece[done:], at + done)
        at += len(piece)


def _pieces(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), 1 << 20):
        yield data[at : at + (1 << 20)]
