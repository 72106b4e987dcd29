"""``GET /v1/status``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from portlb_app import __version__
from portlb_app.api.attention import troubles
from portlb_app.api.messages import Response, json_pieces
from portlb_app.api.routing import Call
from portlb_app.api.snapshot import Snapshot
from portlb_app.config.etag import etag
from portlb_app.net.heartbeat import UNKNOWN, Can
from portlb_app.pipeline import COPIED, HANDED_UP, PUNTED, Reason, metered_reason
from portlb_app.punt.disposition import Counts, Disposition
from portlb_app.punt.records import TcpEvent
from portlb_app.reconcile.foreign import Foreign
from portlb_app.reconcile.pool_status import PoolStatus
from portlb_app.reconcile.status import AgentStatus, LinkStatus, SwitchStatus


def read(call: Call) -> Response:
    """The whole status."""
    return Response(200, json_pieces(status(call.snapshot)))


def status(snapshot: Snapshot) -> dict[str, Any]:
    """The whole status, for `json_pieces`."""
    return {
        "version": __version__,
        "generation": snapshot.status.generation,
        "etag": etag(snapshot.text),
        "configuration": "verified" if snapshot.status.verified else "unverified",
        "problem": snapshot.status.problem or None,
        "problems": [each.value for each in troubles(snapshot.status)],
        "switches": map(switch_value, snapshot.status.switches),
        "links": map(link_value, snapshot.status.links),
        "pools": map(_pool, snapshot.status.pools),
        "agents": map(_agent, snapshot.status.agents),
        "unknown_switches": [f"{dpid:#x}" for dpid in snapshot.status.unknown],
        "refused_connections": {
            "count": snapshot.refused.count,
            "last": [{"address": address, "reason": reason} for address, reason in snapshot.refused.last],
        },
        "punted": _punted(snapshot.punted),
        "unsent": snapshot.unsent,
        "connections": {
            "open": snapshot.connections.open,
            "ended": snapshot.connections.ended,
            "counts": {copy.value: snapshot.connections.counts.get(copy, 0) for copy in TcpEvent},
            "lost": lost_copies(snapshot),
        },
    }


def lost_copies(snapshot: Snapshot) -> dict[str, int]:
    """What the log of connections lacks: copies that a meter or the controller kept back, records that had to go."""
    counts = snapshot.connections.counts
    metered = sum(_metered(switch)[reason.name.lower()] for switch in snapshot.status.switches for reason in COPIED)
    return {"metered": metered, "queue": counts.get(TcpEvent.QUEUE, 0), "forgotten": counts.get(TcpEvent.FORGOTTEN, 0)}


def _punted(counts: Counts) -> dict[str, dict[str, int]]:
    """Packets that switches handed up, by reason and disposition; every pair is there, 0 or not."""
    return {
        reason.name.lower(): {disposition.value: counts.get((reason, disposition), 0) for disposition in Disposition}
        for reason in PUNTED
    }


def link_value(link: LinkStatus) -> dict[str, Any]:
    """One link."""
    ends = [str(end) for end in link.link]
    return {"ends": ends, "up": link.up, "seen": link.seen, "hold_seconds": round(link.hold, 1)}


def _pool(pool: PoolStatus) -> dict[str, Any]:
    vip, port = pool.key
    return {
        "vip": vip,
        "port": port or None,
        "slots": _slots(pool.slots),
        "held": [
            {"switches": list(each.switches), "slots": _slots(each.slots), "differ": each.differ} for each in pool.held
        ],
        "missing": {
            name: {
                "wanted": each.wanted.value,
                "seen": each.seen.value,
                "reason": each.reason,
                "seconds": round(each.seconds, 1),
            }
            for name, each in sorted(pool.missing.items())
        },
        "fails_open": pool.fails_open,
    }


def _part(per_mille: int) -> float | None:
    return None if per_mille == UNKNOWN else per_mille / 1000


def agent_facts(agent: AgentStatus) -> dict[str, Any]:
    """What an agent's process is like, beside the controller's; null where it does not tell."""
    compared = agent.compared
    clock = None if compared is None or compared.clock is None else round(compared.clock, 2)
    return {
        "version": compared.software if compared else None,
        "clock_offset_seconds": clock,
        "differs": list(compared.differs) if compared else None,
    }


def _agent(agent: AgentStatus) -> dict[str, Any]:
    said = agent.heartbeat
    return {
        "server": agent.server,
        "state": said.state.name.lower(),
        "can": [each.name.lower() for each in Can if each in said.can and each.name],
        "open": said.open,
        "ports": {str(port): number for port, number in sorted(said.by_port.items())},
        "per_second": {
            "openings": said.openings, "short": said.short, "resets": said.resets, "overflow": said.overflow
        },
        "pressure": {"cpu": _part(said.cpu), "io": _part(said.io)},
        "moved": said.moved,
        "left": said.left,
        **agent_facts(agent),
        "age_seconds": round(agent.age, 3),
    }  # fmt: skip


def _slots(counts: Mapping[str, int] | Mapping[str | None, int]) -> dict[str, int]:
    """Slots by server; those of servers that are not in the configuration are nobody's that has a name."""
    return {name or "?": count for name, count in sorted(counts.items(), key=lambda item: item[0] or "")}


def switch_value(switch: SwitchStatus) -> dict[str, Any]:
    """One switch."""
    is_read = switch.read_age is not None
    return {
        "name": switch.name,
        "dpid": f"{switch.dpid:#x}",
        "state": switch.state,
        "flows": switch.flows if is_read else None,
        "groups": switch.groups if is_read else None,
        "meters": switch.meters if is_read else None,
        "metered": _metered(switch),
        "drift": switch.drift,
        "errors": list(switch.errors),
        "ports": [
            {"number": each.number, "name": each.name or None, "use": each.use, "problem": each.problem}
            for each in switch.ports
        ],
        "datapath": switch.forwarding,
        "foreign": None if switch.foreign is None else _foreign(switch.foreign),
        "read_age_seconds": None if switch.read_age is None else round(switch.read_age, 3),
    }


def _foreign(foreign: Foreign) -> dict[str, Any]:
    return {
        "flows": foreign.flows,
        "unread": foreign.unread,
        "shadowing": foreign.shadowing,
        "shadows": [
            {
                "table": each.table,
                "table_name": each.table_name,
                "priority": each.priority,
                "match": each.match,
                "cookie": f"{each.cookie:#018x}",
                "ours": each.ours,
                "count": each.count,
            }
            for each in foreign.shadows
        ],
    }


def _metered(switch: SwitchStatus) -> dict[str, int]:
    """Packets that a switch kept from being handed up, by reason, of all VIPs together: its meters, or their size."""
    counts: dict[str, int] = {reason.name.lower(): 0 for reason in (*HANDED_UP, Reason.HANDED_BACK, Reason.TOO_LARGE)}
    for number, dropped in switch.metered.items():
        if reason := metered_reason(number):
            counts[reason.name.lower()] += dropped
    return counts
