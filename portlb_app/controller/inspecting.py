"""What a switch holds, and reading it again, on request."""

from __future__ import annotations

from collections.abc import Callable

from portlb_app.api import effective, switches
from portlb_app.api.effective import EffectiveWanted
from portlb_app.api.messages import Response
from portlb_app.api.problem_details import failure
from portlb_app.config.effective import Used
from portlb_app.reconcile.entries import Entries
from portlb_app.reconcile.events import ReadWanted
from portlb_app.reconcile.results import Mistakes, Unreadable
from portlb_app.southbound.tables_process import Lost, TablesProcess

MOST = 4
"""Requests at a time: the process does one job after the other, and switches wait for it, too."""


class Inspecting:
    """Asks the process with the tables; `step` gives an event to the reconciler and has its commands carried out."""

    def __init__(self, tables: TablesProcess, step: Callable[[ReadWanted], None]) -> None:
        self._tables = tables
        self._step = step
        self._asked = 0

    def resync(self, asked: switches.Resync) -> Response:
        """Have a switch read now."""
        self._step(ReadWanted(asked.switch.dpid))
        return switches.resync_answer(asked)

    def tables(self, asked: switches.TablesWanted) -> Response:
        """What a switch holds, or shall hold; the caller waits."""
        return self._bounded(lambda: switches.tables_answer(asked, self._ask(asked)))

    def effective(self, asked: EffectiveWanted) -> Response:
        """The values of the configuration that are used; the caller waits."""

        def ask() -> Response:
            snapshot = asked.call.snapshot
            found: list[Used] | Mistakes = self._tables.call(
                "effective", snapshot.text, snapshot.overrides, asked.chosen
            )
            if isinstance(found, Mistakes):
                return failure("not-computed", f"the live configuration is not read any more: {found}")
            return effective.answer(asked, found)

        return self._bounded(ask)

    def _bounded(self, ask: Callable[[], Response]) -> Response:
        if self._asked >= MOST:
            return failure("busy", f"{MOST} such requests wait already", headers={"Retry-After": "1"})
        self._asked += 1
        try:
            return ask()
        except (Lost, Unreadable) as error:
            return failure("not-computed", f"it cannot be told: {error}")
        finally:
            self._asked -= 1

    def _ask(self, asked: switches.TablesWanted) -> Entries | str | None:
        name, dpid = asked.switch.name, asked.switch.dpid
        found: Entries | str | None
        if asked.is_text:
            found = self._tables.call("entries_text", name, dpid, asked.is_wanted)
        else:
            found = self._tables.call("entries", dpid, asked.is_wanted, asked.first, asked.count)
        return found
