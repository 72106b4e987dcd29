"""Every value that is used, by its path, and where it comes from: the file, a default, an override.

Values are written as the file writes them. What is made of several values (the checks of a server, say) is at the
places where it is given.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from portlb_app.config.overrides import Override, Overrides, configured
from portlb_app.config.policies import IcmpPolicy
from portlb_app.config.selection_values import When
from portlb_app.config.values import Config, Qos, RedirectPort, Server, ServicePort, Switch, Vip
from portlb_app.net.packets import Address
from portlb_app.openflow import mac_text

Source = Literal["file", "default", "override"]
Given = Mapping[tuple[str, ...], Mapping[str, Any]]
"""By the steps of an entry's path, the keys that the file gives there, with their values."""
END = "\uffff"
"""Behind all that begins the same way."""


@dataclass(frozen=True)
class Used:
    """One value. `place`: a text by which all are sorted. `override`: what is in place of the file's, `replaced`."""

    path: str
    place: str
    value: Any
    source: Source
    override: Override | None = None
    replaced: Any = None


Values = Mapping[str, Callable[[Any], Any] | None]
"""By key how it is found; None: it is shown where the file gives it."""


def _addresses(addresses: tuple[Address, ...]) -> list[str]:
    return list(map(str, addresses))


def _mac(number: int | None) -> str | None:
    return None if number is None else mac_text(number)


def _target(target: IcmpPolicy | str) -> str:
    return target.value if isinstance(target, IcmpPolicy) else target


def _quality(qos: Qos) -> dict[str, int]:
    given = {"dscp": qos.dscp, "queue": qos.queue, "rate": qos.rate}
    return {key: value for key, value in given.items() if value is not None}


def _service_port(port: ServicePort) -> dict[str, Any]:
    quality = {"quality": _quality(port.qos)} if port.qos != Qos() else {}
    return {"port": port.port, "application": port.application, **quality}


def _selection(pool: RedirectPort) -> dict[str, Any]:
    chosen = pool.selecting
    found: dict[str, Any] = {"kind": chosen.algorithm.value}
    if chosen.algorithm.value == "source":
        found |= {"prefix4": chosen.prefix4, "prefix6": chosen.prefix6}
    return found | ({"period": chosen.period} if chosen.reshuffles else {})


def _when(when: When) -> dict[str, Any]:
    given = {"source": when.source and str(when.source), "dscp": when.dscp, "vlan": when.vlan, "pool": when.pool}
    return {key: value for key, value in given.items() if value is not None}


def _fail_open(pool: RedirectPort) -> int | str:
    most = pool.fail_open.most
    if most is None:
        return "never"
    return f"{most}%" if pool.fail_open.is_percent else most


SERVER: Values = {
    "vip": lambda server: server.vip,
    "connector": lambda server: str(server.connector),
    "service_ports": lambda server: list(map(_service_port, server.service_ports)),
    "address": lambda server: _addresses(server.addresses),
    "mac": lambda server: _mac(server.mac),
    "router": lambda server: _addresses(server.routers),
    "weight": lambda server: server.weight,
    "service_address": lambda server: _addresses(server.service_addresses),
    "service_mac": lambda server: _mac(server.service_mac),
    "service_label": lambda server: server.service_label,
    "backup": None,
    "priority": lambda server: server.priority,
    "state": lambda server: server.state.value,
    "mptcp": lambda server: server.mptcp,
    "check": None,
}
VIP: Values = {
    "address": lambda vip: _addresses(vip.addresses),
    "mac": lambda vip: mac_text(vip.mac),
    "rewrite": lambda vip: vip.rewrite.value,
    "gateway": lambda vip: _mac(vip.gateway),
    "default_server": lambda vip: vip.default_server,
    "default_for": lambda vip: vip.default_for.value,
    "fragments": lambda vip: vip.fragments.value,
    "unknown_fragments": lambda vip: vip.unknown_fragments.value,
    "log": lambda vip: vip.log,
    "passive": lambda vip: vip.passive,
    "number": lambda vip: vip.number,
    "check": None,
    "check_address": lambda vip: [str(vip.check_address(each.version)) for each in vip.addresses],
    "fail_open": None,
}
ICMP: Values = {
    "errors": lambda vip: vip.icmp_errors.value,
    "unknown": lambda vip: vip.unknown_errors.value,
    "echo": None,
    "types": None,
    "types6": None,
    "other": lambda vip: _target(vip.icmp_rest),
}
PORT: Values = {
    "servers": lambda pool: list(pool.servers),
    "legacy": lambda pool: pool.legacy.value,
    "signal": lambda pool: pool.signal.value,
    "pin": None,
    "quality": lambda pool: _quality(pool.qos),
    "selection": _selection,
    "moves": lambda pool: None if pool.moves is None else str(pool.moves),
    "slow_start": lambda pool: pool.slow_start,
    "when": lambda pool: list(map(_when, pool.when)),
    "check": None,
    "fail_open": _fail_open,
    "second_chance": lambda pool: pool.second_chance,
}
SWITCH: Values = {
    "dpid": lambda switch: switch.dpid,
    "network": lambda switch: switch.network,
    "datapath": lambda switch: switch.datapath.value,
    "address": lambda switch: _addresses(switch.addresses),
}


