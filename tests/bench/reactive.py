"""A Ryu application that balances connection by connection, as tutorials have it, to compare with.

``python -m tests.bench.reactive ADDRESS PORT POOL`` listens for switches; POOL is a file with a server's OpenFlow
port a line, read again at SIGHUP. Each packet of an unknown connection to the VIP comes up; two exact flows with an
idle time are added for it, and the packet goes out. It uses Ryu's own classes and parser, and OpenFlow 1.3.
"""

# isort: skip_file  (Ryu finds a standard library that is patched, and a name that eventlet has no more)
# mypy: disable-error-code="misc, untyped-decorator"
from __future__ import annotations

import eventlet
import eventlet.wsgi

eventlet.monkey_patch()
eventlet.wsgi.ALREADY_HANDLED = object()

import itertools  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from ryu.base.app_manager import RyuApp  # noqa: E402
from ryu.controller.handler import CONFIG_DISPATCHER, MAIN_DISPATCHER, set_ev_cls  # noqa: E402
from ryu.controller import ofp_event  # noqa: E402
from ryu.lib.packet import ipv4, packet, tcp  # noqa: E402
from ryu.ofproto import ofproto_v1_3  # noqa: E402

VIP = "10.0.0.100"
IDLE = 60
"""Seconds that a flow stays without a packet."""
REMEMBERED = 65_536
"""Connections whose server the application remembers."""
POOL = "PORTLB_BENCH_POOL"


def read() -> Iterator[int]:
    """The servers' ports, in turns."""
    return itertools.cycle(map(int, Path(os.environ[POOL]).read_text(encoding="ascii").split()))


class Balancer(RyuApp):
    """In turns."""

    OFP_VERSIONS = [ofproto_v1_3.OFP_VERSION]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.servers = read()
        self.chosen: dict[tuple[str, int], int] = {}
        signal.signal(signal.SIGHUP, self.again)

    def again(self, *_: object) -> None:
        """Another pool."""
        self.servers = read()

    def server(self, address: str, port: int) -> int:
        """The same one for what comes up again: packets do until the datapath has heard of the flows."""
        found = self.chosen.pop((address, port), None) or next(self.servers)
        self.chosen[address, port] = found
        if len(self.chosen) > REMEMBERED:
            del self.chosen[next(iter(self.chosen))]
        return found

    @set_ev_cls(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)
    def connected(self, event: Any) -> None:
        """Whatever is not known comes up."""
        switch = event.msg.datapath
        parser, ofp = switch.ofproto_parser, switch.ofproto
        up = [parser.OFPActionOutput(ofp.OFPP_CONTROLLER, ofp.OFPCML_NO_BUFFER)]
        self.add(switch, 0, parser.OFPMatch(), up, 0)

    def add(self, switch: Any, priority: int, match: Any, actions: list[Any], idle: int) -> None:
        """Add a flow."""
        parser, ofp = switch.ofproto_parser, switch.ofproto
        apply = [parser.OFPInstructionActions(ofp.OFPIT_APPLY_ACTIONS, actions)]
        values = {"priority": priority, "match": match, "instructions": apply, "idle_timeout": idle}
        switch.send_msg(parser.OFPFlowMod(switch, **values))

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def judge(self, event: Any) -> None:
        """The next server for a new connection."""
        message = event.msg
        switch = message.datapath
        parser, ofp = switch.ofproto_parser, switch.ofproto
        parsed = packet.Packet(message.data)
        address, segment = parsed.get_protocol(ipv4.ipv4), parsed.get_protocol(tcp.tcp)
        if address is None or segment is None or address.dst != VIP:
            return
        came, server = message.match["in_port"], self.server(address.src, segment.src_port)
        common = {"eth_type": 0x0800, "ip_proto": 6}
        there = {"ipv4_src": address.src, "ipv4_dst": VIP, "tcp_src": segment.src_port, "tcp_dst": segment.dst_port}
        back = {"ipv4_src": VIP, "ipv4_dst": address.src, "tcp_src": segment.dst_port, "tcp_dst": segment.src_port}
        out, home = [parser.OFPActionOutput(server)], [parser.OFPActionOutput(came)]
        self.add(switch, 10, parser.OFPMatch(in_port=server, **common, **back), home, IDLE)
        self.add(switch, 10, parser.OFPMatch(in_port=came, **common, **there), out, IDLE)
        values = {"buffer_id": ofp.OFP_NO_BUFFER, "in_port": came, "actions": out, "data": message.data}
        switch.send_msg(parser.OFPPacketOut(switch, **values))


if __name__ == "__main__":
    from ryu.cmd import manager

    os.environ[POOL] = sys.argv[3]
    listen = ["--ofp-listen-host", sys.argv[1], "--ofp-tcp-listen-port", sys.argv[2]]
    manager.main([*listen, "tests.bench.reactive"])
