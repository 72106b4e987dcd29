"""MPTCP beside the eBPF agents of one process: `portlb agent server --mptcp`."""

from __future__ import annotations

from collections.abc import Collection

from portlb_app.agent.errors import AgentError
from portlb_app.agent.loop import Action, Loop
from portlb_app.agent.mptcp import support
from portlb_app.agent.mptcp.announced import Announced
from portlb_app.agent.mptcp.watch import Watch
from portlb_app.agent.process import Companion


class Beside:
    """What the clients of all servers of a process are told."""

    def __init__(self) -> None:
        """AgentError if this kernel cannot tell them."""
        support.require()
        self._told: dict[str, tuple[Announced, ...]] = {}
        self._watch: Watch | None = None

    def hear(self, server: str, announced: Collection[Announced]) -> None:
        """Take what clients of a server are told, from any thread; AgentError if that is nothing."""
        if not announced:
            raise AgentError(f"server {server} has no `mptcp` in the configuration: name one of its service ports")
        self._told[server] = tuple(announced)

    def with_mptcp(self, companion: Companion, loop: Loop) -> Companion:
        """Return a companion that does the same, and puts MPTCP back when its agent is detached."""
        if self._watch is None:
            self._watch = Watch(loop, lambda: tuple(each for its in list(self._told.values()) for each in its))
            self._watch.begin()
        return _Both(companion, self._watch)


class _Both:
    def __init__(self, companion: Companion, watch: Watch) -> None:
        self._companion, self._watch = companion, watch

    def drain(self, done: Action) -> None:
        """The host is about to stop."""
        self._companion.drain(done)

    def detach(self) -> None:
        """The agent's programs are removed."""
        self._companion.detach()
        self._watch.put_back()

    def close(self) -> None:
        """The agent ends. MPTCP is its successor's, if it has one."""
        self._companion.close()
