"""Heartbeats of servers' agents: which server one is of, whether it is new, and the answer. Pure.

A heartbeat is believed because of the port it came in by, which is the server's own connector. So a server can only
speak for itself. Where several servers are behind one port (`rewrite: mac` or `address`), the name in the heartbeat
says which of them it is, or else its IP address; its MAC address must be that server's. One that tells nothing apart is
refused, counted and logged.

A process of an agent draws a number when it starts (`boot`), and numbers its heartbeats. One that does not have a
larger number than the last one of its process, or is of a process before that, is a replay: counted, and ignored.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Server
from portlb_app.net.heartbeat import ADDRESSES, MAC, PORT, Answer, Heartbeat, Order, parse_heartbeat
from portlb_app.net.packets import Datagram, parse_datagram
from portlb_app.punt.disposition import Disposition

FORMER = 8
"""Processes of a server's agent that are known to be over."""
TROUBLES = 64
"""Troubles that are told, with one configuration."""


@dataclass(frozen=True)
class Heard:
    """A server's agent has said this, at this time (seconds of a clock that only grows)."""

    server: str
    heartbeat: Heartbeat
    at: float


@dataclass(frozen=True)
class _Process:
    """The process that spoke last: its number, that of its last heartbeat, and processes before it."""

    boot: int
    sequence: int
    former: tuple[int, ...] = ()


class Heartbeats:
    """Judges heartbeats. `orders` says what the answers are to tell, by server."""

    def __init__(self) -> None:
        self.orders: Mapping[str, Order] = {}
        self._processes: dict[str, _Process] = {}
        self._heard: dict[str, Heard] = {}
        self._told: set[str] = set()
        self._troubles: list[str] = []

    def keep(self, servers: Collection[str]) -> None:
        """Another configuration: forget all servers but these."""
        for name in self._processes.keys() - servers:
            del self._processes[name]
        self._heard = {name: heard for name, heard in self._heard.items() if name in servers}
        self._told.clear()

    def take_heard(self) -> tuple[Heard, ...]:
        """The last heartbeat of each server since this was asked last."""
        heard, self._heard = tuple(self._heard.values()), {}
        return heard

    def take_troubles(self) -> list[str]:
        """What the administrator should know, since this was asked last; each once in a configuration."""
        troubles, self._troubles = self._troubles, []
        return troubles

    def take(
        self, here: Iterable[VipOnSwitch], in_port: int, frame: bytes, now: float
    ) -> tuple[Disposition, bytes | None]:
        """What becomes of a heartbeat that came in by a port of a switch with these VIPs; the frame that answers it."""
        datagram = parse_datagram(frame)
        heartbeat = None if datagram is None else parse_heartbeat(datagram.data)
        if datagram is None or heartbeat is None or datagram.dport != PORT:
            return Disposition.MALFORMED, None
        if datagram.destination != ADDRESSES[datagram.destination.version]:
            return Disposition.MALFORMED, None
        server = self._sender(here, in_port, datagram, heartbeat.name)
        if server is None:
            return Disposition.MISPLACED, None
        if not self._is_new(server, heartbeat):
            return Disposition.REPLAYED, None
        self._heard[server] = Heard(server, heartbeat, now)
        answer = Answer(heartbeat.boot, heartbeat.sequence, self.orders.get(server, Order(0)) | Order.TELL)
        back = Datagram(
            MAC, datagram.source_mac, datagram.destination, datagram.source, PORT, datagram.sport, answer.pack()
        )
        return Disposition.SENT, back.pack()

    def _sender(self, here: Iterable[VipOnSwitch], in_port: int, datagram: Datagram, name: str) -> str | None:
        """The name of the server that sent it; None if that cannot be said."""
        behind = [
            (local, server)
            for local in here
            for server in local.attached
            if server.connector.port == in_port and not local.is_one_armed(server)
        ]
        there = {server.name: server for local, server in behind if local.mac(server) == datagram.source_mac}
        if name:
            if name not in there:
                where = _port(behind, in_port)
                self._tell(f"an agent behind {where} says that it is of server {name}, which is not there")
                return None
            return name
        by_address = {server.name for local, server in behind if datagram.source in local.vip.addresses_of(server)}
        found = there.keys() & by_address
        if len(found) != 1:
            where, names = _port(behind, in_port), ", ".join(sorted(server.name for _, server in behind)) or "no server"
            self._tell(f"an agent behind {where} does not say by its addresses which one it is of: {names}")
            return None
        return next(iter(found))

    def _is_new(self, server: str, heartbeat: Heartbeat) -> bool:
        """Whether it is later than what is known; it is known from now on."""
        known = self._processes.get(server)
        former: tuple[int, ...] = ()
        if known is not None and known.boot == heartbeat.boot:
            if heartbeat.sequence <= known.sequence:
                return False
            former = known.former
        elif known is not None:
            if heartbeat.boot in known.former:
                return False
            former = (known.boot, *known.former)[:FORMER]
        self._processes[server] = _Process(heartbeat.boot, heartbeat.sequence, former)
        return True

    def _tell(self, trouble: str) -> None:
        if trouble not in self._told and len(self._told) < TROUBLES:
            self._told.add(trouble)
            self._troubles.append(trouble)


def _port(behind: list[tuple[VipOnSwitch, Server]], in_port: int) -> str:
    return str(behind[0][1].connector) if behind else f"port {in_port}"
