"""``….check``, ``….fail_open``, ``vips.NAME.check_address``: how servers are checked.

A check is given for a VIP, for one of its redirect ports, or for a server. What the server says comes before what the
port says, and that before what the VIP says, key by key; what only one kind of check has is not taken over by another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from portlb_app.config.check_entries import OF_ANY, OF_KIND, CheckEntry
from portlb_app.config.check_values import Check
from portlb_app.config.entries import ServerEntry, VipEntry
from portlb_app.config.file import File
from portlb_app.config.policies import CheckKind, Legacy, Rewrite, Via
from portlb_app.net.packets import Address

Level = tuple[str, CheckEntry]
"""The path of what a check is given for, and the check."""


# ---- from entries to values ------------------------------------------------------------------------------------------


class Merging:
    """Puts checks together. Servers with the same entries share one value: there may be 65,536."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._known: dict[tuple[str, ...], Check | None] = {}

    def checks(self, vip: str, port: int, servers: Iterable[str]) -> tuple[Check | None, ...]:
        """How each of these servers of a pool is checked; empty if none of them is."""
        found = tuple(self._check(levels(self._file, vip, port, server)) for server in servers)
        return found if any(found) else ()

    def _check(self, given: tuple[Level, ...]) -> Check | None:
        key = tuple(path for path, _ in given)
        if key not in self._known:
            self._known[key] = merged(given)
        return self._known[key]


def levels(file: File, vip: str, port: int | None, server: str | None) -> tuple[Level, ...]:
    """The checks that are given for a server of a pool, from the most general to the most special."""
    paths = [f"vips.{vip}"]
    if port is not None:
        paths.append(f"vips.{vip}.redirect_ports.{port}")
    if server is not None:
        paths.append(f"servers.{server}")
    return tuple((path, file.checks[path]) for path in paths if path in file.checks)


def merged(given: tuple[Level, ...]) -> Check | None:
    """The check that these levels mean; None for none."""
    kind = _kind(given)
    if kind is CheckKind.NONE:
        return None
    values: dict[str, Any] = {}
    for until, (_, entry) in enumerate(given, start=1):
        of_kind = OF_KIND.get(kind, ()) if _kind(given[:until]) is kind else ()
        for key in (*OF_ANY, "port", *of_kind):
            if (value := getattr(entry, key)) is not None:
                values[key] = value
    return Check(kind, **values)


def _kind(given: tuple[Level, ...]) -> CheckKind:
    """A check is one of TCP if it does not say."""
    kinds = [entry.kind for _, entry in given if entry.kind is not None]
    return kinds[-1] if kinds else CheckKind.TCP if given else CheckKind.NONE


def service_port(
    owned: Iterable[tuple[int, int]], application: int, kind: CheckKind, legacy: Mapping[int, Legacy]
) -> int | None:
    """The service port by which a check of a program at the port `application` reaches one server; None without one.

    `owned`: the server's service ports with the ports behind them; `legacy`: the policies of the VIP's redirect ports.
    TCP to a service port that is shared, too, reaches its owner only if that gets plain clients. A datagram arrives at
    the port it was sent to.
    """
    if kind is CheckKind.PING:
        return None
    for port, behind in owned:
        is_own = legacy.get(port, Legacy.OWNER) is Legacy.OWNER
        if behind == application and (port == application if kind is CheckKind.UDP else is_own):
            return port
    return None


# ---- checks of entries -----------------------------------------------------------------------------------------------


def check(file: File, legacy: Mapping[str, Mapping[int, Legacy]]) -> None:
    """Add to the problems of a file what is wrong with its checks; `legacy`: the policies of all redirect ports."""
    if not file.checks and not any(entry.check_address for entry in file.vips.values()):
        return
    said: set[tuple[str, str]] = set()
    for path, message in _problems(file, legacy):
        if (path, message) not in said:
            said.add((path, message))
            file.wrong(path, message)


def _problems(file: File, legacy: Mapping[str, Mapping[int, Legacy]]) -> Iterator[tuple[str, str]]:
    pooled: set[str] = set()
    for name, vip in file.vips.items():
        yield from _of_levels(levels(file, name, None, None))
        for port, pool in file.redirect_ports[name].items():
            yield from _of_levels(levels(file, name, port, None))
            for server in pool.servers or ():
                if server not in file.servers:
                    continue
                pooled.add(server)
                given = levels(file, name, port, server)
                yield from _of_levels(given)
                if (wanted := merged(given)) is not None:
                    yield from _of_server(file, given, wanted, legacy[name], port, server)
                    yield from _of_network_side(file, name, vip, file.servers[server])
        yield from _addresses(file, name, vip)
    for server in file.servers:
        if server not in pooled:
            path = f"servers.{server}"
            yield from _of_levels(tuple(level for level in file.checks.items() if level[0] == path))


