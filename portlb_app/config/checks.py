"""The entries of ``lb.yaml`` against each other: references, uniqueness, what each mode needs.

A faulty entry hides no other mistake: its sound fields take part in the checks, and a reference to it is no second
mistake.
"""

from __future__ import annotations

from collections import Counter

from portlb_app.config import health, icmp, naming, selecting, topology_checks
from portlb_app.config.entries import ServerEntry
from portlb_app.config.file import File
from portlb_app.config.policies import (
    DefaultFor,
    Fragments,
    IcmpErrors,
    IcmpPolicy,
    Legacy,
    Rewrite,
    Signal,
    UnknownErrors,
    UnknownFragments,
)
from portlb_app.config.selection_values import TURNING, Turns
from portlb_app.config.values import Connector
from portlb_app.net.packets import Address
from portlb_app.pipeline import SLOTS


def check(file: File) -> None:
    """Add to the problems of a file what is wrong between its entries."""
    file.faulty.update(problem.path for problem in file.problems.kept)
    topology_checks.check(file)
    _check_servers(file)
    _check_service_ports(file)
    _check_mptcp(file)
    _check_vips(file)
    _check_own_addresses(file)
    naming.check(file)
    policies = {name: {port: legacy(file, name, port) for port in file.redirect_ports[name]} for name in file.vips}
    health.check(file, policies)


def _check_servers(file: File) -> None:
    attached: dict[tuple[str | None, Connector], str] = {}
    for name, entry in file.servers.items():
        path = f"servers.{name}"
        selecting.check_server(file, name, entry)
        if entry.vip is not None and entry.vip not in file.vips:
            file.unknown(f"{path}.vip", "vips", f"there is no VIP {entry.vip}")
        if (connector := entry.connector) is None:
            continue
        path += ".connector"
        if connector.switch not in file.switches:
            file.unknown(path, "switches", f"there is no switch {connector.switch}")
            continue
        if _rewrite(file, entry) is Rewrite.NOTHING:
            if file.is_network_side(connector):
                file.wrong(path, f"{connector} is the network side of {connector.switch}, and nothing is rewritten")
            other = attached.setdefault((entry.vip, connector), name)
            if other != name:
                file.wrong(path, f"{connector} is already the connector of {other}")


def _check_service_ports(file: File) -> None:
    for name, entry in file.servers.items():
        owned = file.service_ports[name]
        applications = {item.application for item in owned.values() if item.application not in (None, item.port)}
        for position, item in owned.items():
            if item.port is None:
                continue
            path = f"servers.{name}.service_ports[{position}]"
            if (entry.vip, item.port) in file.owners:
                owner = file.owners[entry.vip, item.port]
                file.wrong(path, f"{item.port} is " + (f"already owned by {owner}" if owner != name else "given twice"))
                continue
            file.owners[entry.vip, item.port] = name
            if item.application not in (None, item.port) and item.port in applications:
                file.wrong(path, f"nothing can listen on {item.port}: it stands for {item.application}")


def _check_mptcp(file: File) -> None:
    """The port at which MPTCP connections go on: the server's kernel itself listens there, and takes joins only."""
    for name, entry in file.servers.items():
        port, path = entry.mptcp, f"servers.{name}.mptcp"
        if port is None or any(item.port is None for item in file.service_ports[name].values()):
            continue
        owned = {item.port: item.application or item.port for item in file.service_ports[name].values()}
        if port not in owned:
            file.wrong(path, f"{port} is none of its service_ports")
        elif owned[port] != port:
            file.wrong(path, f"{port} stands for the application on {owned[port]}: MPTCP needs a port of its own")
        elif any(its == port for other, its in owned.items() if other != port):
            file.wrong(path, f"a program listens on {port}: MPTCP needs a port of its own")
        elif port in file.redirect_ports.get(entry.vip or "", {}):
            file.wrong(path, f"{port} is a redirect port: MPTCP needs a port of its own")


