"""How packets that switches hand up wait: in bounded lines, and long enough to be handled together. Pure."""

from __future__ import annotations

from collections import Counter, deque
from typing import Generic, TypeVar

from portlb_app.pipeline import COPIED, PUNTED, Reason

BACKLOG = 256
"""Packets of one reason that wait to be judged, per switch: a quarter of a second of the tightest meter's rate."""

Message = TypeVar("Message")


class Backlog(Generic[Message]):
    """What waits to be judged: at most `BACKLOG` for each reason, taken by turns: a flood of one starves none.

    Copies for the log of connections stay in order, whatever their reasons: what opens comes before what closes.
    """

    def __init__(self) -> None:
        copies: deque[tuple[Reason, Message]] = deque()
        others: dict[Reason, deque[tuple[Reason, Message]]] = {reason: deque() for reason in PUNTED}
        self._line_of = {**others, **dict.fromkeys(COPIED, copies)}
        self._lines = [copies, *others.values()]
        self._waiting: Counter[Reason] = Counter()

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return any(self._lines)

    def put(self, reason: Reason, message: Message) -> bool:
        """Whether there was room for it."""
        if self._waiting[reason] >= BACKLOG:
            return False
        self._waiting[reason] += 1
        self._line_of[reason].append((reason, message))
        return True

    def take(self, most: int) -> list[Message]:
        """The next ones, at most so many: one of each line, then a second of each, and so on."""
        taken: list[Message] = []
        ready = [line for line in self._lines if line]
        while ready and len(taken) < most:
            for line in ready[: most - len(taken)]:
                reason, message = line.popleft()
                self._waiting[reason] -= 1
                taken.append(message)
            ready = [line for line in ready if line]
        return taken


GATHER_SECONDS, GATHER_MOST_SECONDS = 0.002, 0.02
"""After packets that were handed up nothing more is read for so long, for each of them, and at most."""


class Gathering:
    """When to read on from a switch, so that packets it hands up are read, judged and answered together.

    A thousand a second cost a third then, here and in the switch, of what they cost one by one (tests/bench/punt.py). A
    single one does not wait, and a few wait shortly.
    """

    def __init__(self) -> None:
        self._came = 0

    def came(self) -> None:
        """A packet that was handed up has been read."""
        self._came += 1

    def pause(self, more: bool, awaited: bool) -> float:
        """How many seconds to wait before the next read; told once for what came.

        None if the last read left `more`, or how much a switch can hand up would be limited; nor if a switch's answer
        is `awaited`, or reconciling would wait for each of them.
        """
        came, self._came = self._came, 0
        return 0.0 if more or awaited else min(GATHER_SECONDS * came, GATHER_MOST_SECONDS)
