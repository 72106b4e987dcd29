"""Helper processes: a program that a test starts, tells what to do line by line, and hears answers from, a line each.

A helper that ends, says nothing, or says nothing in time is no answer: every method raises AssertionError then, with
the command, the exit code and what the program wrote to its standard error. An error that belongs to the test, such as
a connection that was reset, is an answer: the program prints it as a line (see `tests.net.connections`).
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import time
import weakref
from typing import Any

START = 30.0
"""Seconds until a program that starts must be ready: several do at once."""
PATIENCE = 30.0
"""Seconds until an answer must come. It is long because it only passes when the test fails."""


class Helper(subprocess.Popen[str]):
    """A process with pipes to its standard input and output; its standard error goes to a file, so it never blocks."""

    def __init__(self, *argv: str, **options: Any) -> None:
        self._errors = os.memfd_create("stderr")
        weakref.finalize(self, os.close, self._errors)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, **options}
        super().__init__(argv, stderr=self._errors, text=True, **pipes)

    def wait_ready(self) -> str:
        """Wait for the first line, which begins with "ready"; return the rest of it."""
        line = self.line(START)
        if not line.startswith("ready"):
            raise self.failure(f"said {line!r} where it should have said that it is ready")
        return line.removeprefix("ready").strip()

    def say(self, line: str = "") -> None:
        """Tell the helper something that it does not answer."""
        assert self.stdin is not None
        try:
            self.stdin.write(line + "\n")
            self.stdin.flush()
        except BrokenPipeError:
            raise self.failure(f"does not hear {line!r}") from None

    def tell(self, line: str = "", patience: float = PATIENCE) -> str:
        """Tell the helper something, and return the line that it answers."""
        self.say(line)
        return self.line(patience)

    def line(self, patience: float = PATIENCE) -> str:
        """The next line that the helper prints. It may not be empty."""
        line = self._read(patience, b"\n").decode().strip()
        if not line:
            raise self.failure("said an empty line")
        return line

    def finish(self, patience: float = PATIENCE) -> str:
        """Close the helper's input; return all that it still prints. Its exit code must be 0, its output not empty."""
        assert self.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # one that has ended already may have said what it had to
            self.stdin.close()
        output = self._read(patience, b"")
        try:
            code = self.wait(patience)
        except subprocess.TimeoutExpired:
            raise self.failure(f"did not end within {patience} s") from None
        if code or not output.strip():
            raise self.failure(f"ended, and had said {output.decode()!r}")
        return output.decode()

    def complaint(self) -> str:
        """What the program has written to its standard error."""
        return os.pread(self._errors, os.fstat(self._errors).st_size, 0).decode(errors="replace")

    def failure(self, what: str) -> AssertionError:
        """An error that says what the helper did, and why; the helper is ended."""
        code = self.poll()
        if code is None:
            self.kill()
            self.wait()
        state = "was still running" if code is None else f"exit code {code}"
        return AssertionError(f"{' '.join(map(str, self.args))}\n{what} ({state}):\n{self.complaint()}")

    def _read(self, patience: float, until: bytes) -> bytes:
        """What comes up to `until`, or to the end if that is empty.

        It is read byte by byte: what follows stays in the pipe, for `communicate` too.
        """
        assert self.stdout is not None
        pipe, got, deadline = self.stdout.fileno(), b"", time.monotonic() + patience
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while not until or not got.endswith(until):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise self.failure(f"said {got.decode()!r} and nothing more within {patience} s")
                more = os.read(pipe, 1)
                if not more and until:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self.wait(1)  # for the exit code
                    raise self.failure(f"said {got.decode()!r} and ended")
                if not more:
                    break
                got += more
        return got
