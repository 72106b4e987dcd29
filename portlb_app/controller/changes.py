"""Every change is written down before switches hear of it, and again when it has ended."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from portlb_app.api import changes as of_changes
from portlb_app.api import configuration, messages
from portlb_app.api.history import Change, History, SwitchOutcome, found_at_the_start
from portlb_app.api.problem_details import failure
from portlb_app.api.snapshot import Snapshot
from portlb_app.config.overrides import Overrides
from portlb_app.config.overrides_text import dump
from portlb_app.reconcile.happened import Evidence
from portlb_app.runtime.files import Files, Slow
from portlb_app.store.changes import ChangesDirectory, Damaged, hash_of
from portlb_app.store.file import StoreError

_LOG = logging.getLogger("portlb")


class Changes:
    """The history in memory (`history`) and on the disk. What is on its way to the disk is in the order of the files'.

    `text`: that of the configuration with which the controller starts. A directory is made with the first change, and
    then has that one as well. `ended`: changes whose end was found at the start; it is written down before all else.
    """

    def __init__(
        self, history: History, directory: ChangesDirectory, files: Files, text: str, ended: Sequence[Change] = ()
    ) -> None:
        self.history = history
        self._directory = directory
        self._files = files
        self._began: dict[int, float] = {}
        self._first: tuple[Change, str] | None = None
        known = tuple(history)
        for each in ended:
            self._files.start(functools.partial(self._note_end, each, known))
        if (live := history.live) is None:
            return
        if directory.exists:
            self._files.start(lambda: self._note(live, text))
        else:
            self._first = live, text

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
        """What became of it. It is on the disk soon; a controller that is killed before finds out by the files.

        One that has ended can be ended again, when more is known.
        """
        began = self._began.pop(change.id, None)
        seconds = change.seconds if began is None else round(time.monotonic() - began, 3)
        ended = replace(change, outcome=outcome, reason=reason, switches=switches, seconds=seconds)
        self.history.end(ended)
        known = tuple(self.history)
        self._files.start(lambda: self._note_end(ended, known))
        return ended

    @property
    def is_written(self) -> bool:
        """Every change that has begun has an end, on the disk."""
        return not self._began and not self._files.is_busy

    def tell(self, change: Change) -> messages.Response:
        """A change with its texts."""

        def read() -> messages.Response:
            text, problem = self._read(change.config)
            before, _ = self._read(change.before) if change.before and change.what == "config" else (None, "")
            return of_changes.whole(change, text, before, problem)

        try:
            return self._files.start(read).wait()
        except Slow as error:
            return failure("not-known-yet", str(error))

    def proposed(self, asked: of_changes.Rollback) -> messages.Proposal | messages.Response:
        """What is to become live again, or that it is not there."""
        try:
            text, problem = self._files.start(lambda: self._read(asked.change.config)).wait()
        except Slow as error:
            return failure("not-known-yet", str(error))
        if text is None:
            return failure("gone", f"{problem}; nothing was changed")
        return of_changes.propose(asked, text)

    def outdated(self, meant: Collection[str], snapshot: Snapshot) -> messages.Response:
        """Another configuration is live than these hashes name: what has changed since the one that was meant."""

        def read() -> messages.Response:
            texts = (text for text, _ in map(self._read, meant) if text is not None)
            known = next(texts, None)
            made = None if known is None else of_changes.difference(known, snapshot.text, ("meant", "live"))
            return configuration.outdated(snapshot, made)

        try:
            return self._files.start(read).wait()
        except Slow:
            return configuration.outdated(snapshot)

    # ---- inside ----

    def _read(self, name: str) -> tuple[str | None, str]:
        """In the thread: the text with this hash, or what is wrong with it."""
        first = self._first
        if first is not None and first[0].config == name:
            return first[1], ""
        try:
            return self._directory.text(name), ""
        except (Damaged, OSError) as error:
            return None, str(error)

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


def load(
    directory: ChangesDirectory, text: str, overrides: Overrides, now: float
) -> tuple[History, Sequence[Change]]:
    """What was written down, and the changes whose end was not: the files say what became of these.

    `text`, `overrides`: as they are on the disk. A file that is not the last configuration that was live is a change,
    too: somebody has edited it. A directory that cannot be read is an empty one, and the log says so.
    """
    try:
        history = History(directory.load())
    except OSError as error:
        _LOG.error("%s cannot be read: %s; changes before are not known", directory.path, error)
        history = History()
    ended = found_at_the_start(history, hash_of(text), hash_of(dump(overrides)))
    for each in ended:
        history.end(each)
        _LOG.warning("change %d (%s): %s", each.id, each.subject or each.what, each.reason)
    last = history.live
    if last is None or last.config != hash_of(text):
        before = last.config if last else ""
        found = Change(0, "config", "start", now, came_from="the file", config=hash_of(text), before=before)
        history.begin(replace(found, outcome="live", reason="the controller was started with it"))
    return history, ended


def outcomes(snapshot: Snapshot) -> dict[str, SwitchOutcome]:
    """What switches say after a change."""
    return {each.name: SwitchOutcome(each.state, each.errors) for each in snapshot.status.switches}


def of_evidence(evidence: Evidence) -> dict[str, SwitchOutcome]:
    """What an outcome says of switches by itself."""
    switches: Mapping[str, list[str]] = evidence.get("switches", {})
    return {name: SwitchOutcome("lacking", tuple(errors)) for name, errors in switches.items()}
