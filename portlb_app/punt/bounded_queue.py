"""Bounded queues, one a reason, for packets that wait to be judged. Pure."""

from __future__ import annotations

from collections import Counter, deque
from typing import Generic, TypeVar

from portlb_app.pipeline import COPIED, PUNTED, Reason

CAPACITY = 256
"""Packets of one reason that wait to be judged, per switch: a quarter of a second of the tightest meter's rate."""

Message = TypeVar("Message")


class BoundedQueue(Generic[Message]):
    """Packets that wait: at most `CAPACITY` of each reason. Reasons take turns, so a flood of one starves none.

    Copies for the log of connections stay in order, whatever their reasons: what opens comes before what closes.
    """

    def __init__(self) -> None:
        copies: deque[tuple[Reason, Message]] = deque()
        others: dict[Reason, deque[tuple[Reason, Message]]] = {reason: deque() for reason in PUNTED}
        self._queue_of = {**others, **dict.fromkeys(COPIED, copies)}
        self._queues = [copies, *others.values()]
        self._waiting: Counter[Reason] = Counter()

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return any(self._queues)

    def put(self, reason: Reason, message: Message) -> bool:
        """Add a message; return whether there was room for it."""
        if self._waiting[reason] >= CAPACITY:
            return False
        self._waiting[reason] += 1
        self._queue_of[reason].append((reason, message))
        return True

    def take(self, most: int) -> list[Message]:
        """Return the next ones, `most` at most: one of each queue, then a second of each, and so on."""
        taken: list[Message] = []
        ready = [queue for queue in self._queues if queue]
        while ready and len(taken) < most:
            for queue in ready[: most - len(taken)]:
                reason, message = queue.popleft()
                self._waiting[reason] -= 1
                taken.append(message)
            ready = [queue for queue in ready if queue]
        return taken
