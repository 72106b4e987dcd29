"""Random valid configurations and random packets, from a seeded generator: the same seed gives the same ones.

Ports, flags and addresses are drawn from few values that meet often, with the edges among them, so that a thousand
packets try every policy on every kind of port.
"""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from random import Random
from typing import Any

from portlb_app.config import Address, Config, Rewrite, Server, Switch, Vip, load
from tests.support.reference import ICMP, ICMPV6, LOCAL, SCTP, TCP, UDP, Arp, Ip, Nd, Packet, Punted

CONNECTORS = tuple(range(1, 13))
"""OpenFlow ports a random configuration may use; a bridge for it has all of them."""
PORTS = (1, 2, 3, 5, 7, 20, 21, 22, 80, 443, 444, 32768, 65534, 65535)
FLAGS = (0x002, 0x802, 0x402, 0xC02, 0x012, 0x812, 0x412, 0x010, 0x810, 0x410, 0x018, 0x818, 0x011, 0x004, 0x804, 0x014)
ODD_FLAGS = (0x000, 0x800, 0x400, 0x200, 0x7FF, 0xFFF, 0x0C2, 0x1C2, 0x003)
ASKS = bytes.fromhex("0101fd0652508000")
"""REDIRECT_OPT without a port, asking for a redirect (docs/protocol.md)."""
DATAPATHS = ("userspace", "userspace", "kernel")
ICMP_TYPES = {4: (0, 3, 4, 5, 8, 11, 12, 13, 255), 6: (0, 1, 2, 3, 4, 5, 127, 128, 129, 130, 133, 134, 137, 143, 255)}
OTHER_PROTOCOLS = {4: (2, 4, 41, 47, 50, 58, 89, 136, 255), 6: (1, 2, 4, 41, 47, 89, 136, 255)}
HOPS = (255,) * 8 + (254, 64, 1)
LABELS = (1, 0x12345, 0x7FFFF, 0x80000, 0xFFFFE, 0xFFFFF)
"""Flow labels that servers may have."""
CLIENT_MAC = 0x020000000001
GATEWAY_MAC = 0x0200000000AA
NOBODYS_MAC = 0x0200000000EE
CLIENTS = {
    4: tuple(map(IPv4Address, ("10.0.0.1", "192.0.2.7", "198.51.100.200", "0.0.0.0"))),
    6: tuple(map(IPv6Address, ("fd00::1", "2001:db8::7", "fe80::1", "::"))),
}


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
    for number, switch in enumerate(data["switches"].values()):
        if random.random() < 0.3:
            switch["address"] = [f"10.0.0.{20 + number}", f"fd00::{20 + number}"][:: random.choice((1, 2))]
    for number, vip in enumerate(random.sample(("web", "dns", "x.1", "B"), random.choice((1, 1, 2, 3)))):
        _add_vip(random, data, vip, number, network)
    return data


