"""Closes the programs' connections that a server has redirected, so that they open again where it said."""

from __future__ import annotations

import logging
import struct
import time

from portlb_app.agent import libbpf, sockets
from portlb_app.agent.answer import Answer
from portlb_app.agent.loader import Agent
from portlb_app.agent.loop import Loop
from portlb_app.agent.record import KEY_SIZE, unpack_address
from portlb_app.packets import bare_ack

_LOG = logging.getLogger("portlb.agent")
LOOK_EVERY = 0.1
"""Seconds between looks at connections that are busy."""
PATIENCE = 3.0
"""Seconds for which a busy connection is looked at again; the server repeats its announcement more often."""


class Closing:
    """What is to be closed: fed by the eBPF programs' ring buffer, worked off whenever the process has time."""

    def __init__(self, agent: Agent) -> None:
        """Read the ring buffer of a client agent."""
        self._agent = agent
        self._ring = libbpf.Ring(agent.map_fd("closures"))
        self._busy: dict[sockets.Tcp, float] = {}

    def fileno(self) -> int:
        """Return a file descriptor that becomes readable when the ring buffer has something."""
        return self._ring.fileno()

    def work(self, now: float) -> bool:
        """Close what can be closed at `now` (monotonic seconds); tell whether something is still busy.

        By reset where the server asked for it: the program reads ECONNABORTED. Else by FIN, when the connection is
        quiet: the program reads the end of the stream, as if the server had closed (ending.h).
        """
        reset = set()
        for data in self._ring.take():
            tcp = _parse(data)
            if struct.unpack_from("=I", data, KEY_SIZE)[0]:
                reset.add(tcp)
            else:
                self._busy[tcp] = now + PATIENCE
        closed = len(sockets.destroy(reset)) if reset else 0
        done = {tcp for tcp in sockets.quiet(self._busy) if self._end(tcp)}
        if closed or done:
            _LOG.info("redirected: %d connections of this host's programs closed", closed + len(done))
        self._busy = {tcp: until for tcp, until in self._busy.items() if tcp not in done and until > now}
        return bool(self._busy)

    def _end(self, tcp: sockets.Tcp) -> bool:
        """Close one connection by FIN; False: it has become busy.

        In two steps: what passes after the first is noticed, and a look at the socket, which takes its lock, waits for
        what had passed before and was not counted yet. The second ends a connection on which nothing has (ending.h).
        """
        frame = bare_ack(tcp.remote, tcp.local, tcp.remote_port, tcp.local_port)
        answer = self._agent.end(frame)
        if answer is Answer.LOOK_AGAIN:
            sockets.quiet([tcp])
            answer = self._agent.end(frame)
        return answer not in (Answer.BUSY, Answer.LOOK_AGAIN)


def _parse(data: bytes) -> sockets.Tcp:
    client_port, port = struct.unpack_from("!HH", data, 32)
    return sockets.Tcp(unpack_address(data[:16]), client_port, unpack_address(data[16:32]), port)


def attach(agent: Agent, loop: Loop) -> None:
    """Have the loop of a client agent's process close what is to be closed."""
    closing = Closing(agent)

    def work() -> None:
        if closing.work(time.monotonic()):
            loop.after(LOOK_EVERY, work)

    loop.on_readable(closing.fileno(), work)
