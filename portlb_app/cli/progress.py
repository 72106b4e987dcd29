"""How far long work is: one line of standard error that is drawn again, on a terminal only."""

from __future__ import annotations

import shutil
import sys

from portlb_app.config.problems import printable

WIDTH = 24


class Progress:
    """A line with a bar. Whatever else is printed meanwhile, `clear` comes first."""

    def __init__(self) -> None:
        self.is_shown = sys.stderr.isatty()

    def show(self, done: int, total: int, words: str) -> None:
        """So many of so many."""
        if self.is_shown:
            text = f"{bar(done, total)} {printable(words)}"[: shutil.get_terminal_size().columns - 1]
            sys.stderr.write(f"\r{text}\x1b[K")
            sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self.is_shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def bar(done: int, total: int) -> str:
    """Such as ``[######......]``."""
    full = 0 if total <= 0 else WIDTH * max(0, min(done, total)) // total
    return f"[{'#' * full}{'.' * (WIDTH - full)}]"
