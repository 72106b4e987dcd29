"""Random valid configurations and random packets, from a seeded generator: the same seed gives the same ones.

Ports, flags and addresses are drawn from few values that meet often, with the edges among them, so that a thousand
packets try every policy on every kind of port.
"""

from __future__ import annotations

import json
import struct
from ipaddress import IPv4Address
from random import Random
from typing import Any

from portlb_app.config import Config, Switch, Vip, load
from tests.reference import ICMP, TCP, UDP, Arp, Ip, Packet

CONNECTORS = tuple(range(1, 13))
"""OpenFlow ports a random configuration may use; a bridge for it has all of them."""
PORTS = (1, 2, 3, 5, 7, 20, 21, 22, 80, 443, 444, 32768, 65534, 65535)
FLAGS = (0x002, 0x802, 0x402, 0xC02, 0x012, 0x812, 0x412, 0x010, 0x810, 0x410, 0x018, 0x818, 0x011, 0x004, 0x804, 0x014)
ODD_FLAGS = (0x000, 0x800, 0x400, 0x200, 0x7FF, 0xFFF, 0x0C2, 0x1C2, 0x003)
ICMP_TYPES = (0, 3, 4, 5, 8, 11, 12, 13, 255)
OTHER_PROTOCOLS = (0, 2, 4, 41, 47, 50, 58, 89, 132, 136, 255)
ASKS = bytes.fromhex("0101fd0652508000")
"""REDIRECT_OPT without a port, asking for a redirect (docs/protocol.md)."""
DATAPATHS = ("userspace", "userspace", "userspace", "userspace", "kernel")
CLIENT_MAC = 0x020000000001
CLIENTS = tuple(map(IPv4Address, ("10.0.0.1", "192.0.2.7", "198.51.100.200", "0.0.0.0")))


def settings(random: Random) -> dict[str, Any]:
    """The data of a random valid ``lb.yaml``."""
    switches = ["s1", "s2"][: random.choice((1, 1, 2))]
    network = {name: random.choice(CONNECTORS) for name in switches}
    data: dict[str, Any] = {
        "switches": {
            name: {"dpid": number, "network": network[name], "datapath": random.choice(DATAPATHS)}
            for number, name in enumerate(switches, 1)
        },
        "vips": {},
        "servers": {},
    }
    for number, vip in enumerate(random.sample(("web", "dns", "x.1", "B"), random.choice((1, 1, 2, 3)))):
        _add_vip(random, data, vip, number, network)
    return data


def _add_vip(random: Random, data: dict[str, Any], vip: str, number: int, network: dict[str, int]) -> None:
    switch = random.choice(list(network))
    free = [port for port in CONNECTORS if port != network[switch]]
    names = [f"{vip}-{letter}" for letter in "abcdef"][: random.choice((0, 1, 2, 3, 3, 4, 4, 6))]
    unowned = list(PORTS)
    random.shuffle(unowned)
    for name, connector in zip(names, random.sample(free, len(names)), strict=True):
        owned = [_service_port(random, unowned.pop()) for _ in range(random.choice((0, 1, 1, 2)))]
        data["servers"][name] = {"vip": vip, "connector": f"{switch}:{connector}", "service_ports": owned}
    mac = f"02:00:64:00:00:{random.choice((number, number, 0)):02x}"
    entry: dict[str, Any] = {"address": f"10.0.0.{100 + number}", "mac": mac}
    if names and random.random() < 0.7:
        entry["default_server"] = random.choice(names)
        if random.random() < 0.7:
            entry["default_for"] = random.choice(("unknown_ports", "plain_unknown_ports", "plain_clients"))
    owned_ports = set(PORTS) - set(unowned)
    pools: dict[int, dict[str, Any]] = {}
    for port in random.sample(PORTS, random.choice((0, 1, 2, 3, 4))):
        pools[port] = {"servers": random.sample(names, min(len(names), random.choice((0, 1, 2, 2, 3, 4, 6))))}
        policies = ["balance", "drop", None, None]
        policies += ["owner"] * 2 * (port in owned_ports) + ["default"] * 2 * ("default_server" in entry)
        if policy := random.choice(policies):
            pools[port]["legacy"] = policy
        if policy in ("balance", "drop") and random.random() < 0.4:
            pools[port]["signal"] = random.choice(("flag", "option", "option"))
    entry["redirect_ports"] = pools
    default = ["default"] * ("default_server" in entry)
    if random.random() < 0.7:
        entry["icmp"] = {"errors": random.choice(("owner", "owner", "owner", "replicate", "drop", *default))}
        if entry["icmp"]["errors"] == "owner" and random.random() < 0.7:
            entry["icmp"]["unknown"] = random.choice(("drop", "any", *default))
    if random.random() < 0.7:
        entry["fragments"] = random.choice(("track", "track", "track", "replicate", "drop", *default))
        if entry["fragments"] == "track" and random.random() < 0.7:
            entry["unknown_fragments"] = random.choice(("drop", *default))
    data["vips"][vip] = entry


def _service_port(random: Random, port: int) -> Any:
    return random.choice((port, {"port": port}, {"port": port, "application": 1000 + port % 50}))


def shuffled(random: Random, data: Any) -> Any:
    """The same settings with every mapping and every pool in another order."""
    if isinstance(data, dict):
        keys = list(data)
        random.shuffle(keys)
        return {key: shuffled(random, data[key]) for key in keys}
    if isinstance(data, list) and all(isinstance(item, str) for item in data):
        return random.sample(data, len(data))
    return [shuffled(random, item) for item in data] if isinstance(data, list) else data


