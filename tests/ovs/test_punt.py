"""What the switch hands up comes back as the reference says: real packets, real switch, real controller, every mode.

Random configurations (both families; nothing, MAC or IP addresses rewritten) meet random packets no table can judge.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from random import Random

import pytest

from portlb_app.compiler import compile as compile_config
from portlb_app.config import Config, Rewrite, Switch, load
from portlb_app.openflow.limits import LARGEST_FRAME
from tests.ovs import switch as ovs
from tests.ovs.bridge import Bridge
from tests.ovs.controller import ControllerProcess, wait_for
from tests.support import generate, wire
from tests.support.commands import run
from tests.support.reference import (
    ACK,
    FIN,
    ICMP,
    ICMPV6,
    REDIRECT,
    SYN,
    TCP,
    UDP,
    All,
    AnyOf,
    Ip,
    Nd,
    Outcome,
    Packet,
    Punted,
    To,
    deliver,
    judge,
    received,
)

SEED = int(os.environ.get("PORTLB_SEED", "20261124"))
CONFIGURATIONS = 36
EACH = 3
"""Packets of a kind and family that one configuration is tried with."""
SECONDS = 5


@pytest.fixture
def bridge(switch: ovs.Switch) -> Iterator[Bridge]:
    """A bridge with every port a random configuration may use."""
    bridge = Bridge(switch, generate.CONNECTORS)
    yield bridge
    bridge.close()


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[ControllerProcess]:
    """A controller without a configuration worth the name."""
    (tmp_path / "lb.yaml").write_text("switches: {}")
    controller = ControllerProcess(tmp_path / "lb.yaml", resync=1.0)
    yield controller
    assert controller.close() == 0


def judged(controller: ControllerProcess) -> int:
    """How many packets the controller has judged."""
    return sum(count for counts in controller.status()["punted"].values() for count in counts.values())


def arrivals(config: Config, switch: Switch, packet: Packet, outcome: Outcome) -> set[tuple[int, bytes]]:
    """What may arrive where of a packet that was handed up: (port, frame)."""
    ip = packet.payload
    assert isinstance(ip, Ip)
    if not isinstance(outcome, (To, All, AnyOf)):
        return set()
    names = {outcome.server} if isinstance(outcome, To) else outcome.servers
    found = set()
    for name in names:
        server = config.server_by_name[name]
        after = received(config, server, packet)
        assert isinstance(after.payload, Ip)
        about_the_vip = ip.quoted is not None and ip.quoted[0] == ip.destination
        if after.payload.destination != ip.destination and about_the_vip and ip.fragment == "no":
            assert ip.quoted is not None
            after = replace(after, payload=replace(after.payload, quoted=(after.payload.destination, ip.quoted[1])))
        found.add((server.connector.port, framed(after)))
    return found


def framed(packet: Packet) -> bytes:
    """A packet on the wire; a first fragment is a multiple of 8 bytes."""
    assert isinstance(packet.payload, Ip)
    headers = {4: 34, 6: 62 if packet.payload.fragment == "first" else 54}[packet.payload.source.version]
    return generate.frame(packet, data=bytes(8 + -(len(generate.frame(packet, data=b"")) - headers) % 8))


def going_up(config: Config, packet: Packet, punted: Punted) -> set[tuple[int, bytes]]:
    """How a server's packet leaves to the network."""
    ip = packet.payload
    assert isinstance(ip, Ip)
    vip = next(vip for vip in config.vips if vip.name == punted.vip)
    (switch,) = [switch for switch in config.switches if switch.dpid != OTHER]
    address = next(address for address in vip.addresses if address.version == ip.source.version)
    names = [name for server in config.servers_of(vip) for name in server.service_addresses]
    is_rewritten = ip.quoted is not None and ip.fragment == "no" and ip.quoted[1] not in names
    quoted = (ip.quoted[0], address) if is_rewritten and ip.quoted else None
    leaving = replace(packet, eth_src=vip.mac, payload=replace(ip, source=address, quoted=quoted or ip.quoted))
    if vip.gateway is not None:
        leaving = replace(leaving, eth_dst=vip.gateway)
    return {(switch.network, framed(leaving))}


