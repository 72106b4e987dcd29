"""Answers of one switch that wait to be read, with a bound over all switches.

A session hands them to the process with the tables, which may compile for two minutes. Meanwhile switches may send
all they hold. So a connection whose inbox is full is not read: TCP makes the switch wait.
"""

from __future__ import annotations

from ryu.lib import hub

from portlb_app.openflow.limits import WAITING_OF_ALL, WAITING_OF_ONE
from portlb_app.openflow.messages import ErrorMessage, Reply

AT_LEAST = 64 << 10
"""Bytes that one switch may have waiting however many others have: so each makes progress."""
OVERHEAD = 512
"""Bytes that a message takes beside its own."""


class Room:
    """What is taken of `WAITING_OF_ALL`."""

    def __init__(self) -> None:
        self.taken = 0


ROOM = Room()


class Inbox:
    """Answers in the order in which they came. It takes every one: the channel stops reading while it `is_full`."""

    def __init__(self, room: Room = ROOM) -> None:
        self._room = room
        self._queue = hub.Queue()
        self._taken = 0

    @property
    def is_full(self) -> bool:
        """Whether the channel should stop reading from the switch."""
        return self._taken > AT_LEAST and (self._taken > WAITING_OF_ONE or self._room.taken > WAITING_OF_ALL)

    def put(self, message: ErrorMessage | Reply) -> None:
        """Add an answer."""
        self._take(len(message.data) + OVERHEAD)
        self._queue.put(message)

    def get(self, seconds: float) -> ErrorMessage | Reply:
        """Return the next answer; hub.QueueEmpty if none comes within `seconds`."""
        message: ErrorMessage | Reply = self._queue.get(timeout=seconds)
        self._take(-len(message.data) - OVERHEAD)
        return message

    def empty(self) -> bool:
        """Whether no answer waits."""
        return bool(self._queue.empty())

    def clear(self) -> None:
        """Forget the answers that wait."""
        while not self._queue.empty():
            self.get(0)

    def _take(self, length: int) -> None:
        self._taken += length
        self._room.taken += length
