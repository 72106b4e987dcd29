"""Mutated frames through the packet-in path: judged, answered, encoded, logged; nothing raises, and memory is bounded.

    python -m tests.soak.punt --frames 1000000 --seconds 600

Every frame is one a switch could hand up, with bytes changed, cut off, doubled or added: ICMP errors with quotes,
fragments, SYNs with options, copies of segments, servers' errors and fragments, and noise. It goes the whole way
through pure code: a packet-in message is read, the packet is judged, what a switch shall do is made into messages.
"""

from __future__ import annotations

import argparse
import json
import resource
import struct
import sys
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from random import Random

from portlb_app.config import load
from portlb_app.openflow.limits import LARGEST_FRAME, MESSAGE
from portlb_app.pipeline import HANDED_UP, SLOTS, Reason, make_cookie
from portlb_app.punt.connlog import ENDED, OPEN, PARTIAL
from portlb_app.punt.fragment_tracker import WAITING_BYTES
from portlb_app.punt.handlers import Punt
from portlb_app.topology.conditions import AS_CONFIGURED, Conditions
from tests.support import wire

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ryu's own, while it is imported
    from portlb_app.southbound import codec

VIPS = (
    {"rewrite": "nothing", "icmp": {"errors": "owner", "other": "balance"}, "fragments": "track", "log": True},
    {"rewrite": "address", "icmp": {"errors": "owner", "unknown": "any"}, "fragments": "track", "log": True},
)
ADDRESSES = (
    (IPv4Address("10.0.0.100"), IPv6Address("fd00::100")),
    (IPv4Address("10.0.0.101"), IPv6Address("fd00::101")),
)
SERVERS = (IPv4Address("10.1.0.3"), IPv6Address("fd01::3"))
CLIENTS = (IPv4Address("192.0.2.0"), IPv6Address("2001:db8::"))
PORTS = (20, 21, 22, 23, 24, 1001, 1002, 1003, 9999)
FLAGS = (0x002, 0x802, 0x012, 0x010, 0x011, 0x004, 0x014, 0x411, 0xFFF)
TURNS = 256
"""Frames between two looks at the clock, after which what waited too long expires."""


def settings() -> str:
    """Two VIPs, one of which rewrites addresses, on two switches of which one may go."""
    pools = {
        20: {"servers": ["N0", "N1", "N2"], "legacy": "drop", "signal": "option"},
        21: {"servers": ["N0", "N1", "N2"], "legacy": "balance", "signal": "option"},
        22: {"servers": [], "legacy": "drop"},
        23: {"servers": ["N2"], "legacy": "default", "signal": "option"},
    }
    data: dict[str, dict[str, object] | list[list[str]]] = {
        "switches": {"s1": {"dpid": 1, "network": 1}, "s2": {"dpid": 2}},
        "links": [["s1:9", "s2:9"]],
        "vips": {},
        "servers": {},
    }
    for number, vip in enumerate(VIPS):
        redirects = {
            port: pool | {"servers": [name.replace("N", f"v{number}s") for name in pool["servers"]]}  # type: ignore
            for port, pool in pools.items()
        }
        own = {"address": [str(each) for each in ADDRESSES[number]], "mac": f"02:00:00:00:00:6{number}"}
        assert isinstance(data["vips"], dict) and isinstance(data["servers"], dict)
        data["vips"][f"v{number}"] = own | vip | {"redirect_ports": redirects, "default_server": f"v{number}s1"}
        for server in range(3):
            entry: dict[str, object] = {
                "vip": f"v{number}",
                "connector": f"s{1 + server // 2}:{2 + server + 3 * number}",
                "service_ports": [{"port": 1001 + server, "application": port} for port in (20,)],
            }
            entry["service_ports"] += [  # type: ignore[operator]
                {"port": 2001 + 10 * server + at, "application": port} for at, port in enumerate((21, 23))
            ]
            if number:
                address = [f"10.1.0.{3 + server}", f"fd01::{3 + server:x}"]
                entry |= {"mac": f"02:00:00:00:01:0{server}", "address": address}
            data["servers"][f"v{number}s{server}"] = entry
    return json.dumps(data)


