"""What the kernel datapath hands up, and what a real controller has it do: ICMP errors, SYNs, copies for the log.

The controller runs on this machine; the guest's switch reaches it over a serial line (`machine`). One boot of its own.
"""

from __future__ import annotations

import json
import re
import struct
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest

from portlb_app.compiler import compile as compile_config
from portlb_app.compiler.tables.qos import punt_meters
from portlb_app.config import load
from portlb_app.pipeline import Reason
from tests.kernel.frames import (
    ACK,
    CLIENT_MAC,
    FAR,
    ICMP6,
    NETWORK,
    REDIRECT,
    SYN,
    TCP,
    Arrived,
    Reports,
    arrived,
    hexed,
    segment,
)
from tests.kernel.machine import boot
from tests.ovs.controller import ControllerProcess
from tests.support import wire
from tests.support.generate import ASKS
from tests.support.wire import Address

TEXT = """
switches: {s1: {dpid: 1, network: 1, datapath: kernel}}
vips:
  web:
    address: [10.0.0.100, "fd00::100"]
    mac: "02:00:00:00:00:64"
    icmp: {errors: owner}
    fragments: track
    log: true
    redirect_ports:
      20: {servers: [a, b], signal: option, legacy: balance}
  own:
    address: [10.0.0.101, "fd00::101"]
    mac: "02:00:00:00:00:65"
    rewrite: address
    icmp: {errors: owner}
    fragments: track
servers:
  a: {vip: web, connector: s1:2, service_ports: [{port: 8001, application: 20}]}
  b: {vip: web, connector: s1:3, service_ports: [{port: 8002, application: 20}]}
  c: {vip: own, connector: s1:4, mac: "02:00:00:00:00:0c", address: [10.0.0.13, "fd00::13"], service_ports: [8003]}
"""
WEB: dict[int, Address] = {4: IPv4Address("10.0.0.100"), 6: IPv6Address("fd00::100")}
OWN: dict[int, Address] = {4: IPv4Address("10.0.0.101"), 6: IPv6Address("fd00::101")}
SERVER_C: dict[int, Address] = {4: IPv4Address("10.0.0.13"), 6: IPv6Address("fd00::13")}
WEB_MAC, OWN_MAC, C_MAC = 0x020000000064, 0x020000000065, 0x02000000000C
ICMP = {4: 1, 6: ICMP6}
TOO_BIG = {4: 3, 6: 2}
OWNERS = {8001: 2, 8002: 3}
POOL = {2, 3}
CLIENTS = 64
BURST, LET_THROUGH = 1500, 50
"""SYNs in a burst, all of which are copied, and the meter's rate and burst meanwhile."""
OPENING = punt_meters(load(TEXT))[Reason.OPENING, "web", 0].number
"""The meter of copies of SYNs."""
OPENED = 8
"""Connections of a client host on the same kernel."""


def error(sender: Address, receiver: Address, quoted: bytes) -> bytes:
    """An ICMP error as an IP packet."""
    message = wire.icmp_error(sender, receiver, TOO_BIG[sender.version], quoted, 1400)
    return wire.ip(sender, receiver, ICMP[sender.version], message)


def quote(source: Address, port: int, size: int = 0) -> bytes:
    """A server's packet to a client, as an error quotes it."""
    client = FAR[source.version] + 1
    return wire.ip(source, client, TCP, wire.tcp_segment(source, client, port, 40000, bytes(size)))


def cut(packet: bytes, at: int, identifier: int) -> list[bytes]:
    """An IPv4 packet of `wire.ip` in two fragments."""
    source, destination = IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
    return [
        wire.ip(source, destination, packet[9], part, fragment=(identifier, begin, begin == 0))
        for begin, part in ((0, packet[20 : 20 + at]), (at, packet[20 + at :]))
    ]


def down(packet: bytes, mac: int = WEB_MAC) -> tuple[int, bytes]:
    """An IP packet from the network, as the guest sends it."""
    return NETWORK, wire.ethernet(packet[0] >> 4, packet, mac, CLIENT_MAC)


def errors() -> Iterator[tuple[int, bytes]]:
    """A router's errors about each service port."""
    for version in (4, 6):
        for port in OWNERS:
            yield down(error(FAR[version], WEB[version], quote(WEB[version], port)))
        yield down(error(FAR[version], OWN[version], quote(OWN[version], 8003)), OWN_MAC)


def from_server() -> Iterator[tuple[int, bytes]]:
    """A server's errors about a client's packets, which it knows under its own address."""
    for version, server in SERVER_C.items():
        client = FAR[version] + 1
        quoted = wire.ip(client, server, TCP, wire.tcp_segment(client, server, 40000, 8003, b""))
        yield 4, wire.ethernet(version, error(server, client, quoted), CLIENT_MAC, C_MAC)


