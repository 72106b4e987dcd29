"""The log's last step: lines are written by a thread of their own.

A pipe that nobody reads, a terminal that is stopped, a slow or full disk makes whoever writes to it wait. Here that is
a thread that does nothing else; the controller goes on. What cannot be kept meanwhile is lost, and the log says how
much. The thread uses nothing but system calls: a lock of `sys.stderr` that it held at the end would abort the process.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from pathlib import Path

LINES = 10_000
"""Records that wait to be written."""
END_SECONDS = 2.0
"""How long the end of the process waits for what is not yet written."""

_write = os.write
"""As it is before eventlet puts its own in its place."""


class LogWriter(logging.Handler):
    """Writes records to standard error, or to a file, which is made anew when it was moved away."""

    def __init__(self, file: Path | None, lines: int = LINES) -> None:
        """OSError for a file that cannot be opened."""
        super().__init__()
        self._file = file
        self._handle = _open(file) if file else sys.__stderr__.fileno() if sys.__stderr__ else None
        self._lines: queue.Queue[str] = queue.Queue(lines)
        self._lost = 0
        threading.Thread(target=self._run, name="log", daemon=True).start()

    @property
    def is_journal(self) -> bool:
        """Whether the records go to systemd's journal (JOURNAL_STREAM, systemd.exec(5)), which knows their time."""
        if self._file or self._handle is None:
            return False
        stream = os.fstat(self._handle)
        return os.environ.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}"

    def emit(self, record: logging.LogRecord) -> None:
        """Have a record written soon."""
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self._lost += 1
        except Exception:  # what every handler does with a record whose text and arguments do not fit
            self.handleError(record)

    def flush(self) -> None:
        """Wait until all is written, but not long."""
        with self._lines.all_tasks_done:
            self._lines.all_tasks_done.wait_for(lambda: not self._lines.unfinished_tasks, END_SECONDS)

    def _run(self) -> None:
        while True:
            line = self._lines.get()
            try:
                self._put(line)
                if self._lost:
                    lost, self._lost = self._lost, 0
                    self._put(self._told(lost))
            except OSError:
                self._lost += 1
            finally:
                self._lines.task_done()

    def _told(self, lost: int) -> str:
        text = "%d records of this log are lost: it could not be written to, or not fast enough"
        return self.format(logging.LogRecord("portlb", logging.WARNING, __file__, 0, text, (lost,), None))

    def _put(self, line: str) -> None:
        if self._file:
            self._open_anew(self._file)
        data = f"{line}\n".encode(errors="backslashreplace")
        while data and self._handle is not None:
            data = data[_write(self._handle, data) :]

    def _open_anew(self, file: Path) -> None:
        """Open the file under its name if what is open is another one by now."""
        if self._handle is not None:
            known = os.fstat(self._handle)
            try:
                found = os.stat(file)
            except FileNotFoundError:
                found = None
            if found and (found.st_dev, found.st_ino) == (known.st_dev, known.st_ino):
                return
            handle, self._handle = self._handle, None
            os.close(handle)
        self._handle = _open(file)


def _open(file: Path) -> int:
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