def _of_levels(given: tuple[Level, ...]) -> Iterator[tuple[str, str]]:
    """What the last of these levels says that does not go together."""
    if not given:
        return
    path, entry = given[-1]
    kind = _kind(given)
    for owner, keys in OF_KIND.items():
        for key in keys:
            if getattr(entry, key) is not None and kind is not owner:
                yield f"{path}.check.{key}", f"needs kind: {owner.value}"
    if kind is CheckKind.PING and entry.port is not None:
        yield f"{path}.check.port", "a ping has no port"
    wanted = merged(given)
    if wanted is None:
        return
    if kind is CheckKind.PING and wanted.via is Via.SERVICE:
        yield f"{path}.check.via", "a ping has no port that could name the server: connector"
    if wanted.timeout > wanted.interval:
        key = "timeout" if entry.timeout is not None else "interval"
        message = f"the timeout, {wanted.timeout:g} s, is longer than the interval, {wanted.interval:g} s"
        yield f"{path}.check.{key}", message


def _of_server(
    file: File, given: tuple[Level, ...], wanted: Check, legacy: Mapping[int, Legacy], port: int, server: str
) -> Iterator[tuple[str, str]]:
    """`via: service` needs something that names the server."""
    if wanted.via is not Via.SERVICE or wanted.kind is CheckKind.PING:
        return
    entry, application = file.servers[server], wanted.port or port
    owned = [(each.port, each.application or each.port) for each in file.service_ports[server].values() if each.port]
    is_named = bool(entry.service_address) or (entry.service_mac is not None and wanted.kind is not CheckKind.UDP)
    if service_port(owned, application, wanted.kind, legacy) is None and not is_named:
        path = next(path for path, level in reversed(given) if level.via is not None)
        yield f"{path}.check.via", f"{server} has no service port for {application}, nor a service address"


def _of_network_side(file: File, name: str, vip: VipEntry, server: ServerEntry) -> Iterator[tuple[str, str]]:
    if server.connector is None or not file.is_network_side(server.connector):
        return
    own = {address.version for address in vip.check_address or ()}
    if vip.rewrite is Rewrite.MAC and vip.gateway is None and own < {address.version for address in vip.address or ()}:
        path = f"vips.{name}.check_address"
        if path not in file.faulty:
            yield path, "is missing: servers on the network side answer to free addresses of their own network only"


def _addresses(file: File, name: str, entry: VipEntry) -> Iterator[tuple[str, str]]:
    if entry.check_address is None:
        return
    path = f"vips.{name}.check_address"
    known = dict(_all_addresses(file))
    versions = {address.version for address in entry.address or entry.check_address}
    for address in entry.check_address:
        if address in known:
            yield path, f"{address} is the address of {known[address]}"
        if address.version not in versions:
            yield path, f"VIP {name} has no IPv{address.version} address"


def _all_addresses(file: File) -> Iterator[tuple[Address, str]]:
    for name, server in file.servers.items():
        for address in (*(server.address or ()), *(server.router or ()), *(server.service_address or ())):
            yield address, f"server {name}"
    for name, switch in file.switches.items():
        for address in switch.address or ():
            yield address, f"switch {name}"
    for name, vip in file.vips.items():
        for address in vip.address or ():
            yield address, f"VIP {name}"


# ---- notices ---------------------------------------------------------------------------------------------------------

RATE = 500.0
"""Checks a second above which `portlb check` says how many there are."""


def notices(file: File) -> None:
    """Say how many checks there are a second, if they are many; the file has no problems."""
    rate, merging = 0.0, Merging(file)
    for name, entry in file.vips.items() if file.checks else ():
        families = len(entry.address or ())
        for port, pool in file.redirect_ports[name].items():
            checks = merging.checks(name, port, pool.servers or ())
            rate += families * sum(1 / each.interval for each in checks if each is not None)
    if rate > RATE:
        file.notice("", f"{rate:.0f} checks a second: a controller has time for fewer (docs/limits.md, Checks)")