def unicast(gone: dict[int, list[bytes]]) -> list[tuple[int, bytes]]:
    """What left for somebody, and by which port; not the announcements of VIPs, which are for everybody."""
    return [(port, frame) for port, frames in gone.items() for frame in frames if not frame[0] & 1]


OTHER = 0xFFFF
"""The dpid of a switch that never connects."""


def settings(random: Random, dpid: int) -> str:
    """A random configuration whose last switch is this one, of the userspace datapath, and hands much up."""
    data = generate.settings(random)
    for name in data["switches"]:
        data["switches"][name] |= {"dpid": OTHER, "datapath": "userspace"}
    data["switches"][name]["dpid"] = dpid
    for vip in data["vips"].values():
        vip.setdefault("icmp", {}).update({"errors": "owner"})
        vip["fragments"] = "track"
        for pool in vip["redirect_ports"].values():
            pool |= {"signal": "option"} if pool.get("legacy") in ("balance", "drop", "pin") else {}
    return json.dumps(data)


def test_what_is_handed_up_arrives_as_the_reference_says(
    switch: ovs.Switch, bridge: Bridge, controller: ControllerProcess
) -> None:
    """Where, how often, and every byte of it: addresses, quotes and checksums rewritten where the VIP says so."""
    switch.set_controller(bridge.name, controller.target)
    wait_for("it is connected", lambda: controller.status()["unknown_switches"])
    counts: Counter[tuple[str, str, int]] = Counter()
    for number in range(CONFIGURATIONS):
        random = Random(f"{SEED}/punt/{number}")
        text = settings(random, 0x100 + int(bridge.name[2:]))
        config = load(text)
        switch_here = config.switches[-1]
        empty = json.dumps({"switches": {"s1": {"dpid": switch_here.dpid, "network": 1}}})
        for each in (empty, text):  # without the servers between, or ports that one had before are still its own
            code, body = controller.request("PUT", "/v1/config", each)
            assert code == 200, body
        bridge.command("revalidator/purge")  # else a datapath flow of the tables before may still forward
        tried: Counter[tuple[str, int]] = Counter()
        for _ in range(2000):
            packet = generate.packet(random, config, switch_here)
            outcome = deliver(config, switch_here, packet)
            ip = packet.payload
            if not isinstance(outcome, Punted) or not isinstance(ip, Ip) or packet.in_port not in generate.CONNECTORS:
                continue
            if ip.fragment == "later" and outcome.reason == "fragment":
                continue
            if outcome.reason == "refused":
                continue
            by_router = outcome.vip is None
            packet, outcome = generate.about_a_server(config, packet, outcome)
            if tried[outcome.reason, ip.source.version] == EACH:
                continue
            if outcome.reason == "icmp_error" and (ip.quoted is None or ip.quoted[1] != ip.source):
                continue
            if outcome.reason.startswith("server"):
                want, anyone = going_up(config, packet, outcome), False
            else:
                vip = next(vip for vip in config.vips if vip.name == outcome.vip)
                if outcome.reason == "fragment":
                    bits = {4: 32, 6: 128}[ip.source.version]
                    source = ip_address(random.getrandbits(bits - 3) | 1 << bits - 4)
                    packet = replace(packet, payload=replace(ip, source=source))
                wanted = judge(config, switch_here, vip, ip)
                want, anyone = arrivals(config, switch_here, packet, wanted), isinstance(wanted, AnyOf)
            what = f"{SEED}/punt/{number}: {packet}\nis {outcome}, means {want}\nwith {text}"
            before = judged(controller)
            gone = bridge.send(packet.in_port, [framed(packet)])
            wait_for(f"judged: {what}", lambda: judged(controller) == before + 1, SECONDS)  # noqa: B023
            seen = unicast(gone)
            deadline = time.monotonic() + SECONDS
            while len(seen) < (1 if anyone else len(want)) and time.monotonic() < deadline:
                seen += unicast(bridge.collect())
            assert set(seen) <= want if anyone else set(seen) == want, f"{what}\nseen {seen}"
            assert len(seen) == min(len(want), 1) if anyone else len(seen) == len(want), what
            rewrite = next(vip.rewrite for vip in config.vips if vip.name == outcome.vip)
            counts["router" if by_router else outcome.reason, rewrite.value, ip.source.version] += 1
            tried[outcome.reason, ip.source.version] += 1
    reasons = {reason for reason, _, _ in counts}
    assert reasons == {"icmp_error", "fragment", "signal", "server_icmp", "server_fragment", "router"}
    for reason in ("icmp_error", "fragment"):
        assert all(counts[reason, mode.value, version] for mode in Rewrite for version in (4, 6)), counts


