"""Servers, and the checks of their health."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from portlb_app.api.snapshot import Snapshot
from portlb_app.backends.states import Judgement, Seen
from portlb_app.config import Server, Wanted
from portlb_app.metrics.family import Row, family, histogram, one_of, single
from portlb_app.metrics.tally import Tally
from portlb_app.net.heartbeat import UNKNOWN, Heartbeat
from portlb_app.reconcile.agents import PARTS
from portlb_app.reconcile.status import AgentStatus
from portlb_app.topology.conditions import ALL_SERVERS, PoolKey


def of_servers(snapshot: Snapshot, tally: Tally) -> Iterator[str]:
    """Their metrics."""
    used, seen = snapshot.backends.used.server_by_name, {each.name: each.seen for each in snapshot.backends.servers()}
    servers, totals = snapshot.config.servers, snapshot.totals

    def each(name: str, value: Callable[[Server], float | None]) -> str:
        found = (((server.vip, server.name), value(server)) for server in servers)
        return family(f"server_{name}", ((labels, number) for labels, number in found if number is not None))

    yield each("up", lambda server: _is_up(seen.get(server.name, {})))
    states: dict[tuple[str, ...], str] = {
        (server.vip, server.name): used[server.name].wanted.value for server in servers
    }
    yield family("server_admin_state", one_of((state.value for state in Wanted), states))
    read = [held for pool in snapshot.status.pools for held in pool.held]
    serving = {name for held in read for name, number in held.slots.items() if number}
    yield each("serving", lambda server: server.name in serving if read else None)
    yield each("weight", lambda server: server.weight)
    yield each("effective_weight", lambda server: _effective(used[server.name]))
    drains = snapshot.drains
    yield each("drained", lambda server: drains[server.name].drained_at is not None if server.name in drains else None)
    vips = {server.name: server.vip for server in servers}
    yield family(
        "server_state_changes_total",
        (((vips[name], name, cause), n) for (name, cause), n in totals.state_changes.items() if name in vips),
    )
    yield each(
        "last_state_change_timestamp_seconds",
        lambda server: round(totals.changed_at[server.name] + snapshot.epoch, 3)
        if server.name in totals.changed_at
        else None,
    )
    passed = [((vips[name], name, way.value), each) for (name, way), each in totals.servers.items() if name in vips]
    yield family("server_packets_total", ((labels, amount.packets) for labels, amount in passed))
    yield family("server_bytes_total", ((labels, amount.octets) for labels, amount in passed))
    moved = ((name, each.packets) for name, each in totals.datagrams.items() if name in vips)
    yield family("server_service_datagrams_total", (((vips[name], name), packets) for name, packets in moved))
    yield from _of_agents(snapshot, vips)
    yield from _of_checks(snapshot, tally, vips)


def _is_up(judgements: Mapping[PoolKey, Judgement]) -> bool | None:
    """Whether a server is up in all of its pools; None if nothing is known."""
    seen = {each.seen for key, each in judgements.items() if key[1] != ALL_SERVERS}
    seen = seen or {each.seen for each in judgements.values()}
    if Seen.DOWN in seen:
        return False
    return None if Seen.UNKNOWN in seen or not seen else True


def _effective(server: Server) -> int:
    return server.weight if server.wanted is Wanted.READY else 0


def _of_agents(snapshot: Snapshot, vips: dict[str, str]) -> Iterator[str]:
    agents = [((vips[each.server], each.server), each) for each in snapshot.status.agents if each.server in vips]
    yield family("server_open_connections", ((labels, agent.heartbeat.open) for labels, agent in agents))
    ports = {server.name: server.mptcp for server in snapshot.config.servers}
    yield family(
        "server_mptcp_subflows",
        (
            (labels, agent.heartbeat.by_port.get(port, 0))
            for labels, agent in agents
            if (port := ports.get(agent.server)) is not None
        ),
    )
    yield family(
        "server_pressure_ratio", (row for labels, agent in agents for row in _pressures(labels, agent.heartbeat))
    )
    yield family(
        "server_report_timestamp_seconds",
        ((labels, round(snapshot.unix - agent.age, 3)) for labels, agent in agents),
    )
    yield from _of_compared(agents)


def _of_compared(agents: list[tuple[tuple[str, str], AgentStatus]]) -> Iterator[str]:
    """How agents differ from the controller, of those that tell."""
    known = [(labels, agent.compared) for labels, agent in agents if agent.compared is not None]
    yield family("agent_info", (((*labels, compared.software), 1) for labels, compared in known))
    yield family(
        "agent_clock_offset_seconds",
        ((labels, round(compared.clock, 2)) for labels, compared in known if compared.clock is not None),
    )
    yield family(
        "agent_differs", (((*labels, part), part in compared.differs) for labels, compared in known for part in PARTS)
    )


def _pressures(labels: tuple[str, str], said: Heartbeat) -> Iterator[Row]:
    for resource, per_mille in (("cpu", said.cpu), ("io", said.io)):
        if per_mille != UNKNOWN:
            yield (*labels, resource), per_mille / 1000


def _of_checks(snapshot: Snapshot, tally: Tally, vips: dict[str, str]) -> Iterator[str]:
    results = ((name, kind, each.value, n) for (name, kind, each), n in tally.results.items() if name in vips)
    yield family("check_results_total", (((vips[name], name, kind, each), n) for name, kind, each, n in results))
    failures = ((name, kind, each.value, n) for (name, kind, each), n in tally.failures.items() if name in vips)
    yield family("check_failures_total", (((vips[name], name, kind, each), n) for name, kind, each, n in failures))
    longest: dict[tuple[str, ...], float] = {}
    for state in snapshot.checks:
        if state.result is not None:
            key = state.line.vip, state.line.server, state.line.check.kind.value
            longest[key] = max(longest.get(key, 0.0), state.took)
    yield family("check_last_duration_seconds", longest.items())
    yield histogram(tally.checking)
    counts = snapshot.check_counts
    yield single("checks_late_total", counts.get("late", 0))
    yield single("checks_void_total", counts.get("void", 0))
