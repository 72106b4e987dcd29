"""What there is to tell about the network: the status of switches and links."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from portlb_app.config import Forwarding, Link, Switch
from portlb_app.net.heartbeat import Heartbeat
from portlb_app.reconcile.agents import Agents, Compared
from portlb_app.reconcile.foreign import Foreign
from portlb_app.reconcile.known_switch import KnownSwitch
from portlb_app.reconcile.network import Network
from portlb_app.reconcile.pool_status import PoolStatus, pool_statuses
from portlb_app.reconcile.ports import PortProblem, Ports
from portlb_app.reconcile.results import Steps
from portlb_app.topology.conditions import HeldSlots, PoolKey
from portlb_app.topology.links import End, Links

State = Literal["absent", "reading", "applying", "synced", "error"]


@dataclass(frozen=True)
class SwitchStatus:
    """One configured switch. Counts are of what was last read; `read_age` is in seconds, None if it never was read.

    `metered`: how many packets each of our meters, by its number, has kept from being handed up since it was made.
    `pending`: steps to what it shall hold, None if that is not known.
    `ports`: ports of the configuration that are not as they should be; empty while it is not connected. `held`: the
    slots of its pools as they were read, `closed`: the servers that it gives nothing to; None if that is not known.
    """

    name: str
    dpid: int
    state: State
    flows: int
    groups: int
    meters: int
    drift: int
    errors: tuple[str, ...]
    read_age: float | None
    metered: Mapping[int, int] = field(default_factory=dict)
    pending: int | None = None
    ports: tuple[PortProblem, ...] = ()
    held: Mapping[PoolKey, HeldSlots] | None = None
    closed: frozenset[str] | None = None
    plan: Steps | None = None
    """What it still lacks; None if that is not known."""
    since: float | None = None
    """Seconds since its state was told to be another one; None if nothing was told yet."""
    contested: float | None = None
    """Seconds since it is left to another controller that writes to it; None if it is not."""
    double: str = ""
    """That another connection claims to be it."""
    double_for: float = 0.0
    configured: Forwarding = Forwarding.USERSPACE
    """Where the configuration says that it forwards."""
    forwarding: Forwarding | None = None
    """Where it does; None if that is not known."""
    foreign: Foreign | None = None
    """The flows of others in portlb's tables; None if it was not read since it connected."""


@dataclass(frozen=True)
class LinkStatus:
    """One configured link. `up`: it is used. `hold`: seconds it must stay up before it is used again, if it is not.

    `is_heard`: a switch at one of its ends has said something about it.
    """

    link: Link
    up: bool
    hold: float = 0.0
    is_heard: bool = True

    @property
    def seen(self) -> Literal["up", "down", "unknown"]:
        """What is seen of it; a link of which nothing was heard is used."""
        if not self.up:
            return "down"
        return "up" if self.is_heard else "unknown"


@dataclass(frozen=True)
class LinkStatuses:
    """The status of every link, made when it is asked for: there may be thousands.

    `holds`: of those that are down. `ends`: by link, its two. `heard`: switches that have said something.
    """

    links: tuple[Link, ...] = ()
    holds: Mapping[Link, float] = field(default_factory=dict)
    ends: Mapping[Link, tuple[End, End]] = field(default_factory=dict)
    heard: Collection[int] = ()

    def __iter__(self) -> Iterator[LinkStatus]:
        for link in self.links:
            is_heard = any(dpid in self.heard for dpid, _ in self.ends.get(link, ()))
            yield LinkStatus(link, link not in self.holds, self.holds.get(link, 0.0), is_heard)


@dataclass(frozen=True)
class AgentStatus:
    """What a server's agent said last, `age` seconds ago."""

    server: str
    heartbeat: Heartbeat
    age: float
    compared: Compared | None = None
    """How it differs from the controller; None if it does not tell."""


@dataclass(frozen=True)
class Status:
    """The status. `generation` counts configurations that became live; `unknown` are connected but not configured.

    `verified`: a switch was seen to hold what the live configuration asks of it. `problem`: why switches do not get
    what the live configuration asks of them, if it cannot be compiled.
    """

    generation: int
    switches: tuple[SwitchStatus, ...]
    unknown: tuple[int, ...]
    links: Iterable[LinkStatus] = ()
    verified: bool = True
    problem: str = ""
    pools: tuple[PoolStatus, ...] = ()
    agents: tuple[AgentStatus, ...] = ()
    silent: Mapping[str, float] = field(default_factory=dict)
    """For how many seconds nothing was heard of agents that were heard before, by server."""


def make_status(network: Network, links: Links, ports: Ports, agents: Agents, now: float) -> Status:
    """The status at time `now`."""
    by_name = sorted(network.live.config.switches, key=lambda each: each.name)
    strangers = (dpid for dpid, each in network.switches.items() if each.is_connected and not network.knows(dpid))
    return Status(
        generation=network.generation,
        switches=tuple(
            _switch(network, network.switches.get(each.dpid, KnownSwitch(each.dpid)), each, ports, now)
            for each in by_name
        ),
        unknown=tuple(sorted(strangers)),
        links=LinkStatuses(
            network.live.config.links,
            {link: links.hold(link, now) for link in network.conditions.links_down},
            network.live.ends,
            links.heard,
        ),
        verified=network.is_verified,
        problem=network.problem,
        pools=tuple(pool_statuses(network, now)),
        agents=tuple(
            AgentStatus(each.name, each.report.heartbeat, now - each.report.at, agents.of(each.name))
            for each in network.backends.servers()
            if each.report is not None
        ),
        silent=agents.silent(now),
    )


def _switch(network: Network, switch: KnownSwitch, named: Switch, ports: Ports, now: float) -> SwitchStatus:
    double = switch.double if switch.double and switch.double.is_recent(now) else None
    return SwitchStatus(
        name=named.name,
        dpid=switch.dpid,
        state=_state(network, switch),
        flows=switch.flows,
        groups=switch.groups,
        meters=switch.meters,
        drift=switch.drift,
        errors=switch.errors,
        read_age=None if switch.last_read is None else now - switch.last_read,
        metered=switch.metered,
        pending=None if switch.plan is None or not switch.is_connected else switch.plan.count,
        ports=ports.problems(switch.dpid) if switch.is_connected else (),
        held=switch.held,
        plan=switch.plan if switch.is_connected else None,
        closed=network.goal.configuration.conditions.closed if network.has_goal(switch) else None,
        since=None if switch.told_at is None else now - switch.told_at,
        contested=None if switch.contest.since is None else now - switch.contest.since,
        double=double.words if double else "",
        double_for=now - double.since if double else 0.0,
        configured=named.datapath,
        forwarding=switch.forwarding,
        foreign=switch.foreign,
    )


def _state(network: Network, switch: KnownSwitch) -> State:
    """The phase as users see it: a synced switch that is read again is synced."""
    if not switch.is_connected:
        return "absent"
    if switch.errors:
        return "error"
    if switch.plan:
        return "applying"
    return "synced" if network.has_goal(switch) else "reading"
