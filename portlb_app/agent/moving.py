"""Redirects all connections of a server, because the controller wants it: `portlb drain --move` (row B3).

Each goes to the redirect port that it opened on, so the pool's slots choose another server (row D4). It is asked once
nothing was sent either way for a while (`RESTED`): a client's agent takes a pause within an answer for its end, and
this host knows better. A thread does all that; the loop starts it, asks how far it is, and stops it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection

from portlb_app.agent import sockets
from portlb_app.agent.announcer import FIRST_WAIT, WAIT_MAX, Announcer, How, announcer
from portlb_app.agent.call_result import CallResult
from portlb_app.agent.errors import AgentError
from portlb_app.agent.kernel import sock_diag
from portlb_app.agent.mapping import Address
from portlb_app.agent.record import Record, tcp_of
from portlb_app.agent.server import application_of, redirect_ports

_LOG = logging.getLogger("portlb.agent")
REST = 2.0
"""Seconds between two looks for connections to redirect, when all known ones have been asked."""
RESTED = 2000
"""Milliseconds without data after which a connection is asked."""
PATIENCE = 30.0
"""Seconds for which a connection is asked; then it is asked again, because it is never reset unless that is wanted."""


class Mover:
    """Redirects the connections of some VIPs at an interface until it is stopped.

    `moved`: those that have followed; `left`: those that have not. A subflow of an MPTCP connection is never asked: the
    connection cannot go on at another server, and without an end of its own its program would not open it again.
    """

    def __init__(self, interface: str, vips: Collection[Address]) -> None:
        """Start."""
        self.moved = 0
        self.left = 0
        self._told_of_mptcp = False
        self._interface, self._vips = interface, frozenset(vips)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="moving", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Redirect no more connections; do not wait for the thread."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                with announcer(self._interface, "server") as made:
                    while not self._stopped.is_set():
                        self._round(made)
                        self._stopped.wait(REST)
            except (AgentError, OSError) as error:
                _LOG.warning("redirecting connections: %s; it will be tried again", error)
                self._stopped.wait(PATIENCE / 3)

    def _round(self, made: Announcer) -> None:
        """Ask each connection there is, again and again, for `PATIENCE` seconds at most."""
        known = [each for each in made.connections() if each.vip in self._vips and target(made, each)]
        stay = sockets.mptcp(map(tcp_of, known))
        pending = [each for each in known if tcp_of(each) not in stay]
        if stay and not self._told_of_mptcp:
            self._told_of_mptcp = True
            _LOG.info("connections of MPTCP (%d subflows now) cannot be moved to another server: they stay", len(stay))
        deadline, wait, told = time.monotonic() + PATIENCE, FIRST_WAIT, set[Record]()
        while pending and not self._stopped.is_set():
            self.left = len(pending) + len(stay)
            still = []
            for connection in pending:
                if not _has_rested(connection):
                    still.append(connection)
                    continue
                answer = made.announce(connection, target(made, connection), How.CLOSE)
                if answer in (CallResult.MADE, CallResult.BUSY):
                    still.append(connection)
                    told.update([connection] if answer is CallResult.MADE else [])
                elif answer is CallResult.FOLLOWED or (answer is CallResult.GONE and connection in told):
                    self.moved += 1
            pending = still
            if time.monotonic() >= deadline:
                break
            if pending:
                self._stopped.wait(wait)
                wait = min(wait * 1.5, WAIT_MAX)
        self.left = len(pending) + len(stay)


def _has_rested(connection: Record) -> bool:
    """Tell whether a connection's socket is here, and at rest; if it is gone, the announcement will tell."""
    found = sock_diag.find(tcp_of(connection))
    return found is None or (not found.unread and sockets.has_rested(found.info, RESTED))


def target(made: Announcer, connection: Record) -> int:
    """Return the redirect port that a connection is to open at again, 0 if there is none.

    It is the one it opened on; for a connection that opened on a service port, one with the same application.
    """
    settings = made.settings_for(connection)
    announced = redirect_ports(settings)
    if connection.opened in announced or not application_of(settings, connection.opened):
        return connection.opened
    return next((port for port, its in announced.items() if application_of(settings, its) == connection.port), 0)
