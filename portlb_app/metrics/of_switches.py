"""Switches and links."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import get_args

from portlb_app.api.snapshot import Snapshot
from portlb_app.metrics.family import family, one_of
from portlb_app.pipeline import HANDED_UP, Reason
from portlb_app.reconcile.status import State, SwitchStatus

_METERED = (*HANDED_UP, Reason.HANDED_BACK, Reason.TOO_LARGE)


def of_switches(snapshot: Snapshot) -> Iterator[str]:
    """Their metrics."""
    switches, totals = snapshot.status.switches, snapshot.totals

    def each(name: str, value: Callable[[SwitchStatus], float | None]) -> str:
        found = ((switch.name, value(switch)) for switch in switches)
        return family(f"switch_{name}", (((name,), number) for name, number in found if number is not None))

    yield each("connected", lambda switch: switch.state != "absent")
    yield family("switch_state", one_of(get_args(State), {(switch.name,): switch.state for switch in switches}))
    yield each("flows", lambda switch: None if switch.read_age is None else switch.flows)
    yield each("groups", lambda switch: None if switch.read_age is None else switch.groups)
    yield each("meters", lambda switch: None if switch.read_age is None else switch.meters)
    yield each(
        "last_read_timestamp_seconds",
        lambda switch: None if switch.read_age is None else round(snapshot.unix - switch.read_age, 3),
    )
    yield each("pending_steps", lambda switch: switch.pending)
    yield each("drift_total", lambda switch: switch.drift)
    yield each("openflow_errors_total", lambda switch: totals.refusals[switch.dpid])
    yield each("connections_total", lambda switch: totals.connections[switch.dpid])
    yield each("port_problems", lambda switch: None if switch.state == "absent" else len(switch.ports))
    yield each("contested", lambda switch: switch.contested is not None)
    yield each("claimed_twice", lambda switch: bool(switch.double))
    yield each("foreign_flows", lambda switch: None if switch.foreign is None else switch.foreign.flows)
    yield each("shadowing_flows", lambda switch: None if switch.foreign is None else switch.foreign.shadowing)
    yield each(
        "datapath_differs",
        lambda switch: None if switch.forwarding is None else switch.forwarding is not switch.configured,
    )
    yield family(
        "metered_packets_total",
        (
            ((switch.name, reason.name.lower()), totals.metered[switch.dpid, reason])
            for switch in switches
            for reason in _METERED
        ),
    )
    links = (link for link in snapshot.status.links if link.seen != "unknown")
    yield family("link_up", (((str(link.link),), link.up) for link in links))
