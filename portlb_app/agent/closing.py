"""Closes connections of programs that a server has redirected, so that the programs open them elsewhere."""

from __future__ import annotations

import logging
import struct
import time

from portlb_app.agent import sockets
from portlb_app.agent.attachment import Agent
from portlb_app.agent.call_result import CallResult
from portlb_app.agent.errors import AgentError
from portlb_app.agent.kernel import ring
from portlb_app.agent.kernel.sock_diag import Tcp
from portlb_app.agent.loop import Loop
from portlb_app.agent.record import KEY_SIZE, unpack_address
from portlb_app.agent.troubles import Troubles
from portlb_app.net.packets import bare_ack

_LOG = logging.getLogger("portlb.agent")
LOOK_EVERY = 0.1
"""Seconds between looks at connections that are busy."""
PATIENCE = 3.0
"""Seconds for which a busy connection is tried again; the server repeats its announcement more often."""
TOPIC = "closing redirected connections"


class Closing:
    """Connections to close: filled from the eBPF programs' ring buffer, emptied by `work`."""

    def __init__(self, agent: Agent, troubles: Troubles) -> None:
        """Read the ring buffer of a client agent."""
        self._agent, self._troubles = agent, troubles
        self._ring = ring.Ring(agent.map_fd("closures"))
        self._busy: dict[Tcp, float] = {}
        self._to_reset: dict[Tcp, float] = {}

    def fileno(self) -> int:
        """Return a file descriptor that becomes readable when the ring buffer has something."""
        return self._ring.fileno()

    def work(self, now: float) -> bool:
        """Close what can be closed at `now` (monotonic seconds); tell whether something is still busy.

        By reset where the server asked for it: the program reads ECONNABORTED. Else by FIN, when the connection is
        quiet: the program reads the end of the stream, as if the server had closed (bpf/client/close.h). A connection
        without a socket in this network namespace waits for the next announcement; one that failed is tried again.
        """
        for data in self._ring.take():
            asked = self._to_reset if struct.unpack_from("=I", data, KEY_SIZE)[0] else self._busy
            asked[_parse(data)] = now + PATIENCE
        closed = self._reset() + self._end_quiet()
        if closed:
            _LOG.info("redirected: %d connections of this host's programs closed", closed)
        for waiting in (self._busy, self._to_reset):
            for tcp in [tcp for tcp, until in waiting.items() if until <= now]:
                del waiting[tcp]
        return bool(self._busy or self._to_reset)

    def _reset(self) -> int:
        """Reset connections; return how many."""
        if not self._to_reset:
            return 0
        try:
            look = sockets.destroy(self._to_reset)
        except AgentError as error:
            self._troubles.failed(TOPIC, error)
            self._to_reset.clear()
            return 0
        self._drop(self._to_reset, look)
        return len(look.chosen)

    def _end_quiet(self) -> int:
        """Close quiet connections by FIN; return how many."""
        if not self._busy:
            return 0
        look = sockets.quiet(self._busy)
        ended = 0
        for tcp in list(look.chosen):
            try:
                answer = self._end(tcp)
            except OSError as error:
                look.failures.append(error)
                answer = CallResult.BUSY
            ended += answer is CallResult.MADE
            if answer in (CallResult.BUSY, CallResult.CALL_AGAIN):
                look.chosen.discard(tcp)
        self._drop(self._busy, look)
        return ended

    def _drop(self, waiting: dict[Tcp, float], look: sockets.Look) -> None:
        """Remove the connections that are closed or have no socket here; count failures."""
        for tcp in look.chosen | look.absent:
            waiting.pop(tcp, None)
        if look.failures:
            self._troubles.failed(TOPIC, look.failures[-1], len(look.failures))

    def _end(self, tcp: Tcp) -> CallResult:
        """Close one connection by FIN; BUSY or CALL_AGAIN: it has become busy.

        In two steps (bpf/client/close.h). Packets after the first step cancel the close. A look at the socket takes its
        lock, and so waits for what has passed and is not counted yet. The second step ends the connection.
        """
        frame = bare_ack(tcp.remote, tcp.local, tcp.remote_port, tcp.local_port)
        answer = self._agent.end(frame)
        if answer is CallResult.CALL_AGAIN:
            sockets.quiet([tcp])
            answer = self._agent.end(frame)
        return answer


def _parse(data: bytes) -> Tcp:
    client_port, port = struct.unpack_from("!HH", data, 32)
    return Tcp(unpack_address(data[:16]), client_port, unpack_address(data[16:32]), port)


def attach(agent: Agent, _name: str, loop: Loop, troubles: Troubles) -> None:
    """Have the loop of a client agent's process close what is to be closed."""
    closing = Closing(agent, troubles)

    def work() -> None:
        if closing.work(time.monotonic()):
            loop.after(LOOK_EVERY, work)

    loop.on_readable(closing.fileno(), work)