def syn(number: int, version: int, options: bytes, data: bytes = b"") -> bytes:
    """A SYN to the redirect port without the bit, as an IP packet."""
    source, there = FAR[version] + number, WEB[version]
    return wire.ip(source, there, TCP, wire.tcp_segment(source, there, 5000, 20, data, SYN, options))


def syns() -> Iterator[tuple[int, bytes]]:
    """SYNs that ask by their option, and plain ones; then what follows them."""
    for version in (4, 6):
        for number in range(CLIENTS):
            yield down(syn(number, version, ASKS if number % 2 else b""))
        for number in range(CLIENTS):
            yield NETWORK, segment(FAR[version] + number, 5000, 20, ACK)


LARGE = error(FAR[4], WEB[4], quote(WEB[4], 8002, 600))
SYN_WITH_DATA = syn(3, 4, ASKS, bytes(200))
TOO_LARGE = error(FAR[4], WEB[4], quote(WEB[4], 8002, 1900))


def fragmented() -> Iterator[tuple[int, bytes]]:
    """An error and a SYN in fragments, the last one first; at last an error that is larger than any packet may be."""
    for number, (packet, at) in enumerate(((LARGE, 400), (SYN_WITH_DATA, 24), (TOO_LARGE, 1480))):
        for part in cut(packet, at, 77 + number)[::-1]:
            yield down(part)


def burst() -> Iterator[tuple[int, bytes]]:
    """SYNs that are copied, faster than the meter of copies lets through."""
    for number in range(BURST):
        yield NETWORK, segment(FAR[4] + number % 250, 1024 + number, 8001, REDIRECT | SYN)


_CLIENT = {"port": NETWORK, "mac": "02:00:00:00:00:01", "addresses": ["10.0.0.1/24", "fd00::1/64"]}
_SERVER = {"mac": "02:00:00:00:00:64", "addresses": ["10.0.0.100/24", "fd00::100/64"]}
_HOSTS = [_CLIENT, {"port": 2, **_SERVER}, {"port": 3, **_SERVER}]


def the_plan(flows: int) -> Iterator[dict[str, Any]]:
    """All steps."""
    yield {"name": "attach", "attach": flows}
    yield {"name": "errors", "frames": hexed(errors())}
    yield {"name": "from server", "frames": hexed(from_server())}
    yield {"name": "syns", "frames": hexed(syns())}
    yield {"name": "fragmented", "frames": hexed(fragmented())}
    band = f"band=type=drop rate={LET_THROUGH} burst_size={LET_THROUGH}"
    meter = f"meter={OPENING} pktps burst stats {band}"
    yield {"name": "burst", "frames": hexed(burst()), "batch": BURST, "meter": meter}
    there = [{"address": str(WEB[4]), "port": 20, "servers": [(2, str(WEB[4])), (3, str(WEB[4]))], "size": 20_000}]
    yield {"name": "connections", "hosts": _HOSTS, "offload": True, "transfers": there * OPENED}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Reports, dict[str, Any], dict[str, Any]]]:
    """What the guest saw in each step, and what the controller then said of itself, and of connections."""
    directory = tmp_path_factory.mktemp("handed-up")
    (directory / "lb.yaml").write_text(TEXT)
    controller = ControllerProcess(directory / "lb.yaml")
    (state,) = compile_config(load(TEXT)).values()
    (directory / "tables").mkdir()
    try:
        reports = boot(directory, list(the_plan(len(state.flows))), directory / "tables", controller.openflow_port)
        code, body = controller.request("GET", "/v1/connections?limit=1000")
        assert code == 200, body
        yield reports, controller.status(), json.loads(body)
    finally:
        assert controller.close() == 0


def test_nothing_is_refused(seen: Any) -> None:
    assert seen[0]["log"]["lines"] == []
    assert not [name for name, report in seen[0].items() if "failed" in report]


def told(report: dict[str, Any]) -> Counter[tuple[int, str]]:
    """The frames of a report, but for those to groups: announcements of VIPs, which come at any time."""
    assert "failed" not in report, report["failed"]
    return Counter((port, frame) for port, frame in report["frames"] if not int(frame[:2], 16) & 1)


def test_i2_an_error_reaches_the_owner_of_the_quoted_port(seen: Any) -> None:
    """I2: as it came, and where addresses are rewritten, as the server knows its packets; nobody else sees it."""
    wanted = Counter[tuple[int, str]]()
    for version in (4, 6):
        for port, where in OWNERS.items():
            (_, frame) = down(error(FAR[version], WEB[version], quote(WEB[version], port)))
            wanted[where, frame.hex()] += 1
    assert {key: count for key, count in told(seen[0]["errors"]).items() if key[0] != 4} == wanted


