"""The foreground process of an agent: attach, say so, age entries, detach when told to stop."""

from __future__ import annotations

import signal

from portlb_app.agent.loader import Agent

SWEEP_EVERY = 10.0  # seconds


def serve(interface: str, role: str, settings: bytes, connections: int) -> int:
    """Run until SIGTERM or SIGINT; the packets never come here. Returns the exit code."""
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    agent = Agent(interface, role, settings, connections)
    print("ready", flush=True)
    while signal.sigtimedwait(stop, SWEEP_EVERY) is None:
        agent.programs.sweep()
    agent.detach()
    return 0
