"""Changes of parts of the configuration: the text is made from the live one, and made again if that has changed."""

from __future__ import annotations

import time
from dataclasses import replace

from portlb_app.api import configuration
from portlb_app.api.edits import Edit
from portlb_app.api.messages import Response
from portlb_app.config.etag import Precondition, etag
from portlb_app.controller.previews import Previews
from portlb_app.controller.proposals import Proposals
from portlb_app.reconcile.outcomes import Mistaken, NotComputed, Outcome, Outdated, TurnMissed
from portlb_app.reconcile.reconciler import Reconciler
from portlb_app.reconcile.results import Mistakes, Unreadable
from portlb_app.southbound.tables_process import Lost, TablesProcess


class Edits:
    """Each is proposed for the text that it was made from, and tried again when another one came before it."""

    def __init__(self, reconciler: Reconciler, tables: TablesProcess, proposals: Proposals, previews: Previews) -> None:
        self._reconciler = reconciler
        self._tables = tables
        self._proposals = proposals
        self._previews = previews

    def carry_out(self, edit: Edit) -> Response:
        """Make the change live and save it, or say what it would do."""
        asked = edit.proposal
        until = time.monotonic() + asked.turn
        while True:
            text = self._reconciler.text
            if not asked.precondition.holds(text):
                return self._answer(Outdated())
            try:
                made: str | Mistakes = self._tables.call("edit", text, edit.patch)
            except (Lost, Unreadable) as error:
                return self._answer(NotComputed(str(error)))
            if isinstance(made, Mistakes):
                return self._answer(Mistaken(made))
            proposal = replace(asked, text=made, precondition=Precondition(match=etag(text)))
            if asked.dry_run:
                return self._previews.of_configuration(proposal)
            response = self._proposals.replace(proposal)
            if response.status != 412:
                return response
            if time.monotonic() >= until:
                return self._answer(TurnMissed(asked.turn))

    def _answer(self, outcome: Outcome) -> Response:
        return configuration.outcome_response(outcome, self._previews.snapshot())
