"""Keeps a host's MPTCP as its servers in `lb.yaml` want it, from an agent's loop."""

from __future__ import annotations

import logging
from collections.abc import Callable

from portlb_app.agent.errors import AgentError
from portlb_app.agent.loop import Loop
from portlb_app.agent.mptcp.announced import Announced
from portlb_app.agent.mptcp.keeper import Keeper
from portlb_app.agent.troubles import Troubles

LOOK_EVERY = 5.0
"""Seconds between two looks whether all is as wanted."""
_LOG = logging.getLogger("portlb.agent")
_TOPIC = "MPTCP"


class Watch:
    """The MPTCP of one process' servers. `wanted` is asked for at each look."""

    def __init__(self, loop: Loop, wanted: Callable[[], tuple[Announced, ...]]) -> None:
        self._loop, self._wanted = loop, wanted
        self._keeper, self._troubles = Keeper(), Troubles(say)
        self._is_set = self._closed = self._looking = self._look_again = False
        self._on_first: Callable[[AgentError | None], None] | None = None

    def begin(self, then: Callable[[AgentError | None], None] | None = None) -> None:
        """Set what is wanted, then look again and again; call `then` after the first time, with what went wrong."""
        self._on_first = then
        self._look()

    def close(self) -> None:
        """Look no more; all stays as it is."""
        self._closed = True

    def put_back(self) -> None:
        """Look no more, and put back what was there before."""
        if self._closed:
            return
        self._closed = True
        try:
            self._keeper.put_back()
        except (AgentError, OSError) as error:
            say(logging.WARNING, f"not all could be put back: {error}")
        else:
            say(logging.INFO, "put back as it was before")

    def _look(self) -> None:
        self._look_again = self._looking
        if not self._closed and not self._looking:
            self._looking, wanted = True, self._wanted()
            self._loop.ask(lambda: self._keeper.keep(wanted), self._after_look)

    def _after_look(self, answer: list[str] | Exception) -> None:
        self._looking = False
        if self._closed:
            return
        if self._look_again:
            self._look()
            return
        self._loop.after(LOOK_EVERY, self._look)
        first, self._on_first = self._on_first, None
        error = answer if isinstance(answer, (AgentError, OSError)) else None
        if isinstance(answer, Exception):
            if error is None:
                raise answer
            self._troubles.note(_TOPIC, str(error))
        else:
            self._troubles.note(_TOPIC, self._keeper.busy)
            if answer and self._is_set:
                say(logging.WARNING, f"set again or anew: {', '.join(answer)}")
            elif answer:
                say(logging.INFO, f"set: {', '.join(answer)}")
            self._is_set = True
        if first is not None:
            first(error if error is None or isinstance(error, AgentError) else AgentError(str(error)))


def say(level: int, text: str) -> None:
    """Log something about MPTCP."""
    _LOG.log(level, "MPTCP: %s", text, extra={"about": {"agent": "mptcp"}})
