"""Who is checked on a switch, how, and by which way.

By the tables a check goes to what names one server: its service port, its service address or its service MAC address.
By the connector it goes to the VIP and the port of the program, with the actions by which the switch delivers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from portlb_app.compiler.delivery import deliver, source_address
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Address, Check, CheckKind, RedirectPort, Server, Via
from portlb_app.config.health import service_port
from portlb_app.health.probe import Target
from portlb_app.net.packets import Ends
from portlb_app.openflow import CONTROLLER, Action
from portlb_app.pipeline import CLASSIFY, Family, Side, check_mac, family, resubmit


@dataclass(frozen=True)
class Way:
    """How packets get to a server: by its switch, which takes them as having come in on `in_port`, and does `actions`.

    `side`: the side that the tables take them from, if they pass the tables. `name`: the way in a few words.
    """

    dpid: int
    in_port: int
    actions: tuple[Action, ...]
    side: Side | None
    target: Target
    name: str


@dataclass(frozen=True)
class Origin:
    """What a server's packets must look like: the port of its switch that they come in by, and their MAC addresses."""

    port: int
    macs: frozenset[int]


@dataclass(frozen=True)
class Line:
    """One kind of check of one server over one version of IP, for the pools of these redirect ports.

    `direct`: the way by the connector, which tells a broken server from broken tables; None if `way` is that.
    """

    server: str
    vip: str
    ports: tuple[int, ...]
    check: Check
    version: int
    way: Way
    direct: Way | None
    origin: Origin

    @property
    def key(self) -> tuple[str, Check, int, str]:
        """What makes it the same line under another configuration, with the same past."""
        return self.server, self.check, self.version, self.way.name


def lines(dpid: int, here: Iterable[VipOnSwitch]) -> Iterator[Line]:
    """The lines of the servers that are attached to a switch and can be reached there."""
    done: set[str] = set()
    for local in here:
        if not local.is_on_the_way or local.vip.name in done:
            continue
        reachable = [server for server in local.checked if server.name in local.port_of]
        if reachable:
            done.add(local.vip.name)
        for server in reachable:
            yield from _of_server(dpid, local, server)


def _of_server(dpid: int, local: VipOnSwitch, server: Server) -> Iterator[Line]:
    by_program: dict[tuple[Check, int], list[int]] = {}
    for pool in local.vip.redirect_ports:
        check = pool.checked.get(server.name) if pool.checks else None
        if check is not None:
            by_program.setdefault((check, _program(check, pool)), []).append(pool.port)
    macs = {local.mac(server), server.service_mac or local.mac(server)}
    origin = Origin(server.connector.port, frozenset(macs))
    for (check, program), ports in by_program.items():
        for address in local.vip.addresses:
            direct = _by_connector(dpid, local, server, program, family(address), address)
            named = None if check.via is Via.CONNECTOR else _by_name(dpid, local, server, check, program, address)
            yield Line(
                server=server.name,
                vip=local.vip.name,
                ports=tuple(ports),
                check=check,
                version=address.version,
                way=named or direct,
                direct=direct if named else None,
                origin=origin,
            )


def _program(check: Check, pool: RedirectPort) -> int:
    """The port that the program listens on; pings have none, and are the same for all pools."""
    return 0 if check.kind is CheckKind.PING else check.port or pool.port


def _by_name(
    dpid: int, local: VipOnSwitch, server: Server, check: Check, program: int, vip: Address
) -> Way | None:
    """Through the tables, to what names the server; None if nothing does."""
    owned = [(each.port, each.application) for each in server.service_ports]
    legacy = {pool.port: pool.legacy for pool in local.vip.redirect_ports}
    port = service_port(owned, program, check.kind, legacy)
    own = source_address(local, server, family(vip))
    if port is not None:
        return _by_tables(dpid, local, _ends(local, vip), port, {own}, f"port {port}")
    if check.kind is CheckKind.PING:
        return None
    for address in server.service_addresses:
        if address.version == vip.version:
            ends = _ends(local, vip)._replace(destination=address)
            return _by_tables(dpid, local, ends, program, {address}, "its service address")
    if server.service_mac is not None and check.kind is not CheckKind.UDP:
        ends = _ends(local, vip)._replace(destination_mac=server.service_mac)
        return _by_tables(dpid, local, ends, program, {own}, "its service MAC address")
    return None


def _by_tables(dpid: int, local: VipOnSwitch, ends: Ends, port: int, answers: set[Address], name: str) -> Way:
    target = Target(ends, port, frozenset(answers))
    return Way(dpid, _ingress(local), (resubmit(CLASSIFY),), Side.CHECK, target, name)


def _by_connector(
    dpid: int, local: VipOnSwitch, server: Server, program: int, ip: Family, vip: Address
) -> Way:
    target = Target(_ends(local, vip), program, frozenset({source_address(local, server, ip)}))
    return Way(dpid, _ingress(local), deliver(local, server.name, ip), None, target, "its connector")


def _ends(local: VipOnSwitch, vip: Address) -> Ends:
    checker = local.vip.check_address(vip.version)
    return Ends(check_mac(checker), local.vip.mac, checker, vip)


def _ingress(local: VipOnSwitch) -> int:
    """A port by which packets to these servers come in; a server may be there, too (row N5)."""
    if local.is_entrance and local.network is not None:
        return local.network
    return min((port for port in local.ingress_ports if port is not None), default=CONTROLLER)