def _add_vip(random: Random, data: dict[str, Any], vip: str, number: int, network: dict[str, int]) -> None:
    switch = random.choice(list(network))
    names = [f"{vip}-{letter}" for letter in "abcdef"][: random.choice((0, 1, 2, 3, 3, 4, 4, 6))]
    unowned = list(PORTS)
    random.shuffle(unowned)
    mac = f"02:00:64:00:00:{random.choice((number, number, 0)):02x}"
    versions = random.choice(((4,), (4,), (6,), (4, 6)))
    addresses = [{4: f"10.0.0.{100 + number}", 6: f"fd00::{100 + number}"}[version] for version in versions]
    entry: dict[str, Any] = {"address": addresses if len(addresses) > 1 else addresses[0], "mac": mac}
    rewrite = random.choice(("nothing", "nothing", "mac", "address"))
    if rewrite != "nothing" or random.random() < 0.5:
        entry["rewrite"] = rewrite
    connectors = _connectors(random, len(names), network[switch], rewrite)
    if network[switch] in connectors and rewrite == "address" or rewrite != "nothing" and random.random() < 0.3:
        entry["gateway"] = mac_text(GATEWAY_MAC)
    behind = rewrite == "address" and random.random() < 0.3
    for position, (name, connector) in enumerate(zip(names, connectors, strict=True)):
        owned = [_service_port(random, unowned.pop()) for _ in range(random.choice((0, 1, 1, 2)))]
        server = {"vip": vip, "connector": f"{switch}:{connector}", "service_ports": owned}
        own = _own(random, number, position, rewrite, versions)
        if behind:
            own |= {"mac": f"02:00:65:00:{number:02x}:{connector:02x}"}
            own |= {"router": [{4: f"10.9.{number}.{connector}", 6: f"fd09::{number}:{connector}"}[v] for v in (4, 6)]}
        data["servers"][name] = server | own
        data["servers"][name] |= _other_names(random, number, position, rewrite, versions, connector == network[switch])
    if names and random.random() < 0.7:
        entry["default_server"] = random.choice(names)
        if random.random() < 0.7:
            entry["default_for"] = random.choice(("unknown_ports", "plain_unknown_ports", "plain_clients"))
    owned_ports = set(PORTS) - set(unowned)
    pools: dict[int, dict[str, Any]] = {}
    for port in random.sample(PORTS, random.choice((0, 1, 2, 3, 4))):
        pools[port] = {"servers": random.sample(names, min(len(names), random.choice((0, 1, 2, 2, 3, 4, 6))))}
        policies = ["balance", "drop", "pin", None, None]
        policies += ["owner"] * 2 * (port in owned_ports) + ["default"] * 2 * ("default_server" in entry)
        if policy := random.choice(policies):
            pools[port]["legacy"] = policy
        if random.random() < 0.2:
            pools[port]["quality"] = _quality(random)
        if policy == "pin" and random.random() < 0.5:
            pools[port]["pin"] = {"idle": random.choice((1, 300, 65535)), "connections": random.choice((1, 1 << 20))}
        if policy in ("balance", "drop", "pin") and random.random() < (0.9 if policy == "drop" else 0.4):
            pools[port]["signal"] = random.choice(("flag", "option", "option"))
    entry["redirect_ports"] = pools
    default = ["default"] * ("default_server" in entry)
    if random.random() < 0.7:
        other = ["replicate", *default] * (rewrite != "address")
        entry["icmp"] = {"errors": random.choice(("owner", "owner", "owner", "drop", *other))}
        if entry["icmp"]["errors"] == "owner" and random.random() < 0.7:
            entry["icmp"]["unknown"] = random.choice(("drop", "any", "any", *default))
    targets = ["balance", "drop", *default, *names]
    if random.random() < 0.5:
        icmp = entry.setdefault("icmp", {})
        icmp["echo"] = random.choice(["answer", "answer", *targets])
        if random.random() < 0.7:
            icmp["types"] = {icmp_type: random.choice(targets) for icmp_type in random.sample((0, 4, 5, 13, 255), 2)}
            icmp["types6"] = {icmp_type: random.choice(targets) for icmp_type in random.sample((0, 5, 127, 129), 2)}
        if random.random() < 0.5:
            icmp["other"] = random.choice(targets)
    if random.random() < 0.7:
        entry["fragments"] = random.choice(("track", "track", "track", "replicate", "drop", *default))
        if entry["fragments"] == "track" and random.random() < 0.7:
            entry["unknown_fragments"] = random.choice(("drop", *default))
    if random.random() < 0.5:
        entry["log"] = random.random() < 0.8
    data["vips"][vip] = entry


def _connectors(random: Random, number: int, network: int, rewrite: str) -> list[int]:
    """One connector each; where something is rewritten, also shared ones, or the network side itself."""
    free = [port for port in CONNECTORS if port != network]
    if rewrite == "nothing" or random.random() < 0.5:
        return random.sample(free, number)
    if random.random() < 0.5:
        return [network] * number
    return [random.choice(free[:2]) for _ in range(number)]


def _own(random: Random, number: int, position: int, rewrite: str, versions: tuple[int, ...]) -> dict[str, Any]:
    """What a server has of its own in each mode."""
    mac = {"mac": f"02:00:65:00:{number:02x}:{0x80 + position:02x}"}
    address = {4: f"10.1.{number}.{position}", 6: f"fd01::{number}:{position}"}
    if rewrite == "mac":
        return mac
    if rewrite == "address":
        return mac | {"address": [address[version] for version in versions]}
    if random.random() < 0.5:
        return {}
    return mac | {"address": [address[version] for version in random.choice(((4,), (6,), (4, 6)))]}


