"""Proposed configurations: by REST, or by SIGHUP, which reads the file again; each waits for its outcome."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable

from eventlet.event import Event as Future
from ryu.lib import hub

from portlb_app.api import configuration, messages
from portlb_app.api.problem_details import failure
from portlb_app.api.snapshot import Snapshot
from portlb_app.config import Config
from portlb_app.config.etag import ANY
from portlb_app.metrics.tally import Tally
from portlb_app.reconcile.events import ConfigProposed
from portlb_app.reconcile.outcomes import Busy, Ended, Live, Mistaken, NotComputed, Outcome
from portlb_app.reconcile.reconciler import Reconciler
from portlb_app.runtime.files import Files, Pending, Slow
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
    ) -> None:
        self._reconciler = reconciler
        self._propose = propose
        self._snapshot = snapshot
        self._file = file
        self._files = files
        self._tally = tally
        self._tickets = itertools.count(1)
        self._waiting: dict[int, Callable[[Outcome], None]] = {}
        self._reload = hub.Event()
        self._is_ending = False

    def report(self, ticket: int, outcome: Outcome) -> None:
        """The reconciler says what became of a proposal."""
        if done := self._waiting.pop(ticket, None):  # else the controller ends, and nothing waits any more
            done(outcome)

    def replace(self, proposal: messages.Proposal) -> messages.Response:
        """Make a configuration live and save it."""
        saving: list[Pending[None]] = []
        if self._is_ending:
            return failure("ending", "the controller ends; nothing was changed")
        try:
            staged = self._files.start(lambda: self._file.stage(proposal.text), Staged.discard).wait()
        except (StoreError, Slow) as error:
            return failure("not-saved", f"{error}; nothing was changed")
        outcome = self._try(
            "rest",
            proposal,
            save=lambda: saving.append(self._files.start(staged.commit)),
        )
        try:
            for each in saving or [self._files.start(staged.discard)]:
                each.wait()
        except StoreError as error:
            return failure("not-saved", f"the configuration is live, but not saved: {error}")
        except Slow as error:
            if saving:
                return failure("not-saved", f"the configuration is live; whether it is saved is not known: {error}")
        return configuration.outcome_response(outcome, self._snapshot())

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
            outcome = self._try("file", messages.Proposal(text, ANY, unverified=True, turn=0.0))
            if not isinstance(outcome, Busy):
                self._tally.reload(isinstance(outcome, Live), time.time())
            self._log_reload(outcome)

    def _try(self, source: str, proposal: messages.Proposal, save: Callable[[], None] = lambda: None) -> Outcome:
        """Propose a configuration, and wait until it is known what became of it.

        `save` is called in the step that makes it live, so files are replaced in the order in which configurations are.
        """
        future, began = Future(), time.monotonic()

        def done(outcome: Outcome) -> None:
            self._tally.change(source, outcome, time.monotonic() - began)
            if isinstance(outcome, Live):
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
