"""Dry runs: the process with the tables says what a change would do. Nothing is changed, the loop goes on meanwhile."""

from __future__ import annotations

from collections.abc import Callable

from portlb_app.api import configuration, judgement, messages
from portlb_app.api import preview as answers
from portlb_app.api import wish_answers
from portlb_app.api.batches import Batch
from portlb_app.api.problem_details import failure
from portlb_app.api.snapshot import Snapshot
from portlb_app.api.wishes import Wish
from portlb_app.config import Config
from portlb_app.config.overrides import Overrides
from portlb_app.reconcile.outcomes import Mistaken, NotComputed, Outdated
from portlb_app.reconcile.preview import Preview, Situation
from portlb_app.reconcile.reconciler import Reconciler
from portlb_app.reconcile.results import Mistakes, Unreadable
from portlb_app.southbound.tables_process import Lost, TablesProcess


class Previews:
    """Asks the process with the tables; `snapshot` is for the answers."""

    def __init__(self, reconciler: Reconciler, tables: TablesProcess, snapshot: Callable[[], Snapshot]) -> None:
        self._reconciler = reconciler
        self._tables = tables
        self.snapshot = snapshot

    def of_configuration(self, proposal: messages.Proposal) -> messages.Response:
        """What would become of a proposal, if all switches took it."""
        snapshot = self.snapshot()
        if not proposal.precondition.holds(snapshot.text):
            return configuration.outcome_response(Outdated(), snapshot)
        try:
            loaded = self._tables.call("load", proposal.text)
            if isinstance(loaded, Mistakes):
                return configuration.outcome_response(Mistaken(loaded), snapshot)
            preview = self._preview(proposal.text, loaded, self._reconciler.overrides, proposal.steps)
        except (Lost, Unreadable) as error:
            return configuration.outcome_response(NotComputed(str(error)), snapshot)
        if isinstance(preview, Mistakes):
            return configuration.outcome_response(Mistaken(preview), snapshot)
        return answers.answer(preview, loaded, self.snapshot(), proposal.steps)

    def of_wish(self, wish: Wish | Batch) -> messages.Response:
        """What would become of a wish."""
        snapshot = self.snapshot()
        judged = judgement.judge(wish, snapshot)
        if isinstance(judged, messages.Response):
            return judged
        live = self._reconciler.live
        try:
            preview = self._preview(live.text, live.config, judged.overrides, wish.steps)
        except (Lost, Unreadable) as error:
            return failure("not-computed", f"what would change cannot be computed: {error}")
        if isinstance(preview, Mistakes):
            return failure("not-computed", f"what would change cannot be computed: {preview}")
        switches = answers.switches_value(preview, live.config, snapshot, wish.steps)
        return wish_answers.dry_run(wish, judged, switches)

    def _preview(self, text: str, config: Config, overrides: Overrides, with_steps: bool) -> Preview | Mistakes:
        """What would be different; Lost, Unreadable."""
        live = self._reconciler.live
        now = Situation(live.text, self._reconciler.overrides, live.conditions)
        then = Situation(text, overrides, self._reconciler.conditions_of(config, overrides))
        preview: Preview | Mistakes = self._tables.call("preview", now, then, with_steps)
        return preview