def _other_names(
    random: Random, number: int, position: int, rewrite: str, versions: tuple[int, ...], one_armed: bool
) -> dict[str, Any]:
    """What names a server beside its ports (X1, X2, X3); most have none."""
    names: dict[str, Any] = {}
    if random.random() < 0.3:
        address = {4: f"10.0.2.{16 * number + position}", 6: f"fd00::2:{number}:{position}"}
        names["service_address"] = [address[version] for version in random.choice((versions, versions[:1]))]
    if random.random() < 0.3 and rewrite != "address" and not one_armed:
        names["service_mac"] = f"02:00:66:00:{number:02x}:{position:02x}"
    if random.random() < 0.4 and 6 in versions:
        names["service_label"] = LABELS[position]
    return names


def _service_port(random: Random, port: int) -> Any:
    long_form = random.choice(({"port": port}, {"port": port, "application": 1000 + port % 50}))
    return random.choice((port, long_form, long_form | {"quality": _quality(random)}))


def _quality(random: Random) -> dict[str, int]:
    """A queue, and a rate that no test exceeds."""
    return random.choice(({"queue": 7}, {"rate": 1 << 30}, {"queue": 1, "rate": (1 << 32) - 1}, {}))


def mac_text(mac: int) -> str:
    """The usual form of a MAC address."""
    return mac.to_bytes(6, "big").hex(":")


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
    local = [server for server in config.servers if server.connector.switch == switch.name]
    mine = [server for server in local if server.vip == vip.name]
    sender = random.choice(mine or local) if local and random.random() < 0.35 else None
    in_port = sender.connector.port if sender else switch.network
    if random.random() < 0.04:
        in_port = random.choice((*CONNECTORS, 13, LOCAL))
    version = random.choice(vip.addresses).version if random.random() < 0.97 else random.choice((4, 6))
    named = [server.service_mac for server in mine if server.service_mac is not None]
    macs = [vip.mac, vip.mac ^ 1, *(server.mac for server in mine if server.mac is not None), *named]
    mac = _mac(vip, sender) if sender and random.random() < 0.9 else random.choice((CLIENT_MAC, CLIENT_MAC, *macs))
    names = _names(random, config, vip, sender, mine, version)
    other = random.choice(CLIENTS[version]) if random.random() < 0.9 else random.choice(names)
    ours = random.choice(names) if random.random() < 0.95 else random.choice(CLIENTS[version])
    source, destination = (ours, other) if sender else (other, ours)
    if random.random() < 0.05:
        own = [address for address in switch.addresses if address.version == version]
        destination = random.choice(own or [destination])
    if sender and sender.addresses and vip.rewrite is Rewrite.NOTHING and random.random() < 0.3:
        mac = sender.mac or mac
        own = [address for server in mine for address in (*server.addresses, _local(server.mac))]
        destination = random.choice([address for address in own if address.version == version] or [destination])
    draw = random.random()
    payload: Arp | Nd | Ip | None
    if draw < 0.02:
        payload = None
    elif draw < 0.12:
        says = mac if random.random() < 0.85 else random.choice((*macs, CLIENT_MAC))
        payload = _question(random, says, source, destination)
    else:
        payload = _ip(random, config, vip, source, destination)
    if sender and sender.service_mac is not None and random.random() < 0.3:
        mac = sender.service_mac
    own = [server.mac for server in mine if server.mac is not None] if isinstance(payload, Nd) else []
    eth_dst = random.choice((NOBODYS_MAC, vip.mac, vip.mac, *named, *own))
    return Packet(in_port, mac, payload, eth_dst)


def _mac(vip: Vip, sender: Server) -> int:
    return sender.mac if vip.rewrite is not Rewrite.NOTHING and sender.mac is not None else vip.mac


def _local(mac: int | None) -> Address:
    """EUI-64 link-local address (RFC 4291, appendix A); of odd MAC addresses one made otherwise (RFC 7217)."""
    if mac is None:
        return CLIENTS[6][0]
    if mac % 2:
        return ip_address(0xFE80 << 112 | mac * 0x9E37_79B9_7F4A_7C15 % (1 << 64))
    text = (mac ^ 0x020000000000).to_bytes(6, "big").hex()
    return ip_address(f"fe80::{text[:4]}:{text[4:6]}ff:fe{text[6:8]}:{text[8:]}")