@dataclass
class Frames:
    """Frames as switches hand them up, and what somebody makes of them."""

    random: Random
    kinds: Counter[str] = field(default_factory=Counter)

    def next(self) -> tuple[Reason, int, int, bytes]:
        """Reason, VIP, port and frame."""
        random = self.random
        vip, family = random.randrange(2), random.randrange(2)
        reason = random.choice(tuple(HANDED_UP))
        port = random.choice(PORTS)
        frame = self._sound(reason, vip, family, port)
        how = random.randrange(8)
        if how == 0:
            frame = random.randbytes(random.randrange(120))
        elif how == 1:
            frame = frame[: random.randrange(len(frame) + 1)]
        elif how == 2:
            frame += random.randbytes(random.choice((1, 7, 2000, LARGEST_FRAME)))
        elif how < 6:
            changed = bytearray(frame)
            for _ in range(random.choice((1, 1, 2, 8))):
                changed[random.randrange(len(changed))] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
            frame = bytes(changed)
        self.kinds[reason.name.lower()] += 1
        return reason, vip, port, frame

    def _sound(self, reason: Reason, vip: int, family: int, port: int) -> bytes:
        random, version = self.random, (4, 6)[family]
        address, client, server = ADDRESSES[vip][family], CLIENTS[family] + random.randrange(4096), SERVERS[family]
        icmp = (1, 58)[family]
        flags = random.choice(FLAGS)
        if reason in (Reason.ICMP_ERROR, Reason.SERVER_ICMP):
            protocol = random.choice((6, 17, 132, 33, 136, icmp, 47))
            ends = (address, client) if reason is Reason.ICMP_ERROR else (client, server)
            quoted = wire.ip(*ends, protocol, struct.pack("!HHI", port, random.randrange(65536), 7) + bytes(40))
            ends = (client, address) if reason is Reason.ICMP_ERROR else (server, client)
            kind = random.choice((3, 11, 12) if version == 4 else (1, 2, 3, 4))
            return wire.ethernet(version, wire.ip(*ends, icmp, wire.icmp_error(*ends, kind, quoted, 1400)))
        if reason in (Reason.FRAGMENT, Reason.SERVER_FRAGMENT):
            ends = (client, address) if reason is Reason.FRAGMENT else (server, client)
            protocol = random.choice((6, 17, 17, 132, 136, icmp))
            data = struct.pack("!HHI", random.randrange(65536), port, 0) + random.randbytes(8 * random.randrange(8))
            whole = wire.ip(*ends, protocol, data)
            offset, more = random.choice((0, 0, 8, 16, 64)), random.randrange(2)
            if version == 4:
                word = struct.pack("!HH", random.randrange(64), more << 13 | offset >> 3)
                return wire.ethernet(4, whole[:4] + word + whole[8:])
            head = struct.pack("!BBHI", protocol, 0, offset | more, random.randrange(64))
            length = struct.pack("!H", len(data) + 8)
            return wire.ethernet(6, whole[:4] + length + b"\x2c" + whole[7:40] + head + data)
        options = random.choice((b"", b"\xfd\x04\x52\x50\x81\0\0\0", b"\xfd\x06\x52\x50\x81\0\x03\xe9", bytes(8)))
        options += bytes(-len(options) % 4)
        ends = (address, client) if reason is Reason.SERVER_CLOSING else (client, address)
        ports = (port, 40000 + random.randrange(16))
        sport, dport = ports if reason is Reason.SERVER_CLOSING else ports[::-1]
        return wire.ethernet(version, wire.ip(*ends, 6, wire.tcp_segment(*ends, sport, dport, b"", flags, options)))


@dataclass(frozen=True)
class Figures:
    """What a run has shown: frames, seconds (of all, and of the slowest one), messages made, memory that came (kB)."""

    frames: int
    seconds: float
    slowest: float
    messages: int
    grown: int
    fates: dict[str, int]
    records: tuple[int, int]

    def __str__(self) -> str:
        return (
            f"{self.frames} frames in {self.seconds:.1f} s ({self.frames / max(self.seconds, 1e-9):.0f} a second), the "
            f"slowest {self.slowest * 1000:.2f} ms; {self.messages} messages to switches; memory grew by {self.grown} "
            f"kB; records {self.records}; {self.fates}"
        )


def run(frames: int, seconds: float, seed: int = 1) -> Figures:
    """Judge so many mutated frames, or as many as there is time for; an exception if one does harm."""
    config, source = load(settings()), Frames(Random(seed))
    punt, cut = Punt(), Conditions(links_down=frozenset(config.links))
    for dpid in (1, 2):
        punt.connected(dpid)
    began, slowest, messages, done, now = time.monotonic(), 0.0, 0, 0, 0.0
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    numbers = [vip.number for vip in config.vips]
    while done < frames and time.monotonic() - began < seconds:
        if done % (8 * TURNS) == 0:  # a link comes or goes: what is on its way is judged by other tables
            punt.adopt(config, cut if done // (8 * TURNS) % 2 else AS_CONFIGURED)
        for _ in range(TURNS):
            reason, vip, port, frame = source.next()
            mark = make_cookie(reason, numbers[vip], port if reason is Reason.SIGNAL else 0)
            message = packet_in(mark, source.random.randrange(1, 10), source.random.randrange(SLOTS + 2), frame)
            at = time.perf_counter()
            packet = codec.packet_in(message)
            assert packet is not None and packet.frame == frame
            sends = punt.take(1, packet, now)
            for send in sends:
                assert send.actions
                assert len(codec.packet_out(send.in_port, send.actions, send.frame)) <= MESSAGE
            slowest = max(slowest, time.perf_counter() - at)
            messages += len(sends)
            done += 1
        now += 0.1
        for send in punt.expire(now):
            codec.packet_out(send.in_port, send.actions, send.frame)
        log = punt.connections
        assert log.open <= OPEN and log.ended <= ENDED + PARTIAL
        assert punt.waiting_bytes <= 2 * WAITING_BYTES
    copies = sum(source.kinds[each.name.lower()] for each in HANDED_UP if "ING" in each.name)
    fates: Counter[str] = Counter()
    for (_, fate), count in punt.counts.items():
        fates[fate.value] += count
    assert sum(fates.values()) + copies >= done - 4096, "every packet is counted, or waits"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - usage
    records = punt.connections.open, punt.connections.ended
    return Figures(done, time.monotonic() - began, slowest, messages, grown, dict(fates), records)


def packet_in(cookie: int, in_port: int, register: int, frame: bytes) -> bytes:
    """A packet-in message as Open vSwitch sends it (OpenFlow 1.5.1, 7.4.1), with a slot in a register."""
    match = struct.pack("!HHII", 1, 24, 0x80000004, in_port) + struct.pack("!III", 0x80010008, 0, register)
    body = struct.pack("!IHBBQ", 0xFFFFFFFF, len(frame), 1, 0, cookie) + match + bytes(2) + frame
    return struct.pack("!BBHI", 6, 10, min(8 + len(body), MESSAGE), 0) + body


def main() -> int:
    """Run as long as asked, and print the figures. AssertionError if a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(run(options.frames, options.seconds, options.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
