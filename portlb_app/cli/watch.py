"""What is shown again and again: when the controller tells that something has happened, else every few seconds.

On a terminal the screen is drawn anew. Anywhere else what has changed is printed behind what was printed.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator

from portlb_app.cli.output import Failed, flush
from portlb_app.cli.rest_client import Controller

EVENTS = "/v1/events"
POLL_SECONDS = 2.0
"""How often the controller is asked if it tells no events."""
HEARD_SECONDS = 10.0
"""How often if it does: ages and counts change without an event."""
PAUSE_SECONDS = 0.2
"""At least so long between two looks: many events may come at once."""

_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
_CUT_LINES, _WRAP_LINES = "\x1b[?7l", "\x1b[?7h"

Look = Callable[[], tuple[list[str], int]]
"""Lines and an exit code."""


def repeat(controller: Controller, look: Look, seconds: float | None = None, count: int = 0) -> int:
    """Show it until it is interrupted; the exit code is the last look's. KeyboardInterrupt before the first one's end.

    `seconds`: look that often, and wait for no events; `count`: that many times (0: without an end).
    """
    code, looks = 0, 0
    bell = Bell(controller) if seconds is None else None
    with _screen() as draw:
        try:
            while True:
                try:
                    lines, code = look()
                    draw(lines)
                except Failed as error:  # it may be started again
                    draw([str(error)])
                looks += 1
                if looks == count:
                    return code
                if bell is None:
                    time.sleep(seconds or POLL_SECONDS)
                else:
                    bell.wait()
        except KeyboardInterrupt:  # it may come at any moment, and means the same at each
            if not looks:
                raise
            return code


class Bell:
    """Rings when the controller tells an event; a thread of its own listens, and listens anew after a break.

    It also rings when the controller begins to tell them: what happened before is not told, so it needs a look.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._rung = threading.Event()
        self._listener: threading.Thread | None = None
        self._tried_at = float("-inf")
        self._keep_listening()

    def wait(self) -> None:
        """Wait for the next event, or as long as one may go without a look."""
        self._keep_listening()
        time.sleep(PAUSE_SECONDS)
        self._rung.wait((HEARD_SECONDS if self._is_heard() else POLL_SECONDS) - PAUSE_SECONDS)
        self._rung.clear()

    def _keep_listening(self) -> None:
        if not self._is_heard() and time.monotonic() >= self._tried_at + HEARD_SECONDS:
            self._tried_at = time.monotonic()
            self._listener = threading.Thread(target=self._listen, daemon=True)
            self._listener.start()

    def _is_heard(self) -> bool:
        return self._listener is not None and self._listener.is_alive()

    def _listen(self) -> None:
        with contextlib.suppress(Failed):
            for number, line in enumerate(self._controller.stream(EVENTS)):
                if not number or line.startswith(b"data:"):
                    self._rung.set()


@contextlib.contextmanager
def _screen() -> Iterator[Callable[[list[str]], None]]:
    """What draws lines: over the screen of a terminal, which cuts those that are too long, or one below the other."""
    if not sys.stdout.isatty():
        last: list[str] = []

        def append(lines: list[str]) -> None:
            if lines != last:
                last[:] = lines
                print(*lines, sep="\n")
                flush()

        yield append
        return

    def redraw(lines: list[str]) -> None:
        room = shutil.get_terminal_size().lines - 1
        if len(lines) > room:
            lines = [*lines[: room - 1], f"… and {len(lines) - room + 1} lines more"]
        text = "".join(f"{line}{_REST_OF_LINE}\n" for line in lines)
        sys.stdout.write(f"{_HOME}{text}{_REST_OF_SCREEN}")
        flush()

    sys.stdout.write(f"{_CUT_LINES}{_HOME}{_REST_OF_SCREEN}")
    try:
        yield redraw
    finally:
        sys.stdout.write(_WRAP_LINES)
        flush()