def _names(
    random: Random, config: Config, vip: Vip, sender: Server | None, mine: list[Server], version: int
) -> list[Address]:
    """Addresses the load balancer and its servers have, those that matter most often."""
    names: list[Address] = [*vip.addresses] * 6
    for server in [sender] * 4 + mine if sender else mine:
        own = (*server.addresses, *server.routers, *((_local(server.mac),) if server.mac else ()))
        names += list(server.service_addresses) * 3
        repeat = 4 if vip.rewrite is Rewrite.ADDRESS and server is sender else 1
        names += list(own) * repeat
    names += [_local(vip.mac), *random.choice(config.vips).addresses]
    return [name for name in names if name.version == version] or list(CLIENTS[version])


def _question(random: Random, says: int, source: Address, destination: Address) -> Arp | Nd:
    if isinstance(source, IPv4Address):
        assert isinstance(destination, IPv4Address)
        return Arp(random.choice((1, 1, 1, 2, 2, 3, 8)), says, source, destination)
    assert isinstance(destination, IPv6Address)
    if random.random() < 0.6:
        low = int(destination) & 0xFFFFFF
        group = IPv6Address(int(IPv6Address("ff02::1:ff00:0")) | low)
        option = says if int(source) and random.random() < 0.9 else None
        return Nd(135, source, random.choice((group, destination)), destination, option, random.choice(HOPS))
    about = source if random.random() < 0.8 else destination
    return Nd(136, source, destination, about, random.choice((says, says, None)), random.choice(HOPS))


def _ip(random: Random, config: Config, vip: Vip, source: Address, destination: Address) -> Ip:
    labels = [server.service_label for server in config.servers_of(vip) if server.service_label is not None] * 4
    known = [*config.owners(vip), *2 * [pool.port for pool in vip.redirect_ports]]
    edges = [0, *PORTS, *(port ^ 1 for port in known), random.randrange(65536)]
    version = source.version

    def port() -> int:
        return random.choice(known) if known and random.random() < 0.8 else random.choice(edges)

    icmp = {4: ICMP, 6: ICMPV6}[version]
    return Ip(
        source=source,
        destination=destination,
        protocol=random.choice(
            (*[TCP] * 12, *[UDP] * 5, SCTP, SCTP, *[icmp] * 3, random.choice(OTHER_PROTOCOLS[version]))
        ),
        fragment=random.choice((*["no"] * 10, "first", "later")),  # type: ignore[arg-type]
        source_port=port(),
        destination_port=port(),
        tcp_flags=random.choice(FLAGS if random.random() < 0.85 else (*ODD_FLAGS, random.randrange(4096))),
        icmp_type=random.choice(ICMP_TYPES[version]),
        asks=random.random() < 0.5,
        quoted=_quoted(random, config, vip, source, destination),
        label=random.choice((0, *LABELS, random.randrange(1 << 20), *labels)) if version == 6 else 0,
    )


def _quoted(random: Random, config: Config, vip: Vip, source: Address, destination: Address) -> tuple[Address, Address]:
    """What an ICMP error says it is about: a packet between the error's ends, or from or to a service address."""
    server = next((each for each in config.servers_of(vip) if source in (*each.addresses, *each.routers)), None)
    known = (server,) if server else config.servers_of(vip)
    named = [name for each in known for name in each.service_addresses if name.version == source.version]
    if not named or random.random() < 0.7:
        return destination, source
    return (destination, random.choice(named)) if server else (random.choice(named), source)


def about_a_server(config: Config, packet: Packet, punted: Punted) -> tuple[Packet, Punted]:
    """A router's error, made to quote a client's packet to a server behind it; other packets as they are."""
    ip = packet.payload
    if punted.vip is not None or not isinstance(ip, Ip):
        return packet, punted
    server = next(each for each in config.servers if ip.source in each.routers)
    own = next(address for address in server.addresses if address.version == ip.source.version)
    if ip.quoted and ip.quoted[1] in server.service_addresses:
        own = ip.quoted[1]
    return replace(packet, payload=replace(ip, quoted=(ip.destination, own))), replace(punted, vip=server.vip)


# --- packets as bytes -------------------------------------------------------------------------------------------------


