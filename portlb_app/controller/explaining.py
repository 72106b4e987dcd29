"""Where packets go: asked of the process with the tables, which has what the switches hold."""

from __future__ import annotations

import logging

from portlb_app.api import explaining
from portlb_app.api.messages import Response
from portlb_app.api.problem_details import failure
from portlb_app.reconcile.results import Unknown, Unreadable
from portlb_app.southbound.tables_process import Lost, TablesProcess

MOST = 4
"""Questions at a time: the process does one job after the other, and switches wait for it, too."""

_LOG = logging.getLogger("portlb.rest")


class Explaining:
    """Asks, and answers."""

    def __init__(self, tables: TablesProcess) -> None:
        self._tables = tables
        self._asked = 0

    def answer(self, asked: explaining.Asked) -> Response:
        """The answer to one question; its caller waits."""
        if self._asked >= MOST:
            return failure("busy", f"{MOST} packets are being followed already")
        self._asked += 1
        try:
            return explaining.response(self._tables.call("explain", asked.text, asked.slot))
        except Unknown:
            return failure("not-known-yet", "nothing has been compiled yet")
        except (Lost, Unreadable) as error:
            _LOG.warning("a packet could not be followed: %s", error)
            return failure("not-computed", "the packet could not be followed; the controller's log says why")
        finally:
            self._asked -= 1
