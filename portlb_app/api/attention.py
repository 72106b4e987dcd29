"""What needs a person, worst first: told by the status, so that a command, a page and a monitor say the same.

What is wanted is no problem: a server that was taken out, a switch that gets its tables. All comes from what was seen
and read back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from portlb_app.backends.states import Seen
from portlb_app.config import Wanted
from portlb_app.reconcile.contest import WORDS as CONTESTED
from portlb_app.reconcile.pool_status import PoolStatus, ServerStatus
from portlb_app.reconcile.ports import PortProblem
from portlb_app.reconcile.status import Status, SwitchStatus
from portlb_app.topology.conditions import ALL_SERVERS

END_THE_OTHER = "end the other controller, or take the switch out of its configuration; then have it read (resync)"
ONE_EACH = "give each bridge a datapath id of its own, and each bridge one target"
NAME_IT = "add it to the configuration, or remove this controller from its bridge"


def problems(status: Status) -> Iterator[dict[str, Any]]:
    """Every problem: the kind and the name of what has it, words, for how many seconds, and what to do, if known."""
    if status.problem:
        yield _problem("configuration", "", f"switches do not get it: {status.problem}")
    for switch in status.switches:
        if switch.contested is not None:
            yield _problem("switch", switch.name, CONTESTED, switch.contested, END_THE_OTHER)
        elif switch.state == "error":
            yield _problem("switch", switch.name, f"refused its tables: {'; '.join(switch.errors)}", switch.since)
    pools = [pool for pool in status.pools if pool.key[1] != ALL_SERVERS]
    yield from (_problem("pool", _name(pool), "empty: no server gets a connection") for pool in pools if not pool.slots)
    for switch in status.switches:
        if switch.state == "absent":
            yield _problem("switch", switch.name, "not connected", switch.since, _connect(switch.name))
        elif switch.double:
            yield _problem("switch", switch.name, switch.double, switch.double_for, ONE_EACH)
    for pool in pools:
        if pool.fails_open:
            yield _problem("pool", _name(pool), "fails open: none of its servers works, so all keep their slots")
    yield from _servers(status)
    for link in status.links:
        if not link.up:
            yield _problem("link", "-".join(str(end) for end in link.link), "not used: it is down, or has just come up")
    for switch in status.switches:
        for port in switch.ports:
            words = f"port {port.number} ({port.use}): {port.problem}"
            yield _problem("switch", switch.name, words, to_do=_of_port(port))
    yield from _differing(pools, status.switches)
    for dpid in status.unknown:
        words = "connected, but no switch of the configuration has this datapath id"
        yield _problem("switch", f"{dpid:#x}", words, to_do=NAME_IT)
    if not status.verified:
        yield _problem("configuration", "", "unverified: no switch was seen to hold it")


def _servers(status: Status) -> Iterator[dict[str, Any]]:
    """Servers that are wanted, and down: each once, with the pools in which it is missing."""
    missing: dict[str, list[PoolStatus]] = {}
    worst: dict[str, ServerStatus] = {}
    for pool in status.pools:
        for name, server in pool.missing.items():
            if server.seen is Seen.DOWN and server.wanted is Wanted.READY:
                missing.setdefault(name, []).append(pool)
                if name not in worst or worst[name].seconds < server.seconds:
                    worst[name] = server
    for name in sorted(missing, key=lambda each: (-worst[each].seconds, each)):
        pools = ", ".join(_name(pool) for pool in missing[name] if pool.key[1] != ALL_SERVERS)
        words = f"down in {pools}" if pools else "down"
        yield _problem("server", name, f"{words}: {worst[name].reason}", worst[name].seconds)


def _differing(pools: list[PoolStatus], switches: tuple[SwitchStatus, ...]) -> Iterator[dict[str, Any]]:
    """Switches that count as synced, and hold other slots than they shall have."""
    synced = {switch.name for switch in switches if switch.state == "synced"}
    for pool in pools:
        for held in pool.held:
            names = ", ".join(name for name in held.switches if name in synced)
            if held.differ and names:
                yield _problem("pool", _name(pool), f"{held.differ} slots are others' on {names}")


def _name(pool: PoolStatus) -> str:
    return f"{pool.key[0]}:{pool.key[1]}"


def _connect(name: str) -> str:
    return f"ask `ovs-vsctl get controller {name} is_connected status`, and look at refused_connections in the status"


def _of_port(port: PortProblem) -> str:
    what = f"port {port.number}"
    if not port.name:
        return f"give an interface this number (ofport_request={port.number}), or change the configuration"
    if "another interface" in port.problem:
        return f"put the interface before back on {what}, or send the configuration again if the new one is right"
    return f"set {port.name} up, and look at its cable and at the other end"


def _problem(kind: str, name: str, words: str, seconds: float | None = None, to_do: str = "") -> dict[str, Any]:
    since = None if seconds is None else round(seconds, 1)
    return {"kind": kind, "name": name, "words": words, "seconds": since, "to_do": to_do}