def _check_vips(file: File) -> None:
    addresses: dict[Address, str] = {}
    servers = Counter(server.vip for server in file.servers.values())
    applications = {
        name: {item.application or item.port for item in owned.values()} for name, owned in file.service_ports.items()
    }
    for name, entry in file.vips.items():
        path = f"vips.{name}"
        for address in entry.address or ():
            if addresses.setdefault(address, name) != name:
                file.wrong(f"{path}.address", f"{address} is already the address of {addresses[address]}")
        nothing = entry.rewrite in (None, Rewrite.NOTHING) and f"{path}.rewrite" not in file.faulty
        if entry.gateway is not None and nothing:
            file.wrong(f"{path}.gateway", "nothing is rewritten: servers' packets go where the servers send them")
        if entry.default_server is not None:
            _check_member(file, f"{path}.default_server", entry.default_server, name)
        elif entry.default_for is not None:
            file.wrong(f"{path}.default_for", "there is no default_server")
        _check_punted(file, name)
        _check_icmp(file, name, servers[name])
        for port, pool in file.redirect_ports[name].items():
            where = f"{path}.redirect_ports.{port}"
            members = pool.servers or []
            known = set()
            for position, member in enumerate(members):
                _check_member(file, f"{where}.servers[{position}]", member, name)
                if member in known:
                    file.wrong(f"{where}.servers[{position}]", f"{member} is given twice")
                known.add(member)
            if pool.legacy is Legacy.OWNER and (name, port) not in file.owners:
                file.wrong(f"{where}.legacy", f"no server owns {port} as a service port")
            if pool.legacy is Legacy.DEFAULT and entry.default_server is None:
                file.wrong(f"{where}.legacy", "there is no default_server")
            if pool.pin is not None and pool.legacy is not Legacy.PIN:
                file.wrong(f"{where}.pin", "needs legacy: pin")
            if pool.signal is Signal.OPTION and legacy(file, name, port) in (Legacy.OWNER, Legacy.DEFAULT):
                needed = f"it needs a service port whose application is {port}, or the port legacy: balance or drop"
                _check_redirects(file, f"{where}.signal", port, members, applications, needed)
            chosen = file.selections.get(where)
            if chosen is not None and chosen.turns is Turns.CONTROLLER and chosen.kind in TURNING:
                needed = f"it needs a service port whose application is {port}: other connections go on by their slots"
                _check_redirects(file, f"{where}.selection.turns", port, members, applications, needed)
            selecting.check_port(file, name, port, pool, legacy(file, name, port))


def _check_punted(file: File, name: str) -> None:
    """What a VIP says about ICMP errors and fragments."""
    path, entry, icmp = f"vips.{name}", file.vips[name], file.icmp[name]
    rewrites_address = entry.rewrite is Rewrite.ADDRESS
    is_owner = icmp.errors is IcmpErrors.OWNER or (icmp.errors is None and rewrites_address)
    if icmp.unknown is not None and not is_owner:
        file.wrong(f"{path}.icmp.unknown", "needs errors: owner")
    if rewrites_address and icmp.errors in (IcmpErrors.REPLICATE, IcmpErrors.DEFAULT):
        file.wrong(f"{path}.icmp.errors", "servers know their packets by their own addresses: owner or drop")
    if entry.unknown_fragments is not None and entry.fragments is not Fragments.TRACK:
        file.wrong(f"{path}.unknown_fragments", "needs fragments: track")
    if entry.default_server is None:
        given = {
            "icmp.errors": icmp.errors is IcmpErrors.DEFAULT,
            "icmp.unknown": icmp.unknown is UnknownErrors.DEFAULT,
            "fragments": entry.fragments is Fragments.DEFAULT,
            "unknown_fragments": entry.unknown_fragments is UnknownFragments.DEFAULT,
        }
        for key, wrong in given.items():
            if wrong:
                file.wrong(f"{path}.{key}", "there is no default_server")


def _check_icmp(file: File, name: str, servers: int) -> None:
    path, entry = f"vips.{name}.icmp", file.icmp[name]
    icmp.rules(entry, lambda below_icmp, message: file.wrong(f"{path}.{below_icmp}", message))
    if entry.other is IcmpPolicy.ANSWER:
        file.wrong(f"{path}.other", "the switch answers pings only: use echo")
    for key, target in icmp.targets(entry):
        if target is IcmpPolicy.BALANCE and servers > SLOTS:
            file.wrong(f"{path}.{key}", f"balances over {SLOTS} servers at most, and {name} has {servers}")
        if target is IcmpPolicy.DEFAULT and file.vips[name].default_server is None:
            file.wrong(f"{path}.{key}", "there is no default_server")
        elif not isinstance(target, IcmpPolicy):
            _check_member(file, f"{path}.{key}", target, name)


def _check_redirects(
    file: File, path: str, port: int, members: list[str], applications: dict[str, set[int | None]], needed: str
) -> None:
    """Where only redirected connections go on with the server that they opened with: a client's later packets carry no
    option, or another server's turn is not that of the slot.
    """
    for member in members:
        if member in file.servers and port not in applications[member]:
            file.wrong(path, f"{member} cannot redirect from {port}: {needed}")


def legacy(file: File, name: str, port: int) -> Legacy:
    """A redirect port's policy for plain clients, given or not (docs/config.md, "legacy")."""
    given = file.redirect_ports[name][port].legacy
    if given is not None:
        return given
    if file.vips[name].default_for is DefaultFor.PLAIN_CLIENTS:
        return Legacy.DEFAULT
    return Legacy.OWNER if (name, port) in file.owners else Legacy.DROP