PUNT = (Path(__file__).parents[2] / "flows/punt/lb.yaml").read_text()


def test_a_syn_sent_by_the_controller_takes_the_row_of_its_later_packets(
    switch: ovs.Switch, bridge: Bridge, controller: ControllerProcess
) -> None:
    """Decision 12: a SYN that asks by its option, handed up twice, and an ACK that the switch judges: one server."""
    text = PUNT.replace("{dpid: 1,", f"{{dpid: {0x100 + int(bridge.name[2:])},")
    assert controller.request("PUT", "/v1/config?wait=accepted", text)[0] == 202
    switch.set_controller(bridge.name, controller.target)
    controller.wait_for_state("s1", "synced")
    ports = set()
    for number in range(200):
        source, vip = (("192.0.2.1", "10.0.0.100"), ("2001:db8::1", "fd00::100"))[number % 2]
        ip = Ip(ip_address(source), ip_address(vip), TCP, "no", 40000 + number, 20, SYN, asks=True)
        before = judged(controller)
        frames = [generate.frame(Packet(1, generate.CLIENT_MAC, each)) for each in (ip, ip, replace(ip, tcp_flags=ACK))]
        gone = Counter(port for port, _ in unicast(bridge.send(1, frames)))
        wait_for("both SYNs are judged", lambda: judged(controller) == before + 2, SECONDS)  # noqa: B023
        deadline = time.monotonic() + SECONDS
        while gone.total() < 3 and time.monotonic() < deadline:
            gone += Counter(port for port, _ in unicast(bridge.collect()))
        assert list(gone.values()) == [3], f"{number}: {gone}"
        ports |= set(gone)
    assert ports == {2, 3}
    assert controller.status()["punted"]["signal"]["sent"] == 400


def remembered(bridge: Bridge) -> int:
    """How many connections the switch remembers."""
    return bridge.command("dpctl/dump-conntrack").count("sport=") // 2


def test_where_the_rows_decide_no_syn_is_handed_up(
    switch: ovs.Switch, bridge: Bridge, controller: ControllerProcess
) -> None:
    """With ``pin`` and ``balance`` a client that asks by its option gets the server that a plain one gets, so nobody
    waits for the controller, and no flood takes a place there. A fragment of a pinned port reaches no server, rather
    than any.
    """
    for legacy in ("balance", "pin"):
        setting = f"signal: option, legacy: {legacy}}}"
        text = PUNT.replace("{dpid: 1,", f"{{dpid: {0x100 + int(bridge.name[2:])},").replace("signal: option}", setting)
        assert controller.request("PUT", "/v1/config?wait=accepted", text)[0] in (200, 202)
        switch.set_controller(bridge.name, controller.target)
        controller.wait_for_state("s1", "synced")
        places: Counter[int] = Counter()
        for number in range(40):
            source, vip = (("192.0.2.1", "10.0.0.100"), ("2001:db8::1", "fd00::100"))[number % 2]
            ip = Ip(ip_address(source), ip_address(vip), TCP, "no", 40000 + number, 20, SYN)
            frames = [framed(Packet(1, generate.CLIENT_MAC, replace(ip, asks=asks))) for asks in (False, True)]
            (one, other) = unicast(bridge.send(1, frames))
            assert one[0] == other[0]
            places[one[0]] += 1
        assert places.keys() == {2, 3}
        assert sum(controller.status()["punted"]["signal"].values()) == 0
    assert remembered(bridge) == 40
    for identifier, flags in enumerate((SYN, ACK)):
        client = ip_address("2001:db8::2") + identifier  # fragments' identifiers are all alike
        before = judged(controller)
        first = replace(ip, source=client, fragment="first", tcp_flags=flags)
        sent = unicast(bridge.send(1, [framed(Packet(1, generate.CLIENT_MAC, first))]))
        wait_for("it is judged", lambda: judged(controller) == before + 1, SECONDS)  # noqa: B023
        assert not sent and not unicast(bridge.collect())
    assert controller.status()["punted"]["fragment"]["unknown"] == 2