def configuration(random: Random) -> Config:
    """A random valid configuration."""
    return load(json.dumps(settings(random)))


def text(data: Any) -> str:
    """Settings as the text of a file."""
    return json.dumps(data)


def packet(random: Random, config: Config, switch: Switch) -> Packet:
    """A random packet for a switch, most of them to or from its VIPs."""
    here = [vip for vip in config.vips if any(each.connector.switch == switch.name for each in config.servers_of(vip))]
    vip = random.choice(here if here and random.random() < 0.9 else config.vips)
    local = [server.connector.port for server in config.servers if server.connector.switch == switch.name]
    from_server = bool(local) and random.random() < 0.3
    mine = [server.connector.port for server in config.servers_of(vip) if server.connector.switch == switch.name]
    in_port = random.choice(mine or local) if from_server else switch.network
    if random.random() < 0.04:
        in_port = random.choice((*CONNECTORS, 13))
    ours = vip.address if random.random() < 0.93 else random.choice(CLIENTS)
    theirs = random.choice(CLIENTS) if random.random() < 0.95 else random.choice(config.vips).address
    source, destination = (ours, theirs) if from_server else (theirs, ours)
    mac = vip.mac if from_server and random.random() < 0.9 else random.choice((CLIENT_MAC, vip.mac ^ 1))
    draw = random.random()
    payload: Arp | Ip | None
    if draw < 0.02:
        payload = None
    elif draw < 0.1:
        sender_mac = vip.mac if from_server and random.random() < 0.8 else random.choice((mac, vip.mac ^ 1))
        payload = Arp(random.choice((1, 1, 1, 2, 2, 3, 8)), sender_mac, source, destination)
    else:
        payload = _ip(random, config, vip, source, destination)
    return Packet(in_port, mac, payload)


def _ip(random: Random, config: Config, vip: Vip, source: IPv4Address, destination: IPv4Address) -> Ip:
    known = [*config.owners(vip), *2 * [pool.port for pool in vip.redirect_ports]]
    edges = [0, *PORTS, *(port ^ 1 for port in known), random.randrange(65536)]

    def port() -> int:
        return random.choice(known) if known and random.random() < 0.8 else random.choice(edges)

    return Ip(
        source=source,
        destination=destination,
        protocol=random.choice((*[TCP] * 12, *[UDP] * 6, *[ICMP] * 3, random.choice(OTHER_PROTOCOLS))),
        fragment=random.choice((*["no"] * 10, "first", "later")),  # type: ignore[arg-type]
        source_port=port(),
        destination_port=port(),
        tcp_flags=random.choice(FLAGS if random.random() < 0.85 else (*ODD_FLAGS, random.randrange(4096))),
        icmp_type=random.choice(ICMP_TYPES),
        asks=random.random() < 0.5,
    )


# --- packets as bytes -------------------------------------------------------------------------------------------------


def frame(packet: Packet, eth_dst: int = 0x0200000000FE, data: bytes = b"portlb") -> bytes:
    """The packet on the wire. A later fragment carries what looks like a header, to fool who reads ports from it."""
    ethernet = eth_dst.to_bytes(6, "big") + packet.eth_src.to_bytes(6, "big")
    payload = packet.payload
    if payload is None:
        return ethernet + struct.pack("!HIHBB", 0x86DD, 6 << 28, 0, 59, 64) + bytes(15) + b"\1" + bytes(15) + b"\2"
    if isinstance(payload, Arp):
        head = struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, payload.operation)
        sender = payload.sender_mac.to_bytes(6, "big") + payload.sender.packed
        return ethernet + head + sender + bytes(6) + payload.target.packed
    addresses = payload.source.packed + payload.destination.packed
    above = _transport(payload, addresses, data)
    offset = {"no": 0, "first": 0x2000, "later": 185}[payload.fragment]
    length = 20 + len(above)
    head = struct.pack("!BBHHHBBH", 0x45, 0, length, 0x1234, offset, 64, payload.protocol, 0) + addresses
    head = head[:10] + checksum(head) + head[12:]
    return ethernet + b"\x08\x00" + head + above


def _transport(ip: Ip, addresses: bytes, data: bytes) -> bytes:
    ports = struct.pack("!HH", ip.source_port, ip.destination_port)
    if ip.protocol == ICMP:
        addresses = ip.destination.packed + ip.source.packed
        quote = bytes.fromhex("4500001c0000400040060000") + addresses + ports[2:] + ports[:2] + bytes(4)
        whole = struct.pack("!BBHI", ip.icmp_type, 0, 0, 0) + quote + data
        return whole[:2] + checksum(whole) + whole[4:]
    if ip.protocol == UDP:
        whole = ports + struct.pack("!HH", 8 + len(data), 0) + data
        return whole[:6] + checksum(_pseudo(ip, addresses, whole)) + whole[8:]
    option = ASKS if ip.asks and ip.protocol == TCP else b""
    words = 5 + len(option) // 4
    whole = ports + struct.pack("!IIHHHH", 1, 2, words << 12 | ip.tcp_flags, 0xFFFF, 0, 0) + option + data
    if ip.protocol != TCP:
        return whole
    return whole[:16] + checksum(_pseudo(ip, addresses, whole)) + whole[18:]


def _pseudo(ip: Ip, addresses: bytes, whole: bytes) -> bytes:
    return addresses + struct.pack("!BBH", 0, ip.protocol, len(whole)) + whole


def checksum(data: bytes) -> bytes:
    """The Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
