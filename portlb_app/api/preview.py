"""The answer to a dry run: steps for each switch, slots that move, and which connections that hurts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from portlb_app.api.messages import Response, json_text
from portlb_app.api.snapshot import Snapshot
from portlb_app.config import Config, Legacy, RedirectPort
from portlb_app.reconcile.preview import PoolPreview, Preview, SwitchPreview
from portlb_app.topology.conditions import PoolKey


def answer(preview: Preview, proposed: Config, snapshot: Snapshot, with_steps: bool) -> Response:
    """The whole answer about a proposed configuration."""
    live = snapshot.config
    switches = switches_value(preview, proposed, snapshot, with_steps)
    pools = {**_pools(live), **_pools(proposed)}
    lost = _lost_ports(live, proposed)
    body = {
        "dry_run": True,
        "changes": snapshot.config != proposed or any(_changes(each) for each in switches.values()),
        "switches": switches,
        "pools": [_pool(each, pools[each.key]) for each in preview.pools],
        "service_ports_lost": {name: list(ports) for name, ports in lost.items()},
        "warnings": [{"path": path, "message": text} for path, text in _warnings(preview, proposed, snapshot, lost)],
    }
    return Response(200, json_text(body))


def switches_value(
    preview: Preview, proposed: Config, snapshot: Snapshot, with_steps: bool
) -> dict[str, dict[str, Any] | None]:
    """By name what each switch would be told; None for one that is not connected, or was not read yet."""
    names = {switch.dpid: switch.name for config in (snapshot.config, proposed) for switch in config.switches}
    found = {names.get(dpid, f"{dpid:#x}"): each for dpid, each in preview.switches.items()}
    return {name: None if each is None else _switch(each, with_steps) for name, each in sorted(found.items())}


def _switch(switch: SwitchPreview, with_steps: bool) -> dict[str, Any]:
    counts = {"add": switch.add, "modify": switch.modify, "delete": switch.delete}
    return {**counts, "steps": list(switch.steps)} if with_steps else counts


def _changes(switch: Mapping[str, Any] | None) -> bool:
    return switch is not None and any(switch[verb] for verb in ("add", "modify", "delete"))


def _pools(config: Config) -> dict[PoolKey, RedirectPort]:
    return {(vip.name, pool.port): pool for vip in config.vips for pool in vip.redirect_ports}


def _pool(change: PoolPreview, pool: RedirectPort) -> dict[str, Any]:
    names = sorted({*change.before, *change.after})
    return {
        "vip": change.key[0],
        "port": change.key[1],
        "slots": sum(change.after.values()),
        "moved": change.moved,
        "least_possible": change.least,
        "servers": {name: [change.before.get(name, 0), change.after.get(name, 0)] for name in names},
        "plain": pool.legacy.value,
        "breaks_plain": change.moved > 0 and pool.legacy is Legacy.BALANCE,
        "udp_slots_moved": change.moved,
        "redirected_connections_broken": 0,
    }


def _lost_ports(live: Config, proposed: Config) -> dict[str, tuple[int, ...]]:
    """The service ports, by server, that do not lead to it any more: connections that continue on them end."""
    found = {}
    for server in live.servers:
        after = proposed.server_by_name.get(server.name)
        is_elsewhere = after is None or (after.vip, after.connector) != (server.vip, server.connector)
        kept = frozenset() if is_elsewhere or after is None else frozenset(port.port for port in after.service_ports)
        lost = tuple(sorted(port.port for port in server.service_ports if port.port not in kept))
        if lost:
            found[server.name] = lost
    return found


def _warnings(
    preview: Preview, proposed: Config, snapshot: Snapshot, lost: Mapping[str, tuple[int, ...]]
) -> Iterator[tuple[str, str]]:
    for name, ports in lost.items():
        is_gone = name not in proposed.server_by_name
        what = "is not there any more" if is_gone else f"has {len(ports)} service ports less, or is elsewhere"
        yield f"servers.{name}", f"{what}: redirected connections that continue there end; drain it first"
    for each in preview.pools:
        if not each.after and each.before:
            path = f"vips.{each.key[0]}.redirect_ports.{each.key[1]}"
            yield path, "no server is left for new connections"
    for switch in snapshot.status.switches:
        if switch.state == "error":
            yield f"switches.{switch.name}", "it is in error and may not take the change: " + "; ".join(switch.errors)
        elif switch.state == "absent":
            yield f"switches.{switch.name}", "it is not connected, and gets the change when it connects"
    for notice in proposed.notices:
        yield notice.path, notice.message
