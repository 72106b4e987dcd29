"""One switch, or a small tree, with a VIP whose pools are tried; and packets of all kinds of clients.

In the tree, clients come in at s1, which has servers a and b, and all others are at s2 behind a link.
"""

from __future__ import annotations

import contextlib
import random
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from portlb_app import compiler
from portlb_app.config import Config, Connector, load
from portlb_app.net.packets import REDIRECT, SCTP, TCP, UDP
from portlb_app.topology.conditions import AS_CONFIGURED, Conditions
from tests.net.network import SYN
from tests.ovs.bridge import Bridge
from tests.ovs.controller import ControllerProcess
from tests.ovs.switch import Switch
from tests.support import generate, wire

Address = IPv4Address | IPv6Address
VIPS: Mapping[int, Address] = {4: IPv4Address("10.0.0.100"), 6: IPv6Address("fd00::100")}
ENTRANCE, LINK, ACK = 1, 21, 0x10
TREE = {"a": "s1", "b": "s1", "c": "s2", "d": "s2"}


@dataclass
class Network:
    """One switch, or two that are linked, and what its servers get."""

    text: str
    config: Config
    bridges: Mapping[str, Bridge]

    def control(self, controller: ControllerProcess) -> None:
        """Let a controller bring the switches to their tables."""
        for bridge in self.bridges.values():
            bridge.switch.vsctl("set-controller", bridge.name, controller.target)
        for name in self.bridges:
            controller.wait_for_state(name, "synced")

    def install(self, conditions: Conditions = AS_CONFIGURED) -> None:
        """Give the switches their tables."""
        for name, state in compiler.compile(self.config, conditions).items():
            self.bridges[name].install(state)

    def send(self, frames: Iterable[bytes]) -> list[tuple[str, bytes]]:
        """Receive frames on the network side; which server got which."""
        name_of = {server.connector: server.name for server in self.config.servers}
        got: list[tuple[str, bytes]] = []
        sent = list(frames)
        first = self.bridges["s1"].send(ENTRANCE, sent)
        got += [(name_of[Connector("s1", port)], each) for port, some in first.items() if port != LINK for each in some]
        for name in set(self.bridges) - {"s1"}:
            for _ in range(1000):
                found = self.bridges[name].collect()
                got += [(name_of[Connector(name, port)], each) for port, some in found.items() for each in some]
                if len(got) >= len(sent):
                    break
        assert len(got) == len(sent), "each arrives once"
        return got


Make = Callable[..., Network]


@contextlib.contextmanager
def networks(switch: Switch, is_tree: bool) -> Iterator[Make]:
    """Makes networks whose VIP has these redirect ports, and removes their bridges."""
    made: list[Bridge] = []
    switches = ("s1", "s2") if is_tree else ("s1",)

    def make(
        ports: Mapping[int, dict[str, Any]], servers: Iterable[str] = "abcd", applications: Iterable[int] = ()
    ) -> Network:
        names = list(servers)
        home = {name: TREE.get(name, "s2") if len(switches) > 1 else "s1" for name in names}
        bridges = {}
        for name in switches:
            mine = [30 + names.index(each) for each in names if home[each] == name]
            bridges[name] = Bridge(switch, [*mine, *([ENTRANCE] if name == "s1" else [])])
            made.append(bridges[name])
        data: dict[str, Any] = {
            "switches": {name: {"dpid": 0x100 + int(bridge.name[2:])} for name, bridge in bridges.items()},
            "links": [["s1:21", "s2:21"]] * (len(switches) - 1),
            "vips": {
                "web": {
                    "address": [str(each) for each in VIPS.values()],
                    "mac": "02:00:00:00:00:64",
                    "redirect_ports": dict(ports),
                }
            },
            "servers": {
                name: {
                    "vip": "web",
                    "connector": f"{home[name]}:{number}",
                    "service_ports": [
                        {"port": 100 * number + place, "application": port} for place, port in enumerate(applications)
                    ],
                }
                for number, name in enumerate(names, 30)
            },
        }
        data["switches"]["s1"]["network"] = ENTRANCE
        text = generate.text(data)
        if len(switches) > 1:
            ends = [f"{bridge.name}x" for bridge in bridges.values()]
            for bridge, mine_, other in zip(bridges.values(), ends, ends[::-1], strict=True):
                patch = ("type=patch", f"options:peer={other}", f"ofport_request={LINK}")
                switch.vsctl("add-port", bridge.name, mine_, "--", "set", "interface", mine_, *patch)
        return Network(text, load(text), bridges)

    try:
        yield make
    finally:
        for bridge in made:
            bridge.close()


def packet(
    client: Address, sport: int, dport: int = 80, protocol: int = TCP, flags: int = SYN | REDIRECT, dscp: int = 0
) -> bytes:
    """A client's packet to the VIP."""
    vip = VIPS[client.version]
    segment = {
        TCP: lambda: wire.tcp_segment(client, vip, sport, dport, b"", flags=flags),
        UDP: lambda: struct.pack("!HHHH", sport, dport, 8, 0),
        SCTP: lambda: struct.pack("!HHII", sport, dport, 7, 0),
    }[protocol]()
    ip = bytearray(wire.ip(client, vip, protocol, segment))
    if client.version == 4:
        ip[1] = dscp << 2
        ip[10:12] = bytes(2)
        ip[10:12] = struct.pack("!H", wire.checksum(bytes(ip[:20])))
    else:
        ip[0:2] = (6 << 12 | dscp << 6).to_bytes(2, "big")
    return wire.ethernet(client.version, bytes(ip))


def clients(number: int, version: int) -> list[Address]:
    """Clients of all kinds of networks."""
    chance = random.Random(number * version)
    if version == 4:
        return [IPv4Address(chance.randrange(0x0B000000, 0x0BFFFFFF)) for _ in range(number)]
    return [IPv6Address(0x20010DB8 << 96 | chance.getrandbits(96)) for _ in range(number)]
