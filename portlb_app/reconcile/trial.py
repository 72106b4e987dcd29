"""A proposed configuration on trial: which switches have a vote, and how long it may take.

The deadline follows from the work: `patience` seconds, one more for every `MESSAGES_A_SECOND` changes that switches
must be told, and for every `ENTRIES_A_SECOND` entries that are read back from them. Open vSwitch takes ten times as
many on a machine of its own. On one that is busy all of it takes longer: so each switch that takes or tells something
extends the deadline to `patience` seconds from then, up to `LONGEST`. A switch that connects meanwhile has that long as
well, and longer for its own work; so has each one for what remains when a link changes and the tables are compiled
anew. Until they are, nothing can be done. A trial ends in bounded time, and one that goes on is not given up.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from portlb_app.reconcile.configuration import Configuration
from portlb_app.reconcile.events import ConfigProposed

MESSAGES_A_SECOND = 1000
ENTRIES_A_SECOND = 5000
LONGEST = 300.0
"""Seconds to which progress can extend a trial."""


class Trial:
    """One proposal. `configuration` is None until its text has been read, and changes with the links that work."""

    def __init__(self, proposed: ConfigProposed) -> None:
        self.ticket, self.unverified = proposed.ticket, proposed.unverified
        self.text = proposed.text or ""
        self.is_read = proposed.text is not None
        """Its text is known."""
        self.atomic = proposed.atomic
        self.change = proposed.change
        self.configuration: Configuration | None = None
        self.seconds = self._patience = proposed.patience
        self._began = 0.0
        self._deadline = math.inf
        self._longest = LONGEST
        self._voters: set[int] = set()
        self._excused: Collection[int] = ()
        self.concerned: set[int] = set()
        """The switches for which it changes something."""
        self.lost: set[int] = set()
        """The switches that had a vote when they were lost, and have not come back."""

    @property
    def has_begun(self) -> bool:
        """Switches may have been told something of it."""
        return self._deadline < math.inf

    def begin(
        self, voters: Collection[int], excused: Collection[int], now: float, messages: int, entries: int
    ) -> None:
        """The trial begins: which switches have a vote, which have none, and how much there is to tell and to read."""
        self._voters, self._excused = set(voters), excused
        self.seconds += _work(messages, entries)
        self._began, self._deadline = now, now + self.seconds
        self._longest = max(self._longest, self.seconds)

    def progressed(self, dpid: int, now: float) -> None:
        """A switch has taken or told something. If it has a vote, what is left has time again."""
        if self.has_begun and self.counts(dpid):
            self._extend(now + self._patience)

    def joined(self, dpid: int, now: float, entries: int) -> None:
        """A switch connects: it has a vote, too, from the trial's begin on, and time for all that it shall hold."""
        if self.has_begun and dpid not in self._excused and dpid not in self._voters:
            self._voters.add(dpid)
            self.lost.discard(dpid)
            self.concerned.add(dpid)
            work = _work(entries, entries)
            self._longest += work
            self._extend(now + self._patience + work)

    def lapse(self, dpid: int) -> bool:
        """A switch that has a vote is lost; whether one is left that can show that the proposal works."""
        self._voters.discard(dpid)
        self.lost.add(dpid)
        return any(map(self.can_show, self._voters))

    def can_show(self, dpid: int) -> bool:
        """Whether it means anything that this switch has it: not if only others are changed."""
        return not self.concerned or dpid in self.concerned

    def compiled_anew(self, now: float, messages: int, entries: int) -> None:
        """There is so much to tell and to read from now on, because other links work than before."""
        if self.has_begun:
            self._extend(now + self._patience + _work(messages, entries))

    def _extend(self, until: float) -> None:
        self.seconds = max(self.seconds, min(until - self._began, self._longest))
        self._deadline = self._began + self.seconds

    def counts(self, dpid: int) -> bool:
        """Whether this switch has a vote."""
        return dpid in self._voters

    def excuses(self, dpid: int) -> bool:
        """Whether the trial does not wait for it."""
        return dpid in self._excused

    def is_over(self, now: float, is_compiling: bool = False) -> bool:
        """Whether its time is up. Where tables are compiled, no switch is waited for, but not for ever."""
        return now >= (self._began + self._longest if is_compiling and self.has_begun else self._deadline)


def _work(messages: int, entries: int) -> float:
    """Seconds for so many messages to switches, and for so many entries that are read from them."""
    return messages / MESSAGES_A_SECOND + entries / ENTRIES_A_SECOND
