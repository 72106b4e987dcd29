"""The process with the tables, as the event loop sees it: jobs go out one at a time; only the caller of a job waits.

A job has a time limit. A process that takes longer, or dies, is killed, and another one is started, which knows
nothing: `on_lost` is called, and every caller that waits for an answer gets `Lost`.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from eventlet.event import Event as Future
from ryu.lib import hub

from portlb_app.config import Config, ConfigError
from portlb_app.reconcile.results import Compiled, Mistakes, Unknown, Unreadable
from portlb_app.runtime import supervision
from portlb_app.southbound import tables_worker
from portlb_app.topology.conditions import AS_CONFIGURED

JOB_SECONDS = 60.0
COMPILE_SECONDS = 120.0
"""How long one job may take: compiling and loading, and all others, which are of at most some thousand entries."""
LOOK_SECONDS = 1.0
"""How often it is looked whether the process is there, if there is nothing to do."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0
"""Seconds between the death of a process and the next one's start; twice as long each time without an answer."""

_PROGRAM = f"import sys; sys.path[:] = {{}}; from {tables_worker.__name__} import main; main()"
"""Modules come from where this process has its own, never from the current directory, as with ``python -m``."""


class Lost(Exception):
    """The process with the tables ended; str() says why."""


@dataclass
class _Job:
    name: str
    arguments: tuple[Any, ...]
    answer: Future = field(default_factory=Future)
    wanted: bool = True


class TablesProcess:
    """Starts the process at once; ends it when `close` is called."""

    def __init__(self) -> None:
        self.on_lost: Callable[[str], None] = lambda _reason: None
        """Called with the reason when a process has ended, before callers get `Lost`."""
        self._jobs: deque[_Job] = deque()
        self._something = hub.Event()
        self._pause = FIRST_PAUSE
        self._start()

    def serve(self) -> None:
        """Send jobs and hand out answers for ever."""
        while True:
            self._something.wait(LOOK_SECONDS)
            self._something.clear()
            if self._process.poll() is not None:
                self._restart([], f"exit code {self._process.returncode}")
            while self._jobs:
                job = self._jobs.popleft()
                if job.wanted:
                    self._do(job)

    def call(self, name: str, *arguments: Any) -> Any:
        """The answer to a job; Lost, or the error the job ends with."""
        job = self._put(name, arguments)
        try:
            return job.answer.wait()
        finally:
            job.wanted = False  # its caller was killed meanwhile

    def tell(self, name: str, *arguments: Any) -> None:
        """Have a job done whose answer does not matter."""
        self._put(name, arguments)

    def first(self, text: str) -> tuple[Config, Compiled]:
        """What a text means, and goal 1 made of it; ConfigError, or Lost. Before anything else runs."""
        try:
            loaded = self._exchange("load", (text,), COMPILE_SECONDS)
            made = loaded if isinstance(loaded, Mistakes) else self._exchange(
                "compile", (1, text, AS_CONFIGURED, ()), COMPILE_SECONDS
            )
        except TimeoutError:
            raise Lost(f"it takes more than {COMPILE_SECONDS:g} s") from None
        except (OSError, EOFError):
            raise Lost("the process that does it ended; if it says no more, for want of memory") from None
        if isinstance(made, Mistakes):
            raise ConfigError(made.problems)
        return loaded, made

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _put(self, name: str, arguments: tuple[Any, ...]) -> _Job:
        job = _Job(name, arguments)
        self._jobs.append(job)
        if not self._something.is_set():
            self._something.set()
        return job

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-P", "-c", _PROGRAM.format(sys.path), str(theirs.fileno())]
            try:
                self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
            except OSError:
                ours.close()
                raise
        self._connection = ours

    def _do(self, job: _Job) -> None:
        seconds = COMPILE_SECONDS if job.name in ("load", "compile", "preview") else JOB_SECONDS
        try:
            job.answer.send(self._exchange(job.name, job.arguments, seconds))
        except (Unknown, Unreadable) as error:
            job.answer.send_exception(error)
        except TimeoutError:
            self._restart([job], f"{job.name} takes more than {seconds:g} s")
        except (OSError, EOFError):
            self._restart([job], f"it ended in {job.name}; if it says no more, for want of memory")
        else:
            self._pause = FIRST_PAUSE

    def _exchange(self, name: str, arguments: tuple[Any, ...], seconds: float) -> Any:
        self._connection.settimeout(seconds)
        tables_worker.send(self._connection, (name, arguments))
        value, error = tables_worker.receive(self._connection)
        if error is not None:
            raise error
        return value

    def _restart(self, begun: list[_Job], reason: str) -> None:
        """What waits is not done by a process that does not know what was told the one before."""
        self.close()
        self._lose(begun, reason)
        while True:
            hub.sleep(self._pause)
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            try:
                self._start()
                return
            except OSError as error:  # no descriptor, process or memory left
                self._lose([], f"another one cannot be started: {error.strerror}")

    def _lose(self, begun: list[_Job], reason: str) -> None:
        waiting, self._jobs = [*begun, *self._jobs], deque()
        self.on_lost(reason)
        for each in waiting:
            each.answer.send_exception(Lost(reason))


def start() -> TablesProcess:
    """A process, and the green thread that serves it."""
    tables = TablesProcess()
    supervision.spawn_forever("the jobs of the process with the tables", tables.serve)
    return tables
