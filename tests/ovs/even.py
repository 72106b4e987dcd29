"""How evenly a pool shares connections: SYNs through a real switch, counted by the server that each one reached."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from ipaddress import IPv4Address
from statistics import mean

from portlb_app import compiler
from portlb_app.config import Config, load
from portlb_app.net.packets import REDIRECT, TCP
from tests.net.network import SYN
from tests.ovs.bridge import Bridge
from tests.ovs.switch import Switch
from tests.support import generate, wire

VIP, PORT = IPv4Address("10.0.0.100"), 80
ENTRANCE, CONNECTOR = 1, 2
_PORTS = range(32768, 61000, 2)
"""The ports that Linux chooses for connections of its own."""


def mac(number: int) -> str:
    """The MAC address of a server; all of them are behind one connector, and the switch rewrites it."""
    return f"02:00:65:00:{number >> 8:02x}:{number & 0xFF:02x}"


def configuration(weights: Mapping[str, int]) -> Config:
    """A pool of servers with these weights."""
    vip = {
        "address": str(VIP),
        "mac": "02:00:00:00:00:64",
        "rewrite": "mac",
        "redirect_ports": {PORT: {"servers": list(weights)}},
    }
    servers = {
        name: {"vip": "web", "connector": f"s1:{CONNECTOR}", "mac": mac(number), "weight": weight}
        for number, (name, weight) in enumerate(weights.items())
    }
    switches = {"s1": {"dpid": 1, "network": ENTRANCE}}
    return load(generate.text({"switches": switches, "vips": {"web": vip}, "servers": servers}))


def syns(number: int, seed: int) -> list[bytes]:
    """SYNs with REDIRECT, each from a client and port of its own, as Linux chooses ports."""
    chance, frames, seen = random.Random(seed), [], set()
    while len(frames) < number:
        client, port = IPv4Address(chance.randrange(0x0B000000, 0x0BFFFFFF)), chance.choice(_PORTS)
        if (client, port) not in seen:
            seen.add((client, port))
            segment = wire.tcp_segment(client, VIP, port, PORT, b"", flags=SYN | REDIRECT)
            frames.append(wire.ethernet(4, wire.ip(client, VIP, TCP, segment)))
    return frames


def shares(switch: Switch, weights: Mapping[str, int], number: int, seeds: range) -> tuple[list[Counter[str]], int]:
    """How many of so many SYNs reached each server, for each seed; and how many datapath flows there were at most."""
    bridge = Bridge(switch, (ENTRANCE, CONNECTOR))
    try:
        (state,) = compiler.compile(configuration(weights)).values()
        bridge.install(state)
        name_of = {bytes.fromhex(mac(each).replace(":", "")): name for each, name in enumerate(weights)}
        counts, flows = [], 0
        for seed in seeds:
            got = bridge.send(ENTRANCE, syns(number, seed))
            counts.append(Counter(name_of[frame[:6]] for frame in got.get(CONNECTOR, ())))
            flows = max(flows, bridge.command("dpctl/dump-flows").count("recirc_id("))
    finally:
        bridge.close()
    return counts, flows


def ideal_fullest(servers: int, number: int, draws: int = 40) -> float:
    """The connections of the fullest of equal servers over their mean, if each connection draws its server by lot."""
    chance, fullest = random.Random("ideal"), []
    for _ in range(draws):
        drawn = Counter(chance.choices(range(servers), k=number))
        fullest.append(max(drawn.values()) * servers / number)
    return mean(fullest)
