"""Overrides that REST asks for, and those that end: saved, and then given to the reconciler."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from eventlet.event import Event as Future
from eventlet.semaphore import Semaphore

from portlb_app.api import judgement, messages, wish_answers
from portlb_app.api.batches import Batch
from portlb_app.api.history import Change
from portlb_app.api.problem_details import failure
from portlb_app.api.snapshot import Snapshot
from portlb_app.api.wishes import Wish
from portlb_app.config.overrides import Overrides
from portlb_app.config.overrides_text import dump
from portlb_app.controller.answers import within
from portlb_app.controller.changes import Changes, of_evidence, outcomes
from portlb_app.metrics.tally import Tally
from portlb_app.reconcile.events import OverridesWanted
from portlb_app.reconcile.outcomes import Ended, WishOutcome, told_of_wish
from portlb_app.runtime.files import Files, Slow
from portlb_app.store.changes import hash_of
from portlb_app.store.file import Staged, StoreError
from portlb_app.store.overrides import OverridesFile

_LOG = logging.getLogger("portlb")


class Wishes:
    """One wish after the other is judged and saved; then several wait for the switches at the same time.

    `want` gives an event to the reconciler and has its commands carried out; `snapshot` is for judging and answers.
    """

    def __init__(
        self,
        want: Callable[[OverridesWanted], None],
        snapshot: Callable[[], Snapshot],
        file: OverridesFile,
        files: Files,
        tally: Tally,
        changes: Changes,
    ) -> None:
        self._want = want
        self._snapshot = snapshot
        self._file = file
        self._files = files
        self._tally = tally
        self._changes = changes
        self._turn = Semaphore(1)
        self._tickets = itertools.count(1)
        self._waiting: dict[int, Future] = {}
        self._is_ending = False

    def report(self, ticket: int, outcome: WishOutcome) -> None:
        """The reconciler says what became of a wish."""
        if future := self._waiting.pop(ticket, None):  # else the controller ends, and nothing waits any more
            future.send(outcome)

    def carry_out(self, wish: Wish | Batch) -> messages.Response:
        """Judge a wish, save it, and wait until all connected switches have it, or until time is up.

        Several are one: one change, one set of overrides, one plan for each switch.
        """
        with self._turn:
            if self._is_ending:
                return failure("ending", "the controller ends; nothing was changed")
            judged = judgement.judge(wish, self._snapshot())
            if isinstance(judged, messages.Response):
                return judged
            try:
                change = self._changes.begin(self._change(wish, judged))
            except (StoreError, Slow) as error:
                return failure("not-saved", f"{error}; nothing was changed")
            try:
                self._save(judged.overrides)
            except (StoreError, Slow) as error:
                self._changes.end(change, "ended", f"{error}; nothing was changed", {})
                if isinstance(error, Slow):
                    self._save_later()
                return failure("not-saved", f"{error}; nothing was changed")
            ticket, future, began = next(self._tickets), Future(), time.monotonic()
            self._waiting[ticket] = future
            about = {"server": wish.server} if isinstance(wish, Wish) else {}
            _LOG.info("%s", judged.log_line, extra={"about": about})
            self._want(OverridesWanted(ticket, judged.overrides, wish.waiting.patience, str(change.id)))
        return within(wish.waiting.answer, change.id, lambda: self._answer(wish, judged, change, future, began))

    def _answer(
        self, wish: Wish | Batch, judged: judgement.Judged, change: Change, future: Future, began: float
    ) -> messages.Response:
        """Wait for the outcome, write it down, and say it."""
        outcome: WishOutcome = future.wait()
        self._tally.change("admin", outcome, time.monotonic() - began)
        snapshot = self._snapshot()
        word, reason, evidence = told_of_wish(outcome)
        self._changes.end(change, word, reason, outcomes(snapshot) | of_evidence(evidence))
        response = wish_answers.answer(wish, judged, outcome, snapshot)
        return replace(response, headers={**response.headers, messages.CHANGE: str(change.id)})

    def save(self) -> None:
        """Save the overrides as they are now: some have ended, or it is not known what was saved last."""
        with self._turn:
            try:
                self._save(self._snapshot().overrides)
            except (StoreError, Slow) as error:
                _LOG.error("overrides have ended, but are not saved: %s; they end again at the next start", error)

    def end(self) -> None:
        """The controller ends: what becomes of wishes will not be known any more. They are saved."""
        self._is_ending = True
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            future.send(Ended())

    def _change(self, wish: Wish | Batch, judged: judgement.Judged) -> Change:
        """What is written down about a wish."""
        live = hash_of(self._snapshot().text)
        return Change(
            *(0, "override", "rest", 0.0),
            subject=judged.subject,
            by=wish.wishes[0].said.by,
            came_from=wish.came_from,
            config=live,
            before=live,
            overrides=hash_of(dump(judged.overrides)),
        )

    def _save(self, overrides: Overrides) -> None:
        """Put overrides on the disk, in place of those before; StoreError, Slow."""
        staged = self._files.start(lambda: self._file.stage(overrides), Staged.discard).wait()
        self._files.start(staged.commit).wait()

    def _save_later(self) -> None:
        """What was to be saved may be yet, although it was refused: what is true comes after it."""
        overrides = self._snapshot().overrides
        self._files.start(lambda: self._file.stage(overrides).commit())
