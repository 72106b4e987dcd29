"""An event loop for files, times, signals, and answers from threads."""

from __future__ import annotations

import contextlib
import functools
import queue
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self, TypeVar

from portlb_app.agent.errors import AgentError

T = TypeVar("T")
Action = Callable[[], None]


class Loop:
    """Runs actions one at a time, in the thread that calls `run`, until one of them calls `end`."""

    def __init__(self) -> None:
        self._exit: int | None = None
        self._due: dict[Action, float] = {}
        self._on_signal: dict[int, Action] = {}
        self._answered: queue.SimpleQueue[Action] = queue.SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self.on_readable(self._woken.fileno(), self._wake)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._woken.close()
        self._waker.close()

    def run(self) -> int:
        """Return what `end` was told."""
        while self._exit is None:
            seconds = min(self._due.values(), default=float("inf")) - time.monotonic()
            for key, _ in self._selector.select(min(max(seconds, 0.0), 3600.0)):
                if self._exit is None:
                    key.data()
            for action in [action for action, at in self._due.items() if at <= time.monotonic()]:
                if self._exit is None and self._due.pop(action, None) is not None:
                    action()
        return self._exit

    def end(self, code: int) -> None:
        """Have `run` return an exit code; no further action is run."""
        self._exit = code

    def after(self, seconds: float, action: Action) -> None:
        """Run an action once, `seconds` from now; an earlier appointment of the same action is dropped."""
        self._due[action] = time.monotonic() + seconds

    def on_readable(self, fd: int, action: Action) -> None:
        """Run an action whenever a file can be read."""
        self._selector.register(fd, selectors.EVENT_READ, action)

    def forget(self, fd: int) -> None:
        """Wait for a file no more."""
        self._selector.unregister(fd)

    def on_signals(self, actions: Mapping[int, Action]) -> None:
        """Run an action for each of these signals, from now on; only in the main thread (signal(3))."""
        self._on_signal.update(actions)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in actions:
            signal.signal(number, lambda *_: None)

    def ask(self, question: Callable[[], T], then: Callable[[T | Exception], None]) -> None:
        """Ask in a thread, for as long as it takes, and run `then` with the answer, or with what was raised."""
        thread = threading.Thread(target=self._ask, args=(question, then), daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no thread is left
            self._answer(functools.partial(then, AgentError(str(error))))

    def _ask(self, question: Callable[[], T], then: Callable[[T | Exception], None]) -> None:
        answer: T | Exception
        try:
            answer = question()
        except Exception as error:
            answer = error
        self._answer(functools.partial(then, answer))

    def _answer(self, action: Action) -> None:
        self._answered.put(action)
        with contextlib.suppress(OSError):  # full, so the loop is awake anyway; or closed
            self._waker.send(b"\0")

    def _wake(self) -> None:
        for number in self._woken.recv(4096):
            if self._exit is None and number in self._on_signal:
                self._on_signal[number]()
        while self._exit is None and not self._answered.empty():
            self._answered.get()()