def test_an_honest_syn_is_served_beside_a_flood(
    switch: ovs.Switch, bridge: Bridge, controller: ControllerProcess
) -> None:
    """More SYNs than a meter lets through, and then plain clients': all of them arrive, in whatever time."""
    setting = "signal: option, legacy: balance}"
    text = PUNT.replace("{dpid: 1,", f"{{dpid: {0x100 + int(bridge.name[2:])},").replace("signal: option}", setting)
    assert controller.request("PUT", "/v1/config?wait=accepted", text)[0] in (200, 202)
    switch.set_controller(bridge.name, controller.target)
    controller.wait_for_state("s1", "synced")
    vip = ip_address("10.0.0.100")
    flood = [
        framed(Packet(1, generate.CLIENT_MAC, Ip(ip_address(0xC6120000 + n), vip, TCP, "no", 1024, 20, SYN)))
        for n in range(2000)
    ]
    honest = Ip(ip_address("192.0.2.1"), vip, TCP, "no", 40000, 20, SYN)
    frames = [framed(Packet(1, generate.CLIENT_MAC, replace(honest, source_port=40000 + n))) for n in range(20)]
    gone = unicast(bridge.send(1, flood + frames))
    assert len(gone) == 2020 and {frame for _, frame in gone} >= set(frames)


def test_a_frame_that_is_too_large_harms_nothing_but_itself(
    switch: ovs.Switch, bridge: Bridge, controller: ControllerProcess
) -> None:
    """Errors, fragments and copies of 64 kB: no message about them; a copy's original goes on; the rest is judged."""
    text = PUNT.replace("{dpid: 1,", f"{{dpid: {0x100 + int(bridge.name[2:])},")
    text = text.replace("    fragments: track", "    log: true\n    fragments: track")
    assert controller.request("PUT", "/v1/config?wait=accepted", text)[0] in (200, 202)
    switch.set_controller(bridge.name, controller.target)
    controller.wait_for_state("s1", "synced")
    for port in (1, 2, 3):
        switch.vsctl("set", "interface", bridge.port_name(port), "mtu_request=65535")
    client, vip = ip_address("192.0.2.1"), ip_address("10.0.0.100")
    quoted = wire.ip(vip, client, UDP, bytes(16))
    for size in (LARGEST_FRAME, LARGEST_FRAME + 1, 65440, 65480, 65535):
        more = bytes(size - 34)
        error = wire.icmp_error(client, vip, 3, quoted, 1400)
        large = wire.ethernet(4, wire.ip(client, vip, ICMP, (error + more)[: size - 34]))
        fragment = bytearray(wire.ethernet(4, wire.ip(client, vip, UDP, more)))
        fragment[20] = 0x20
        ending = wire.ip(client, vip, TCP, wire.tcp_segment(client, vip, 40000, 1, b"", FIN | ACK) + more[20:])
        before = judged(controller)
        gone = unicast(bridge.send(1, [large, bytes(fragment), wire.ethernet(4, ending)]))
        assert [port for port, frame in gone if frame[23] == TCP] == [2], "the segment itself is delivered"
        goal = before + (2 if size <= LARGEST_FRAME else 0)
        wait_for("small ones are judged", lambda: judged(controller) == goal, SECONDS)  # noqa: B023
    assert controller.status()["switches"][0]["state"] == "synced"
    assert controller.status()["refused_connections"]["count"] == 0
    assert controller.status()["connections"]["counts"]["closed"] == 1
    counted = lambda: controller.status()["switches"][0]["metered"]["too_large"]  # noqa: E731
    wait_for("what is too large is counted: four sizes, three frames each", lambda: counted() == 12, 40)