def frame(packet: Packet, data: bytes = b"portlb") -> bytes:
    """The packet on the wire. A later fragment carries what looks like a header, to fool who reads ports from it."""
    ethernet = packet.eth_dst.to_bytes(6, "big") + packet.eth_src.to_bytes(6, "big")
    payload = packet.payload
    if payload is None:
        return ethernet + struct.pack("!H", 0x88CC) + data.ljust(46, b"\0")
    if isinstance(payload, Arp):
        head = struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, payload.operation)
        sender = payload.sender_mac.to_bytes(6, "big") + payload.sender.packed
        return ethernet + head + sender + payload.target_mac.to_bytes(6, "big") + payload.target.packed
    if isinstance(payload, Nd):
        return ethernet + b"\x86\xdd" + _nd(payload)
    addresses = payload.source.packed + payload.destination.packed
    above = _transport(payload, bytes(len(addresses)) if payload.fragment == "later" else addresses, data)
    if isinstance(payload.source, IPv6Address):
        return ethernet + b"\x86\xdd" + _ip6(payload, addresses, above)
    offset = {"no": 0, "first": 0x2000, "later": 185}[payload.fragment]
    length = 20 + len(above)
    head = struct.pack("!BBHHHBBH", 0x45, 0, length, 0x1234, offset, 64, payload.protocol, 0) + addresses
    head = head[:10] + checksum(head) + head[12:]
    return ethernet + b"\x08\x00" + head + above


def _ip6(ip: Ip, addresses: bytes, above: bytes) -> bytes:
    if ip.fragment == "no":
        return struct.pack("!IHBB", 6 << 28 | ip.label, len(above), ip.protocol, 64) + addresses + above
    offset = {"first": 1, "later": 184 << 3}[ip.fragment]
    extension = struct.pack("!BBHI", ip.protocol, 0, offset, 0x1234)
    return struct.pack("!IHBB", 6 << 28 | ip.label, 8 + len(above), 44, 64) + addresses + extension + above


def _nd(nd: Nd) -> bytes:
    """RFC 4861, 4.3 and 4.4; the option's type tells whose address it is."""
    option = b"" if nd.option is None else bytes((nd.kind - 134, 1)) + nd.option.to_bytes(6, "big")
    whole = struct.pack("!BBHI", nd.kind, 0, 0, 0) + nd.target.packed + option
    addresses = nd.source.packed + nd.destination.packed
    whole = whole[:2] + checksum(addresses + struct.pack("!IHBB", len(whole), 0, 0, ICMPV6) + whole) + whole[4:]
    return struct.pack("!IHBB", 6 << 28, len(whole), ICMPV6, nd.hops) + addresses + whole


def _transport(ip: Ip, addresses: bytes, data: bytes) -> bytes:
    ports = struct.pack("!HH", ip.source_port, ip.destination_port)
    if ip.protocol in (ICMP, ICMPV6):
        quote = _quote(ip, ports[2:] + ports[:2])
        whole = struct.pack("!BBHI", ip.icmp_type, 0, 0, 0) + quote + data
        pseudo = _pseudo(ip, addresses, whole) if ip.protocol == ICMPV6 and ip.source.version == 6 else whole
        return whole[:2] + checksum(pseudo) + whole[4:]
    if ip.protocol == UDP:
        whole = ports + struct.pack("!HH", 8 + len(data), 0) + data
        return whole[:6] + checksum(_pseudo(ip, addresses, whole)) + whole[8:]
    if ip.protocol == SCTP:
        return ports + struct.pack("!II", 7, 0) + data
    option = ASKS if ip.asks and ip.protocol == TCP else b""
    words = 5 + len(option) // 4
    whole = ports + struct.pack("!IIHHHH", 1, 2, words << 12 | ip.tcp_flags, 0xFFFF, 0, 0) + option + data
    if ip.protocol != TCP:
        return whole
    return whole[:16] + checksum(_pseudo(ip, addresses, whole)) + whole[18:]


def _quote(ip: Ip, ports: bytes) -> bytes:
    """What an ICMP error quotes: a UDP packet on the way back, its IP header and eight bytes."""
    source, destination = ip.quoted or (ip.destination, ip.source)
    addresses = source.packed + destination.packed
    if ip.source.version == 6:
        return struct.pack("!IHBB", 6 << 28 | ip.label, 8, UDP, 64) + addresses + ports + bytes(4)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 28, 0, 0x4000, 64, UDP, 0) + addresses
    return head[:10] + checksum(head) + head[12:] + ports + bytes(4)


def _pseudo(ip: Ip, addresses: bytes, whole: bytes) -> bytes:
    if isinstance(ip.source, IPv6Address):
        return addresses + struct.pack("!IHBB", len(whole), 0, 0, ip.protocol) + whole
    return addresses + struct.pack("!BBH", 0, ip.protocol, len(whole)) + whole


def checksum(data: bytes) -> bytes:
    """The Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