def _check_member(file: File, path: str, member: str, vip: str) -> None:
    if member not in file.servers:
        file.unknown(path, "servers", f"there is no server {member}")
    elif (home := file.servers[member].vip) != vip and home in file.vips:
        file.wrong(path, f"{member} is a server of VIP {home}")


def _rewrite(file: File, server: ServerEntry) -> Rewrite | None:
    """What is rewritten for a server; None if that cannot be told because of another mistake."""
    vip = file.vips.get(server.vip or "")
    if vip is None or f"vips.{server.vip}.rewrite" in file.faulty:
        return None
    return vip.rewrite or Rewrite.NOTHING


def _check_own_addresses(file: File) -> None:
    """What servers must have of their own in each mode, and that no other host has it.

    One host may be a server of several VIPs: then its entries have one connector.
    """
    virtual = {address: name for name, vip in file.vips.items() for address in vip.address or ()}
    hosts: dict[Address, str] = {}
    for name, switch in file.switches.items():
        for address in switch.address or ():
            if address in virtual:
                file.wrong(f"switches.{name}.address", f"{address} is the address of VIP {virtual[address]}")
            if hosts.setdefault(address, name) != name:
                file.wrong(f"switches.{name}.address", f"{address} is already the address of {hosts[address]}")
    own = set(hosts)
    virtual_macs: dict[int, str] = {}
    for name, vip in file.vips.items():
        if vip.mac is not None:
            virtual_macs.setdefault(vip.mac, name)
    macs: dict[int, tuple[str, set[str | None]]] = {}
    for name, entry in file.servers.items():
        path, rewrite = f"servers.{name}", _rewrite(file, entry)
        if rewrite is not None:
            _check_needs(file, path, entry, rewrite)
        for address in (*(entry.address or ()), *(entry.router or ())):
            if address in virtual:
                file.wrong(f"{path}.address", f"{address} is the address of VIP {virtual[address]}")
        for address in entry.address or ():
            other = hosts.setdefault(address, name)
            if address in own:
                file.wrong(f"{path}.address", f"{address} is already the address of {other}")
                continue
            same_host = file.servers[other].connector == entry.connector and file.servers[other].vip != entry.vip
            if other != name and (not same_host or rewrite is Rewrite.ADDRESS):
                file.wrong(f"{path}.address", f"{address} is already the address of {other}")
        if entry.mac is not None:
            if entry.mac in virtual_macs:
                file.wrong(f"{path}.mac", f"is the MAC address of VIP {virtual_macs[entry.mac]}")
            first, vips = macs.setdefault(entry.mac, (name, set()))
            if first != name:
                _check_mac(file, name, first, vips)
            vips.add(entry.vip)


def _check_mac(file: File, name: str, first: str, vips: set[str | None]) -> None:
    """A server whose MAC address another one has, too: `first`, and the servers of `vips`."""
    path, entry, other = f"servers.{name}.mac", file.servers[name], file.servers[first]
    if other.connector != entry.connector or other.router != entry.router:
        file.wrong(path, f"is already the MAC address of {first}, which is elsewhere")
    elif entry.router is None and entry.vip in vips:
        file.wrong(path, f"is already the MAC address of {first}")


def _check_needs(file: File, path: str, entry: ServerEntry, rewrite: Rewrite) -> None:
    assert entry.vip is not None
    vip = file.vips[entry.vip]
    address_is_read, mac_is_read = (f"{path}.{key}" not in file.faulty for key in ("address", "mac"))
    if rewrite is not Rewrite.NOTHING and entry.mac is None and mac_is_read:
        file.wrong(f"{path}.mac", f"is missing: VIP {entry.vip} rewrites {rewrite.value}")
    if rewrite is Rewrite.MAC and entry.address:
        file.wrong(f"{path}.address", f"VIP {entry.vip} rewrites mac: its servers have no addresses of their own")
    if rewrite is Rewrite.ADDRESS and address_is_read:
        known = {address.version for address in entry.address or ()}
        for address in vip.address or ():
            if address.version not in known:
                file.wrong(f"{path}.address", f"an IPv{address.version} one is missing: VIP {entry.vip} rewrites it")
    if entry.router and rewrite is not Rewrite.ADDRESS:
        file.wrong(f"{path}.router", "only servers of a VIP that rewrites address can be behind a router")
    both_are_read = address_is_read and mac_is_read
    if rewrite is Rewrite.NOTHING and both_are_read and (entry.address is None) != (entry.mac is None):
        file.wrong(path, "to talk to other servers it needs both an address and a mac of its own")
    connector = entry.connector
    no_gateway = vip.gateway is None and f"vips.{entry.vip}.gateway" not in file.faulty
    if rewrite is Rewrite.ADDRESS and no_gateway and connector and file.is_network_side(connector):
        file.wrong(
            f"vips.{entry.vip}.gateway",
            f"is missing: {connector} is the network side, so servers' packets come back to be rewritten",
        )
