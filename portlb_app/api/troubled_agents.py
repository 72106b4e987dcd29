"""What may be wrong with servers' agents that are heard."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from portlb_app import __version__
from portlb_app.api.trouble import Trouble
from portlb_app.reconcile.agents import PARTS
from portlb_app.reconcile.status import AgentStatus

CLOCK_SECONDS = 2.0
"""A clock that is further away than this is told. A heartbeat may wait for a quarter of a second before it is read."""


def differing(agents: Iterable[AgentStatus]) -> Iterator[Trouble]:
    """Agents that serve something else than the configuration says, have another clock, or another version."""
    for agent in agents:
        compared = agent.compared
        if compared is None:
            continue
        words, to_do = list[str](), list[str]()
        is_bad = bool(compared.differs and compared.counts)
        if is_bad:
            words.append(f"its agent differs from lb.yaml in {', '.join(PARTS[part] for part in compared.differs)}")
            to_do.append("give it this lb.yaml, or have it ask here (`portlb agent server --controller URL`)")
        if compared.clock is not None and abs(compared.clock) > CLOCK_SECONDS:
            side = "ahead of" if compared.clock > 0 else "behind"
            words.append(f"its clock is {abs(compared.clock):.1f} s {side} the controller's")
            to_do.append("set both by NTP, else times of logs do not fit")
        if compared.software != __version__:
            words.append(f"its agent is of version {compared.software or '?'}, the controller of {__version__}")
            to_do.append("docs/upgrading.md has the order of an upgrade")
        if words:
            yield Trouble("server", agent.server, "agent", "; ".join(words), None, "; ".join(to_do), is_bad)


def silent(seconds: Mapping[str, float]) -> Iterator[Trouble]:
    """Agents that were heard and are not any more, although their servers are to serve."""
    for name in sorted(seconds):
        words = "its agent is not heard any more: new connections are not redirected, unless it only cannot send"
        to_do = f"`portlb agent health --interface eth0` on the host of {name}; start it, or take the server out"
        yield Trouble("server", name, "no agent", words, seconds[name], to_do, is_bad=False)
