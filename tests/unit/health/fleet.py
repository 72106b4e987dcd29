"""Many servers of one configuration, on a virtual clock: what the checker sends reaches them, or is lost."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from random import Random

import yaml

from portlb_app.compiler.vips_by_switch import VipsBySwitch
from portlb_app.config import Config, load
from portlb_app.health.checker import Checker, News
from portlb_app.health.targets import Line, lines
from portlb_app.net.packets import Ends, make_segment, parse_datagram, parse_tcp
from portlb_app.openflow import Output
from portlb_app.pipeline import ACK, RST, SYN, Reason, make_cookie
from portlb_app.punt.packet import PacketIn, Send
from portlb_app.topology.conditions import AS_CONFIGURED

TICK = 0.02


def configuration(servers: int, check: dict[str, object] | None = None, **vip: object) -> Config:
    """One switch, one VIP and its pool of port 80; every server has a service port."""
    names = [f"s{number}" for number in range(servers)]
    pool = {"servers": names, "legacy": "balance"}
    data = {
        "switches": {"s1": {"dpid": 1, "network": 1}},
        "vips": {
            "web": {
                "address": "10.0.0.100",
                "mac": "02:00:00:00:00:64",
                "redirect_ports": {80: pool},
                "check": check or {},
                **vip,
            }
        },
        "servers": {
            name: {
                "vip": "web",
                "connector": f"s1:{number + 2}",
                "service_ports": [{"port": 8001 + number, "application": 80}],
            }
            for number, name in enumerate(names)
        },
    }
    return load(yaml.safe_dump(data))


def lines_of(config: Config) -> list[Line]:
    """Its lines, with all switches."""
    vips = VipsBySwitch(config, AS_CONFIGURED)
    return [line for switch in config.switches for line in lines(switch.dpid, vips.on(switch.dpid))]


class Fleet:
    """A checker and its servers. `alive`: the hosts that answer; `listening`: those whose program runs.

    `tables`: those that the tables lead to; `loss`: the probability of each packet's loss, each way; `path`: seconds of
    one way; `up`: whether switches hand anything up.
    """

    def __init__(self, config: Config, loss: float = 0.0, seed: int = 0, path: float = 0.0005) -> None:
        self.config, self.loss, self.path, self.random = config, loss, path, Random(seed)
        self.names = [server.name for server in config.servers]
        self.alive, self.listening, self.tables = set(self.names), set(self.names), set(self.names)
        self.up = True
        self.known: Callable[[str, str, int], bool | None] = lambda _server, _vip, _port: True
        self.checker = Checker(
            lambda: self.random.getrandbits(32), lambda *about: self.known(*about)
        )
        self.checker.connected(1)
        self.checker.adopt(lines_of(config), 0.0)
        self.now = 0.0
        self.sent = 0
        self.news: list[tuple[float, News]] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._port_of = {server.name: server.connector.port for server in config.servers}
        self._server_on = {server.connector.port: server.name for server in config.servers}
        self._owner = {owned.port: server.name for server in config.servers for owned in server.service_ports}

    @property
    def states(self) -> dict[str, bool | None]:
        """What was said last of each server."""
        return {state.line.server: state.said for state in self.checker.states()}

    def down(self) -> set[str]:
        """The servers of which was said that they are down."""
        return {server for server, said in self.states.items() if said is False}

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self.now < end:
            while self._events and self._events[0][0] <= self.now:
                self.now, _, event = heapq.heappop(self._events)
                event()
            self._send(self.checker.tick(self.now))
            self._hear()
            following = self._events[0][0] if self._events else end
            self.now = min(end, max(following, self.now), self.now + TICK)
            if following > self.now and not self._events:
                continue

    def stand_still(self, seconds: float) -> None:
        """The controller does nothing; what comes meanwhile is lost."""
        self.now += seconds
        self._events.clear()

    def _hear(self) -> None:
        self.news += [(self.now, each) for each in self.checker.news()]

    def _later(self, event: Callable[[], None]) -> None:
        if self.random.random() >= self.loss:
            heapq.heappush(self._events, (self.now + self.path, next(self._numbers), event))

    def _send(self, sends: list[Send]) -> None:
        for send in sends:
            self.sent += 1
            self._later(lambda send=send: self._arrives(send))

    def _arrives(self, send: Send) -> None:
        datagram = parse_datagram(send.frame)
        if datagram is not None and send.side is None and send.in_port in self._server_on:
            self._up(send.in_port, send.frame)
            return
        segment = parse_tcp(send.frame)
        assert segment is not None
        if send.side is None:
            (server,) = (self._server_on[each.port] for each in send.actions if isinstance(each, Output))
        else:
            server = self._owner[segment.dport]
            if server not in self.tables:
                return
        if server not in self.alive or segment.flags & RST:
            return
        back = Ends(0x020000000064, 0x025000000001, segment.destination, segment.source)
        flags = SYN | ACK if server in self.listening else RST | ACK
        if segment.flags & SYN:
            ports = segment.dport, segment.sport
            frame = make_segment(back, ports, self.random.getrandbits(32), segment.seq + 1, flags, 1000)
            self._later(lambda: self._up(self._port_of[server], frame))

    def _up(self, port: int, frame: bytes) -> None:
        if self.up:
            packet = PacketIn(make_cookie(Reason.TO_CHECKER, port=port), port, frame)
            _, sends = self.checker.take(1, packet, self.now)
            self._send(list(sends))
            self._hear()
