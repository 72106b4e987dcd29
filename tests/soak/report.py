"""What a soak prints: figures, and promises with whether they held."""

from __future__ import annotations

import os
import time
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


class Report:
    """Prints lines as they come, with the seconds since it began, and remembers which promises did not hold."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.broken: list[str] = []

    def say(self, text: str) -> None:
        """A figure."""
        print(f"{time.monotonic() - self._began:7.1f} s  {text}", flush=True)

    def promise(self, holds: object, text: str) -> None:
        """Something that has to be true."""
        self.say(f"{'ok    ' if holds else 'BROKEN'} {text}")
        if not holds:
            self.broken.append(text)

    def exit_code(self) -> int:
        """0 if every promise held, else 1; says which did not."""
        for text in self.broken:
            print(f"BROKEN: {text}", flush=True)
        return 1 if self.broken else 0


def cpu_seconds(pid: int) -> float:
    """Processor time (s) of a process, its threads, its living descendants, and those it has waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = [child for task in Path(f"/proc/{pid}/task").iterdir() for child in _children(task)]
    except OSError:  # it has ended meanwhile
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS + sum(map(cpu_seconds, children))


def _children(task: Path) -> list[int]:
    return [int(child) for child in (task / "children").read_text().split()]


def memory_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