def test_a_flood_makes_no_datapath_flow_per_packet(bridge: Bridge) -> None:
    """Of 200 clients with ports of their own, a packet each of every kind, IPv4 and IPv6: a flow per kind, and one per
    slot where slots are looked up; nothing of a client is in any.
    """
    bridge.install(compile_config(load(PUNT))["s1"])
    random = Random(9)
    kinds = (
        {"protocol": TCP, "fragment": "first", "destination_port": 20},
        {"protocol": TCP, "destination_port": 20, "tcp_flags": SYN, "asks": True},
        {"protocol": TCP, "destination_port": 20, "tcp_flags": SYN | REDIRECT},
        {"protocol": TCP, "destination_port": 1, "tcp_flags": ACK},
        {"protocol": UDP, "destination_port": 20},
    )
    for version, vip in ((4, "10.0.0.100"), (6, "fd00::100")):
        there = ip_address(vip)
        frames = []
        for number in range(200):
            client = ip_address(random.getrandbits({4: 24, 6: 120}[version]) | {4: 11 << 24, 6: 0x20 << 120}[version])
            ips = [Ip(client, there, source_port=1024 + number, **each) for each in kinds]  # type: ignore[arg-type]
            frames += [framed(Packet(1, generate.CLIENT_MAC, ip)) for ip in ips]
            error = Ip(client, there, {4: ICMP, 6: ICMPV6}[version], icmp_type={4: 3, 6: 1}[version])
            error = replace(error, quoted=(there, client), destination_port=1)
            frames.append(framed(Packet(1, generate.CLIENT_MAC, error)))
        bridge.send(1, frames)
        flows = [line for line in bridge.command("dpctl/dump-flows").splitlines() if "recirc_id" in line]
        assert not [line for line in flows if re.search(r"\(src=(\d+\.\d+\.\d+\.\d+|[0-9a-f:]+)[,)]", line)]
        hashed = [line for line in flows if "dp_hash" in line]
        assert len(flows) - len(hashed) == len(kinds) + 1, "\n".join(flows)
        assert len(hashed) <= 3 * 256
        bridge.command("revalidator/purge")


def test_the_files_are_installed_as_they_say(switch: ovs.Switch, bridge: Bridge, tmp_path: Path) -> None:
    """The commands in the heads of flows/punt's files make what the compiler says, without a controller."""
    scenario = Path(__file__).parents[2] / "flows/punt"
    commands = []
    for suffix in ("meters", "groups", "flows"):
        lines = (scenario / f"s1.{suffix}").read_text().splitlines()
        commands += [line.removeprefix("#   ") for line in lines if line.startswith("#   ")]
    assert len(commands) == 3
    management = f"unix:{switch.management(bridge.name)}"
    for command in commands:
        words = command.replace(" s1 ", f" {management} ")
        run("sh", "-ec", words, cwd=scenario, timeout=30, env=switch.environment)
    (state,) = compile_config(load(PUNT)).values()
    assert switch.diff_flows(bridge.name, "\n".join(map(str, state.ordered_flows))) == ""
    meters = switch.ofctl("dump-meters", bridge.name)
    assert all(f"meter={meter.number} pktps burst stats" in meters for meter in state.meters)
    assert len(switch.dump_groups(bridge.name)) == len(state.groups)


def test_nd_answer(bridge: Bridge) -> None:
    """The switch's neighbour advertisement, byte by byte (RFC 4861, 4.4), with the VIP's MAC address."""
    bridge.install(compile_config(load(PUNT))["s1"])
    client, vip = ip_address("fd00::1"), ip_address("fd00::100")
    group = ip_address("ff02::1:ff00:100")
    solicitation = Nd(135, client, group, vip, generate.CLIENT_MAC)  # type: ignore[arg-type]
    gone = bridge.send(1, [generate.frame(Packet(1, generate.CLIENT_MAC, solicitation, 0x3333FF000100))])
    vip_mac = bytes.fromhex("020000000064")
    whole = bytes((136, 0, 0, 0)) + bytes.fromhex("60000000") + vip.packed + b"\x02\x01" + vip_mac
    total = wire.checksum(wire.pseudo(vip, client, 58, whole) + whole)
    whole = whole[:2] + total.to_bytes(2, "big") + whole[4:]
    head = b"\x60\0\0\0" + len(whole).to_bytes(2, "big") + bytes((58, 255)) + vip.packed + client.packed
    client_mac = generate.CLIENT_MAC.to_bytes(6, "big")
    assert gone == {1: [client_mac + vip_mac + b"\x86\xdd" + head + whole]}