def given(data: Mapping[Any, Any]) -> Given:
    """What a file's data gives; the data means a configuration."""
    found: dict[tuple[str, ...], Mapping[str, Any]] = {(): data}
    for section in ("servers", "switches", "vips"):
        for name, entry in (data.get(section) or {}).items():
            found[section, str(name)] = entry
    for name, entry in (data.get("vips") or {}).items():
        found["vips", str(name), "icmp"] = entry.get("icmp") or {}
        for port, pool in (entry.get("redirect_ports") or {}).items():
            found["vips", str(name), "redirect_ports", str(port)] = pool
    return found


@dataclass(frozen=True)
class Chosen:
    """Which values: at a path or below it, from a source, behind a place; at most so many."""

    under: str = ""
    source: Source | None = None
    after: str = ""
    count: int = 1000


def effective(config: Config, known: Given, overrides: Overrides, chosen: Chosen) -> Iterator[Used]:
    """Values, sorted by their places."""
    found = (
        each
        for steps, value, values in _entries(config, chosen.after)
        for key in sorted(values)
        if (each := _used(steps, key, value, values[key], known, overrides)) is not None
        and each.place > chosen.after
        and chosen.source in (None, each.source)
        and (not chosen.under or f"{each.path}.".startswith(f"{chosen.under}."))
    )
    return itertools.islice(found, chosen.count)


def _entries(config: Config, after: str) -> Iterator[tuple[tuple[str, ...], Any, Values]]:
    """All entries in the order of their places, without those that have none behind this one."""
    yield (), config, {"links": lambda all_: [[str(link.one), str(link.other)] for link in all_.links]}
    named: tuple[tuple[str, tuple[Server | Switch, ...], Values], ...] = (
        ("servers", config.servers, SERVER),
        ("switches", config.switches, SWITCH),
    )
    for section, entries, values in named:
        for each in entries:
            if _place((section, each.name)) + END > after:
                yield (section, each.name), each, values
    for vip in config.vips:
        if _place(("vips", vip.name)) + END > after:
            yield from _of_vip(vip)


def _of_vip(vip: Vip) -> Iterator[tuple[tuple[str, ...], Any, Values]]:
    """The entries of a VIP. Its own keys come in the order of all: ``icmp`` and ``redirect_ports`` are between them."""
    steps = ("vips", vip.name)
    yield steps, vip, {key: VIP[key] for key in VIP if key < "icmp"}
    yield (*steps, "icmp"), vip, ICMP
    yield steps, vip, {key: VIP[key] for key in VIP if "icmp" < key < "redirect_ports"}
    for pool in vip.redirect_ports:
        yield (*steps, "redirect_ports", str(pool.port)), pool, PORT
    yield steps, vip, {key: VIP[key] for key in VIP if key > "redirect_ports"}


def _used(
    steps: tuple[str, ...],
    key: str,
    entry: Any,
    value: Callable[[Any], Any] | None,
    known: Given,
    overrides: Overrides,
) -> Used | None:
    """One value; None for what is shown only where it is given."""
    is_given = known.get(steps, {}).get(key) is not None
    if key == "fail_open" and len(steps) > 2:
        is_given = is_given or known.get(steps[:2], {}).get(key) is not None  # what the VIP says holds for its ports
    if value is None and not is_given:
        return None
    path, place = ".".join((*steps, key)), _place((*steps, key))
    source: Source = "file" if is_given else "default"
    found = known[steps][key] if value is None else value(entry)
    override = _override(entry, key, overrides) if isinstance(entry, Server) else None
    if override is None:
        return Used(path, place, found, source)
    value_used = override.value if isinstance(override.value, int) else override.value.value
    return Used(path, place, value_used, "override", override, found)


def _override(server: Server, key: str, overrides: Overrides) -> Override | None:
    """What is in place of a server's value now."""
    for name, override in overrides.of(server.name).items():
        if name == key and configured(server, name) == override.replaced:
            return override
    return None


def _place(steps: tuple[str, ...]) -> str:
    """Sorted as names are, and ports as numbers."""
    if steps[2:3] == ("redirect_ports",):
        steps = (*steps[:3], f"{int(steps[3]):05}", *steps[4:])
    return "\0".join(steps)