def about(packet: Arrived, version: int) -> tuple[Address, Address]:
    """Source and destination of the packet that an error quotes; AssertionError for a wrong checksum."""
    covered = wire.pseudo(packet.source, packet.destination, ICMP6, packet.body) if version == 6 else b""
    assert packet.protocol == ICMP[version] and wire.checksum(covered + packet.body) == 0
    at, size = {4: (20, 4), 6: (16, 16)}[version]
    ends = [packet.body[begin : begin + size] for begin in (at, at + size)]
    return ip_address(ends[0]), ip_address(ends[1])


def test_n1_an_error_is_rewritten_with_what_it_quotes(seen: Any) -> None:
    """N1: to a server with an address of its own, and from it."""
    to_server = [each for each in arrived(seen[0]["errors"]) if each.port == 4 and not each.destination.is_multicast]
    assert [packet.source.version for packet in to_server] == [4, 6]
    for packet in to_server:
        version = packet.source.version
        assert (packet.destination, packet.macs) == (SERVER_C[version], (CLIENT_MAC, C_MAC))
        assert about(packet, version) == (SERVER_C[version], FAR[version] + 1)
    to_client = [each for each in arrived(seen[0]["from server"]) if not each.destination.is_multicast]  # announcements
    assert [packet.source.version for packet in to_client] == [4, 6]
    for packet in to_client:
        version = packet.source.version
        assert (packet.port, packet.source, packet.macs) == (NETWORK, OWN[version], (OWN_MAC, CLIENT_MAC))
        assert about(packet, version) == (FAR[version] + 1, OWN[version])


def test_e2_a_syn_goes_where_its_connection_goes_on(seen: Any) -> None:
    """E2, E4: those that ask by the option and those that do not, to both servers, and later packets after them."""
    first, later = {}, {}
    for packet in arrived(seen[0]["syns"]):
        assert packet.sums_up
        is_syn = struct.unpack_from("!H", packet.body, 12)[0] & SYN
        (first if is_syn else later)[packet.source] = packet.port
    assert len(first) == 2 * CLIENTS and set(first.values()) == POOL
    assert first == later


def test_e4_connections_of_a_host_on_the_same_kernel(seen: Any) -> None:
    """E4: the kernel hashes a socket's packets by a number of the socket's: a SYN's slot is that of those after it."""
    report = seen[0]["connections"]
    assert "failed" not in report, report["failed"]
    assert all(done["same"] and done["error"] == "" for done in report["transfers"]), report["transfers"]
    assert {done["server"] for done in report["transfers"]} <= POOL


def test_f1_what_came_in_fragments_is_read_whole(seen: Any) -> None:
    """F1, I2: conntrack puts it together, the controller reads it, and it leaves whole, unless no port can take it.

    What is not handed up, as here a SYN, leaves in as many fragments as it came in.
    """
    got = [packet for packet in arrived(seen[0]["fragmented"])]
    assert [(packet.protocol, packet.parts) for packet in got] == [(1, 1), (TCP, 2)]
    assert got[0].port == OWNERS[8002] and got[0].body == LARGE[20:]
    assert got[1].port in POOL and got[1].body == SYN_WITH_DATA[20:]


def test_c2_connections_are_written_down(seen: Any) -> None:
    """C2: who opened when, and that the connection was closed, by which server."""
    closed = [each for each in seen[2]["connections"] if each["client"] == "10.0.0.1"]
    assert len(closed) == OPENED
    assert all((each["opened_on"], each["continued_on"], each["how"]) == (20, 20, "fin") for each in closed)
    servers = Counter({"a": 2, "b": 3}[each["server"]] for each in closed)
    assert servers == Counter(done["server"] for done in seen[0]["connections"]["transfers"])


def test_c2_a_flood_of_copies_is_metered_and_the_packets_go_on(seen: Any) -> None:
    """C2: `controller(meter_id=…)` drops copies, not packets; every copy it did not drop has come up."""
    assert len(told(seen[0]["burst"])) == BURST
    opened = seen[1]["connections"]["counts"]["opened"]
    of_meter = seen[0]["burst"]["meters"].partition(f"meter:{OPENING} ")[2]
    dropped = int(re.search(r"\n0: packet_count:(\d+)", of_meter)[1])  # type: ignore[index]
    print("copies that came up:", opened, "dropped by the meter:", dropped)
    assert dropped > BURST / 2
    assert opened + dropped == BURST + 2 * CLIENTS + OPENED


def test_all_is_counted(seen: Any) -> None:
    counts = {reason: {fate: n for fate, n in fates.items() if n} for reason, fates in seen[1]["punted"].items()}
    assert counts["icmp_error"] == {"sent": 8} and counts["server_icmp"] == {"sent": 2}
    assert counts["signal"] == {}, "the slots decide, whatever the option says"
