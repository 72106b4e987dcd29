"""Every change is written down before switches hear of it, and again when it has ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from portlb_app.api.history import Change, History, SwitchOutcome
from portlb_app.api.snapshot import Snapshot
from portlb_app.runtime.files import Files, Slow
from portlb_app.store.changes import ChangesDirectory, hash_of
from portlb_app.store.file import StoreError

_LOG = logging.getLogger("portlb")


class Changes:
    """The history in memory (`history`) and on the disk. What is on its way to the disk is in the order of the files'.

    `first`: the configuration that was live before anything was written down: it is, together with the first change.
    """

    def __init__(self, history: History, directory: ChangesDirectory, files: Files) -> None:
        self.history = history
        self._directory = directory
        self._files = files
        self._began: dict[int, float] = {}
        self._first: tuple[Change, str] | None = None

    def start_with(self, change: Change, text: str) -> None:
        """The controller starts with this configuration, which is not the last one that was written down."""
        begun = self.history.begin(change)
        if self._directory.exists:
            self._files.start(lambda: self._note(begun, text))
        else:
            self._first = begun, text

    def begin(self, change: Change, text: str | None = None) -> Change:
        """Write down that a change begins. StoreError, Slow: nothing is written down, and nothing may be changed."""
        begun = self.history.begin(replace(change, at=time.time()))
        self._began[begun.id] = time.monotonic()
        first, self._first = self._first, None
        known = tuple(self.history)

        def write() -> None:
            if first is not None:
                self._directory.begin(first[0], first[1], tuple(each for each in known if each.id != begun.id))
            self._directory.begin(begun, text, known)

        try:
            self._files.start(write, lambda _: self._take_back(begun)).wait()
        except (StoreError, Slow):
            self._first = first
            self._forget(begun)
            raise
        return begun

    def end(self, change: Change, outcome: str, reason: str, switches: Mapping[str, SwitchOutcome]) -> Change:
        """What became of it. It is on the disk soon; a controller that is killed before finds out by the files."""
        began = self._began.pop(change.id, None)
        seconds = None if began is None else round(time.monotonic() - began, 3)
        ended = replace(change, outcome=outcome, reason=reason, switches=switches, seconds=seconds)
        self.history.end(ended)
        known = tuple(self.history)
        self._files.start(lambda: self._note_end(ended, known))
        return ended

    def text(self, name: str) -> str:
        """The text of a configuration by its hash; Damaged, OSError, Slow."""
        if self._first is not None and self._first[0].config == name:
            return self._first[1]
        return self._files.start(lambda: self._directory.text(name)).wait()

    # ---- inside ----

    def _note(self, change: Change, text: str) -> None:
        try:
            self._directory.begin(change, text, tuple(self.history))
        except StoreError as error:
            _LOG.warning("%s", error)

    def _note_end(self, change: Change, known: tuple[Change, ...]) -> None:
        try:
            self._directory.end(change, known)
        except StoreError as error:
            _LOG.error("%s", error)

    def _take_back(self, change: Change) -> None:
        """The disk has answered too late: the change was refused, and nothing came of it."""
        self._note_end(replace(change, outcome="ended", reason="the disk was too slow"), tuple(self.history))

    def _forget(self, change: Change) -> None:
        self.history.drop(change.id)
        self._began.pop(change.id, None)


def load(directory: ChangesDirectory, text: str, overrides: str, now: float) -> tuple[History, Change | None]:
    """What was written down, and the change that the start itself is, if the file is not the last live one.

    `text`, `overrides`: as they are on the disk. A directory that cannot be read is an empty one, and the log says so.
    """
    try:
        known = {each.id: each for each in directory.load()}
    except OSError as error:
        _LOG.error("%s cannot be read: %s; changes before are not known", directory.path, error)
        known = {}
    return History(known.values()), None


def outcomes(snapshot: Snapshot) -> dict[str, SwitchOutcome]:
    """What switches say after a change."""
    return {each.name: SwitchOutcome(each.state, each.errors) for each in snapshot.status.switches}


Begin = Callable[[Change, str | None], Change]
