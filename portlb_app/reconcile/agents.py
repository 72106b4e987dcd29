"""How servers' agents differ from the controller: in their clock, their version, and in what they serve.

An agent reads the configuration by itself, from its own file or from the controller, so it may have another one. It
gets the time to read a new one (`AGENTS_READ`) before a difference counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from portlb_app.config import Config, Wanted
from portlb_app.config.serving import served
from portlb_app.net.heartbeat import About, Heartbeat, Serving
from portlb_app.reconcile.announced import AGENTS_READ
from portlb_app.reconcile.network import Network

SILENT = 3600.0
"""Seconds for which an agent that is not heard any more is missed."""
PARTS = {
    "addresses": "its addresses",
    "services": "its service ports or its programs' ports",
    "announced": "the service ports that it announces for redirect ports",
}
"""What an agent may serve otherwise, in words."""


@dataclass(frozen=True)
class Compared:
    """An agent beside the controller. `clock`: seconds that it is ahead, None while the controller's is not known.

    `differs`: what it serves otherwise than the configuration says, by the names of `PARTS`; `counts`: it has had the
    time to read that.
    """

    software: str
    clock: float | None
    differs: tuple[str, ...] = ()
    counts: bool = True


class Agents:
    """Compares what agents tell of themselves. `told`: the configuration that a server's agent may act on."""

    def __init__(self, network: Network, told: Callable[[str], Config]) -> None:
        self._network = network
        self._told = told
        self._expected: dict[str, tuple[Config, Serving | None, float]] = {}
        self._compared: dict[str, Compared] = {}
        self._heard_at: dict[str, float] = {}

    def hear(self, server: str, heartbeat: Heartbeat) -> None:
        """An agent has said this."""
        self._heard_at[server] = self._network.now
        if heartbeat.about is None:
            self._compared.pop(server, None)
            return
        before, after = self._compared.get(server), self._compare(server, heartbeat.about)
        self._compared[server] = after
        if after.counts and after.differs != (before.differs if before and before.counts else ()):
            self._say(server, after)

    def of(self, server: str) -> Compared | None:
        """The last comparison with a server's agent; None if it tells nothing of itself."""
        return self._compared.get(server)

    def silent(self, now: float) -> Mapping[str, float]:
        """For how many seconds nothing was heard of agents that were, by server, of those that are to serve; for the
        last `SILENT`: an agent that is away for longer is away on purpose.
        """
        backends = self._network.backends
        wanted = backends.used.server_by_name
        return {
            name: now - at
            for name, at in self._heard_at.items()
            if name not in backends.heard and now < at + SILENT
            and name in wanted and wanted[name].wanted is Wanted.READY
        }  # fmt: skip

    def keep(self, servers: Mapping[str, object]) -> None:
        """Forget all servers but these."""
        known: tuple[dict[str, Any], ...] = (self._expected, self._compared, self._heard_at)
        for each in known:
            for name in each.keys() - servers.keys():
                del each[name]

    def _compare(self, server: str, about: About) -> Compared:
        network, zero = self._network, self._network.unix_at_zero
        clock = None if zero < 0 else about.unix - zero - network.now
        expected, since = self._expect(server)
        if expected is None:
            return Compared(about.software, clock)
        pairs = zip(PARTS, expected, about.serving, strict=True)
        differs = tuple(part for part, here, there in pairs if here != there)
        return Compared(about.software, clock, differs, network.now >= since + AGENTS_READ)

    def _expect(self, server: str) -> tuple[Serving | None, float]:
        """What a server's agent should serve, and since when it may know that."""
        config = self._told(server)
        known = self._expected.get(server)
        if known is None or known[0] is not config:
            serving = _serving(config, server)
            since = -AGENTS_READ  # the controller has started, or the server is new: its agent knows it already
            if known is not None:
                since = known[2] if serving == known[1] else self._network.now
            known = self._expected[server] = config, serving, since
        return known[1], known[2]

    def _say(self, server: str, compared: Compared) -> None:
        network = self._network
        parts = ", ".join(PARTS[part] for part in compared.differs)
        words = f"its agent differs from the configuration in {parts}" if parts else "its agent serves what it shall"
        network.log("warning" if parts else "info", f"server {server}: {words}", server=server)
        change = ("same", "differs") if parts else ("differs", "same")
        network.tell("agent", server, change, words, {"parts": list(compared.differs)})


def _serving(config: Config, name: str) -> Serving | None:
    server = config.server_by_name.get(name)
    if server is None:
        return None
    found = served(next(vip for vip in config.vips if vip.name == server.vip), server)
    return Serving.of(found.addresses, found.applications.items(), found.announced.items())
