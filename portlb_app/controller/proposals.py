"""Proposed configurations: by REST, or by SIGHUP, which reads the file again; each waits for its outcome."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from eventlet.event import Event as Future
from ryu.lib import hub

from portlb_app.api import configuration, messages
from portlb_app.api.history import Change
from portlb_app.api.problem_details import failure
from portlb_app.api.snapshot import Snapshot
from portlb_app.config import Config, Problem
from portlb_app.config.etag import ANY
from portlb_app.controller.answers import within
from portlb_app.controller.changes import Changes, of_evidence, outcomes
from portlb_app.metrics.tally import Tally
from portlb_app.reconcile.events import ConfigProposed, Event, FileRead
from portlb_app.reconcile.outcomes import Ended, Live, Mistaken, NotComputed, Outcome, told
from portlb_app.reconcile.reconciler import Reconciler
from portlb_app.reconcile.results import Mistakes
from portlb_app.runtime.files import Files, Pending, Slow
from portlb_app.store.changes import hash_of
from portlb_app.store.file import ConfigFile, Staged, StoreError

_OF_THE_FILE = messages.Proposal("", ANY, unverified=True)
_LOG = logging.getLogger("portlb")


def log_notices(config: Config) -> None:
    """Log what a configuration gives reason to say; it has become live."""
    for notice in config.notices:
        _LOG.warning("notice: %s", notice)


@dataclass
class Awaited:
    """A proposal whose outcome is waited for. `change`: as it is written down, None if it is not.

    `save` is called in the step that makes it live, so files are replaced in the order in which configurations are.
    """

    source: Literal["rest", "file"]
    change: Change | None
    save: Callable[[], None] = lambda: None
    began: float = field(default_factory=time.monotonic)
    outcome: Future = field(default_factory=Future)


class Proposals:
    """Has the reconciler try configurations, and saves those that become live.

    `step` gives an event to the reconciler and has its commands carried out; `snapshot` is for the responses.
    """

    def __init__(
        self,
        reconciler: Reconciler,
        step: Callable[[Event], None],
        snapshot: Callable[[], Snapshot],
        file: ConfigFile,
        files: Files,
        tally: Tally,
        changes: Changes,
    ) -> None:
        self._reconciler = reconciler
        self._step = step
        self._snapshot = snapshot
        self._file = file
        self._files = files
        self._tally = tally
        self._changes = changes
        self._tickets = itertools.count(1)
        self._waiting: dict[int, Awaited] = {}
        self._was = reconciler.text
        """The text that became live last."""
        self._reload = hub.Event()
        self._is_ending = False

    def report(self, ticket: int, outcome: Outcome) -> None:
        """The reconciler says what became of a proposal."""
        if awaited := self._waiting.pop(ticket, None):  # else the controller ends, and nothing waits any more
            self._end(awaited, outcome)

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
        number = proposal.said.id
        awaited = Awaited("rest", proposal.said, lambda: saving.append(self._files.start(staged.commit)))
        outcome = self._try(awaited, proposal)
        unsaved = ""
        try:
            for each in saving or [self._files.start(staged.discard)]:
                each.wait()
        except StoreError as error:
            unsaved = f"the configuration is live, but not saved: {error}"
        except Slow as error:
            if saving:
                unsaved = f"the configuration is live; whether it is saved is not known: {error}"
        if unsaved:
            if change := awaited.change:
                self._changes.end(change, change.outcome, unsaved, change.switches)
            if proposal.answer is not None:
                _LOG.error("change %d: %s", number, unsaved)
            return failure("not-saved", unsaved)
        response = configuration.outcome_response(outcome, self._snapshot())
        return replace(response, headers={**response.headers, messages.CHANGE: str(number)})

    def end(self) -> None:
        """The controller ends: what becomes of a proposal will not be known any more."""
        self._is_ending = True
        waiting, self._waiting = self._waiting, {}
        if waiting:
            _LOG.warning("a configuration is on trial: its switches may hold a part of it until portlb starts again")
        for each in waiting.values():
            self._end(each, Ended())

    def reload(self) -> None:
        """Make the configuration file live again soon. Once, if this is called again before it is read."""
        self._reload.set()

    def run_reloads(self) -> None:
        """Propose the file whenever `reload` is called. It waits for its turn as other configurations do.

        The last good one stays if the file has mistakes.
        """
        while True:
            self._reload.wait()
            self._reload.clear()
            outcome = self._try(Awaited("file", None), _OF_THE_FILE)
            if not isinstance(outcome, Ended):
                self._tally.reload(isinstance(outcome, Live), time.time())
            self._log_reload(outcome)

    def read(self, ticket: int) -> None:
        """The file's turn has come: read it. That it cannot be written down as a change does not hold it up."""
        self._reload.clear()  # what was asked until now
        try:
            text = self._files.start(self._file.read_again).wait()
        except (OSError, UnicodeDecodeError) as error:
            self._step(FileRead(ticket, Mistakes((Problem("", str(error)),))))
            return
        change = None
        if text != self._reconciler.text:
            try:
                said = Change(0, "config", "reload", 0.0, by="SIGHUP", came_from=str(self._file.path))
                change = self._begin(said, text)
            except (StoreError, Slow) as error:
                _LOG.error("%s; the file is read again all the same", error)
        if awaited := self._waiting.get(ticket):
            awaited.change = change
            self._step(FileRead(ticket, text, str(change.id) if change else ""))
        elif change:  # the controller ends
            self._end_change(change, Ended())

    def _begin(self, said: Change, text: str) -> Change:
        """Write down that a configuration is proposed; StoreError, Slow."""
        return self._changes.begin(replace(said, config=hash_of(text)), text)

    def _end_change(self, change: Change, outcome: Outcome) -> Change:
        """Write down what became of a change: behind what is saved already, and before what becomes live after it."""
        word, reason, evidence = told(outcome)
        before = self._was if isinstance(outcome, Live) else self._reconciler.text
        switches = outcomes(self._snapshot()) | of_evidence(evidence)
        return self._changes.end(replace(change, before=hash_of(before)), word, reason, switches)

    def _try(self, awaited: Awaited, proposal: messages.Proposal) -> Outcome:
        """Propose a configuration, and wait until it is known what became of it."""
        if self._is_ending:  # meanwhile, as it was written down: nothing would tell its outcome any more
            self._end(awaited, Ended())
        else:
            ticket = next(self._tickets)
            self._waiting[ticket] = awaited
            text = None if awaited.source == "file" else proposal.text
            self._step(
                ConfigProposed(
                    *(ticket, text, proposal.patience, proposal.unverified, proposal.precondition),
                    turn=proposal.turn,
                    atomic=proposal.atomic,
                    change=str(proposal.said.id or ""),
                )
            )
        outcome: Outcome = awaited.outcome.wait()
        return outcome

    def _end(self, awaited: Awaited, outcome: Outcome) -> None:
        """What became of a proposal: count it, save it, write it down, and tell what waits for it."""
        self._tally.change(awaited.source, outcome, time.monotonic() - awaited.began)
        if isinstance(outcome, Live):
            awaited.save()
        if awaited.change:
            awaited.change = self._end_change(awaited.change, outcome)
        if isinstance(outcome, Live):
            self._was = self._reconciler.text
            self._tally.keep(self._reconciler.live.config)
            log_notices(self._reconciler.live.config)
        awaited.outcome.send(outcome)

    def _log_reload(self, outcome: Outcome) -> None:
        match outcome:
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
