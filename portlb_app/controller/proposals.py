"""Proposed configurations: by REST, or by SIGHUP, which reads the file again; each waits for its outcome."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from eventlet.event import Event as Future
from ryu.lib import hub

from portlb_app.api import configuration, messages
from portlb_app.api.history import Change
from portlb_app.api.problem_details import failure
from portlb_app.api.snapshot import Snapshot
from portlb_app.config import Config
from portlb_app.config.etag import ANY
from portlb_app.controller.answers import within
from portlb_app.controller.changes import Changes, of_evidence, outcomes
from portlb_app.metrics.tally import Tally
from portlb_app.reconcile.events import ConfigProposed
from portlb_app.reconcile.outcomes import Busy, Ended, Live, Mistaken, NotComputed, Outcome, told
from portlb_app.reconcile.reconciler import Reconciler
from portlb_app.runtime.files import Files, Pending, Slow
from portlb_app.store.changes import hash_of
from portlb_app.store.file import ConfigFile, Staged, StoreError

BUSY_SECONDS = 0.25
"""Until it is looked again whether another configuration is still on trial, or waits."""

_LOG = logging.getLogger("portlb")


def log_notices(config: Config) -> None:
    """Log what a configuration gives reason to say; it has become live."""
    for notice in config.notices:
        _LOG.warning("notice: %s", notice)


class Proposals:
    """Has the reconciler try configurations, and saves those that become live.

    `propose` gives an event to the reconciler and has its commands carried out; `snapshot` is for the responses.
    """

    def __init__(
        self,
        reconciler: Reconciler,
        propose: Callable[[ConfigProposed], None],
        snapshot: Callable[[], Snapshot],
        file: ConfigFile,
        files: Files,
        tally: Tally,
        changes: Changes,
    ) -> None:
        self._reconciler = reconciler
        self._propose = propose
        self._snapshot = snapshot
        self._file = file
        self._files = files
        self._tally = tally
        self._changes = changes
        self._tickets = itertools.count(1)
        self._waiting: dict[int, Callable[[Outcome], None]] = {}
        self._was = reconciler.text
        """The text that became live last."""
        self._replaced: dict[int, str] = {}
        """By change, the hash of the text that was live before."""
        self._reload = hub.Event()
        self._is_ending = False

    def report(self, ticket: int, outcome: Outcome) -> None:
        """The reconciler says what became of a proposal."""
        if done := self._waiting.pop(ticket, None):  # else the controller ends, and nothing waits any more
            done(outcome)

    def replace(self, proposal: messages.Proposal) -> messages.Response:
        """Make a configuration live and save it."""
        if self._is_ending:
            return failure("ending", "the controller ends; nothing was changed")
        try:
            staged = self._files.start(lambda: self._file.stage(proposal.text), Staged.discard).wait()
        except (StoreError, Slow) as error:
            return failure("not-saved", f"{error}; nothing was changed")
        try:
            change = self._begin(proposal.said, proposal.text)
        except (StoreError, Slow) as error:
            self._files.start(staged.discard)
            return failure("not-saved", f"{error}; nothing was changed")
        begun = replace(proposal, said=change)
        return within(proposal.answer, change.id, lambda: self._finish(begun, staged))

    def _finish(self, proposal: messages.Proposal, staged: Staged) -> messages.Response:
        """Try what is staged and written down, and save it if it becomes live."""
        saving: list[Pending[None]] = []
        change = proposal.said
        outcome = self._try(
            "rest",
            proposal,
            save=lambda: saving.append(self._files.start(staged.commit)),
        )
        unsaved = ""
        try:
            for each in saving or [self._files.start(staged.discard)]:
                each.wait()
        except StoreError as error:
            unsaved = f"the configuration is live, but not saved: {error}"
        except Slow as error:
            if saving:
                unsaved = f"the configuration is live; whether it is saved is not known: {error}"
        self._end_change(change, outcome, unsaved)
        if unsaved:
            if proposal.answer is not None:
                _LOG.error("change %d: %s", change.id, unsaved)
            return failure("not-saved", unsaved)
        response = configuration.outcome_response(outcome, self._snapshot())
        return replace(response, headers={**response.headers, messages.CHANGE: str(change.id)})

    def end(self) -> None:
        """The controller ends: what becomes of a proposal will not be known any more."""
        self._is_ending = True
        waiting, self._waiting = self._waiting, {}
        if waiting:
            _LOG.warning("a configuration is on trial: its switches may hold a part of it until portlb starts again")
        for done in waiting.values():
            done(Ended())

    def reload(self) -> None:
        """Make the configuration file live again soon. Once, if this is called again before."""
        if not self._reload.is_set():
            self._reload.set()

    def run_reloads(self) -> None:
        """Read the file whenever `reload` is called and no other configuration is on trial or waits.

        It does not wait for its turn with a text that the one before may replace: the file is read when it has come.

        The last good one stays if the file has mistakes.
        """
        while True:
            self._reload.wait()
            while self._reconciler.is_busy:
                hub.sleep(BUSY_SECONDS)
            self._reload.clear()
            try:
                text = self._files.start(self._file.read_again).wait()
            except (OSError, UnicodeDecodeError) as error:
                self._log_not_reloaded(error)
                self._tally.reload(False, time.time())
                continue
            outcome = self._reload_with(text)
            if not isinstance(outcome, Busy):
                self._tally.reload(isinstance(outcome, Live), time.time())
            self._log_reload(outcome)

    def _reload_with(self, text: str) -> Outcome:
        """Try a text that is the file's already. That it cannot be written down does not hold it up."""
        change = None
        if text != self._reconciler.text:
            try:
                said = Change(0, "config", "reload", 0.0, by="SIGHUP", came_from=str(self._file.path))
                change = self._begin(said, text)
            except (StoreError, Slow) as error:
                _LOG.error("%s; the file is read again all the same", error)
        said = change or Change(0, "config", "reload", 0.0)
        outcome = self._try("file", messages.Proposal(text, ANY, unverified=True, turn=0.0, said=said))
        if change:
            self._end_change(change, outcome)
        return outcome

    def _begin(self, said: Change, text: str) -> Change:
        """Write down that a configuration is proposed; StoreError, Slow."""
        return self._changes.begin(replace(said, config=hash_of(text)), text)

    def _end_change(self, change: Change, outcome: Outcome, unsaved: str = "") -> None:
        word, reason, evidence = told(outcome)
        snapshot = self._snapshot()
        change = replace(change, before=self._replaced.pop(change.id, hash_of(self._reconciler.text)))
        self._changes.end(change, word, unsaved or reason, outcomes(snapshot) | of_evidence(evidence))

    def _try(self, source: str, proposal: messages.Proposal, save: Callable[[], None] = lambda: None) -> Outcome:
        """Propose a configuration, and wait until it is known what became of it.

        `save` is called in the step that makes it live, so files are replaced in the order in which configurations are.
        """
        if self._is_ending:  # meanwhile, as it was written down: nothing would tell its outcome any more
            return Ended()
        future, began = Future(), time.monotonic()

        def done(outcome: Outcome) -> None:
            self._tally.change(source, outcome, time.monotonic() - began)
            if isinstance(outcome, Live):
                if proposal.said.id:
                    self._replaced[proposal.said.id] = hash_of(self._was)
                self._was = self._reconciler.text
                save()
                self._tally.keep(self._reconciler.live.config)
                log_notices(self._reconciler.live.config)
            future.send(outcome)

        ticket = next(self._tickets)
        self._waiting[ticket] = done
        self._propose(
            ConfigProposed(
                *(ticket, proposal.text, proposal.patience, proposal.unverified, proposal.precondition),
                turn=proposal.turn,
                atomic=proposal.atomic,
                change=str(proposal.said.id or ""),
            )
        )
        outcome: Outcome = future.wait()
        return outcome

    def _log_reload(self, outcome: Outcome) -> None:
        match outcome:
            case Busy():
                self.reload()
            case Mistaken(mistakes):
                self._log_not_reloaded(mistakes)
            case NotComputed(reason):
                self._log_not_reloaded(reason)
            case Ended():
                pass  # the controller ends, and this with it
            case Live():
                _LOG.info("%s is read again and is live", self._file.path)
            case _:
                text = configuration.outcome_text(outcome, self._snapshot())
                _LOG.error("%s is read again: %s", self._file.path, text)

    def _log_not_reloaded(self, why: object) -> None:
        _LOG.error("%s is not reloaded, the last good configuration stays live:\n%s", self._file.path, why)
