"""Row C2 with a real switch and a real controller: copies arrive in every mode, and packets go where they would."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from portlb_app import compiler
from portlb_app.cli import main
from portlb_app.config import load
from portlb_app.pipeline import COPIED, LOG, Reason, make_cookie, metered_reason, vip_number
from tests.ovs import switch as ovs
from tests.ovs.bridge import Bridge
from tests.ovs.controller import ControllerProcess, wait_for
from tests.support.generate import CLIENT_MAC, frame
from tests.support.reference import ACK, FIN, REDIRECT, RST, SYN, TCP, UDP, Ip, Packet

VIP_MAC = 0x020000000064
NETWORK, A, B = 1, 2, 3
MACS = {A: 0x02000000000A, B: 0x02000000000B}
CLIENT = {4: ip_address("192.0.2.7"), 6: ip_address("2001:db8::7")}
VIP = {4: ip_address("10.0.0.100"), 6: ip_address("fd00::100")}
OWN = {
    4: {A: ip_address("10.1.0.2"), B: ip_address("10.1.0.3")},
    6: {A: ip_address("fd01::2"), B: ip_address("fd01::3")},
}
PATIENCE = 20.0
"""Seconds until a condition that must come true counts as failed."""


def text(dpid: int, rewrite: str, log: bool) -> str:
    """Two servers of one VIP in a mode."""
    servers: dict[str, dict[str, Any]] = {}
    for name, port in (("a", A), ("b", B)):
        owned = [{"port": 8000 + port, "application": 80}]
        servers[name] = {"vip": "web", "connector": f"s1:{port}", "service_ports": owned}
        if rewrite != "nothing":
            servers[name]["mac"] = f"02:00:00:00:00:0{name}"
        if rewrite == "address":
            servers[name]["address"] = [str(OWN[version][port]) for version in (4, 6)]
    vip = {
        "address": [str(VIP[version]) for version in (4, 6)],
        "mac": "02:00:00:00:00:64",
        "rewrite": rewrite,
        "log": log,
        "default_server": "b",
        "redirect_ports": {80: {"servers": ["a"], "legacy": "balance"}},
    }
    switches = {"s1": {"dpid": dpid, "network": NETWORK}}
    return json.dumps({"switches": switches, "vips": {"web": vip}, "servers": servers})


@pytest.fixture
def bridge(switch: ovs.Switch) -> Iterator[Bridge]:
    bridge = Bridge(switch, (NETWORK, A, B))
    yield bridge
    bridge.close()


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[ControllerProcess]:
    (tmp_path / "lb.yaml").write_text("switches: {}")
    controller = ControllerProcess(tmp_path / "lb.yaml", resync=0.5)
    yield controller
    assert controller.close() == 0


def down(version: int, port: int, flags: int, client: int = 40000) -> Packet:
    """A client's segment to a port of the VIP."""
    ip = Ip(CLIENT[version], VIP[version], TCP, source_port=client, destination_port=port, tcp_flags=flags)
    return Packet(NETWORK, CLIENT_MAC, ip, VIP_MAC)


def up(version: int, by: int, port: int, flags: int, rewrite: str, client: int = 40000) -> Packet:
    """A server's segment from a port."""
    source = OWN[version][by] if rewrite == "address" else VIP[version]
    ip = Ip(source, CLIENT[version], TCP, source_port=port, destination_port=client, tcp_flags=flags)
    return Packet(by, VIP_MAC if rewrite == "nothing" else MACS[by], ip, CLIENT_MAC)


def unicast(gone: dict[int, list[bytes]]) -> dict[int, list[bytes]]:
    """What left for somebody, by port; not the announcements of the VIP, which are for everybody."""
    found = {port: [frame for frame in frames if not frame[0] & 1] for port, frames in gone.items()}
    return {port: frames for port, frames in found.items() if frames}


def listed(controller: ControllerProcess) -> list[dict[str, Any]]:
    """The log, oldest first, without times."""
    code, body = controller.request("GET", "/v1/connections")
    assert code == 200
    records: list[dict[str, Any]] = json.loads(body)["connections"]
    return records[::-1]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("rewrite", ["nothing", "mac", "address"])
def test_c2_copies_arrive_and_packets_go_on(
    switch: ovs.Switch, bridge: Bridge, controller: ControllerProcess, rewrite: str, version: int,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """C2: a redirected connection that its server closes, a plain one that is reset: in the log, whatever is rewritten;
    and every packet leaves as it does without a log.
    """
    switch.set_controller(bridge.name, controller.target)
    wait_for("it is connected", lambda: controller.status()["unknown_switches"])
    packets = [
        down(version, 80, SYN | REDIRECT),
        down(version, 8000 + A, FIN | ACK),
        up(version, A, 8000 + A, FIN | ACK, rewrite),
        down(version, 9999, SYN, client=50000),
        up(version, B, 9999, RST | ACK, rewrite, client=50000),
    ]
    gone = {}
    for log in (False, True):
        code, body = controller.request("PUT", "/v1/config", text(0x100 + int(bridge.name[2:]), rewrite, log))
        assert code == 200, body
        bridge.command("revalidator/purge")  # else a datapath flow of the tables before may still forward
        gone[log] = [unicast(bridge.send(packet.in_port, [frame(packet)])) for packet in packets]
        if not log:
            assert listed(controller) == []
    assert gone[False] == gone[True]
    assert all(len(ports) == 1 for ports in gone[True])
    with contextlib.suppress(AssertionError):  # what there is instead is told below
        wait_for("all is there", lambda: [each["how"] for each in listed(controller)] == ["fin", "reset"], PATIENCE)
    assert [each["how"] for each in listed(controller)] == ["fin", "reset"], (listed(controller), controller.status())
    first = json.loads(controller.request("GET", f"/v1/connections?client={CLIENT[version]}&limit=1")[1])
    second = json.loads(controller.request("GET", first["next"])[1])
    pages = [each["how"] for page in (first, second) for each in page["connections"]]
    assert (pages, second["next"]) == (["reset", "fin"], None)
    host = str(CLIENT[version]) if version == 4 else f"[{CLIENT[version]}]"
    url = f"http://127.0.0.1:{controller.rest_port}"
    assert main(["explain", "connection", f"{host}:40000", "--controller", url]) == 0
    assert f"it was redirected: it went on at port {8000 + A} of a" in capsys.readouterr().out
    first, second = listed(controller)
    assert (first["opened_on"], first["continued_on"], first["server"]) == (80, 8000 + A, "a")
    assert (second["opened_on"], second["continued_on"], second["server"]) == (9999, 9999, "b")
    assert {first["client"], second["client"]} == {str(CLIENT[version])}
    counts = controller.status()["connections"]["counts"]
    wanted = {"opened": 2, "closed": 1, "confirmed": 1, "reset": 1}
    assert {name: count for name, count in counts.items() if count} == wanted
    bridge.send(NETWORK, [frame(down(version, 80, SYN, client=40001))])
    wait_for("it is there", lambda: len(listed(controller)) == 3, PATIENCE)
    assert main(["explain", "connection", f"{host}:40001", "--controller", url]) == 0
    assert re.search(r"its slot is \d+, as the switches say: a has it now", capsys.readouterr().out)


def test_c2_only_what_opens_or_closes_is_copied(bridge: Bridge) -> None:
    """C2: of all flags a segment may have, those of a SYN, a FIN and a RST; of whole TCP segments only."""
    config = load(text(1, "nothing", log=True))
    bridge.install(compiler.compile(config)["s1"])
    number = vip_number("web")
    opening, closing, by_server = (
        make_cookie(reason, number) for reason in (Reason.OPENING, Reason.CLOSING, Reason.SERVER_CLOSING)
    )
    for more in (0, 0x800, 0x0C8):
        for flags, want in ((SYN, opening), (FIN | ACK, closing), (RST, closing), (RST | ACK, closing)):
            assert bridge.trace(NETWORK, frame(down(4, 8002, flags | more))).copied == want
        for flags in (0, ACK, SYN | ACK, SYN | FIN, FIN):
            assert bridge.trace(NETWORK, frame(down(4, 8002, flags | more))).copied is None
        for flags in (FIN | ACK, RST, RST | ACK):
            assert bridge.trace(A, frame(up(4, A, 8002, flags | more, "nothing"))).copied == by_server
            assert bridge.trace(A, frame(up(4, A, 8003, flags | more, "nothing"))).copied is None, "b's port"
        assert bridge.trace(A, frame(up(4, A, 8002, SYN | ACK | more, "nothing"))).copied is None
    segment = down(4, 8002, SYN)
    assert isinstance(segment.payload, Ip)
    for changed in ({"fragment": "first"}, {"fragment": "later"}, {"protocol": UDP}, {"destination": CLIENT[4]}):
        other = replace(segment, payload=replace(segment.payload, **changed))  # type: ignore[arg-type]
        assert bridge.trace(NETWORK, frame(other)).copied is None
    as_vip = replace(segment, payload=replace(segment.payload, source=VIP[4], destination=VIP[4], tcp_flags=FIN | ACK))
    assert bridge.trace(NETWORK, frame(as_vip)).copied == closing, "a client's, whatever its address"


def test_c2_without_a_log_nothing_is_copied(bridge: Bridge, switch: ovs.Switch) -> None:
    """C2: nothing looks into LOG, which holds its miss, and there is no meter."""
    state = compiler.compile(load(text(1, "nothing", log=False)))["s1"]
    bridge.install(state)
    flows = switch.dump_flows(bridge.name)
    looks = f"resubmit(,{LOG.number})"
    assert not any(looks in flow for flow in flows)
    assert len([flow for flow in flows if f"table={LOG.number}," in flow]) == 1
    assert not {metered_reason(meter.number) for meter in state.meters} & set(COPIED)
    assert bridge.trace(NETWORK, frame(down(4, 8002, SYN))).copied is None


def test_c2_a_look_costs_one_mask_a_family_and_direction(bridge: Bridge, switch: ovs.Switch) -> None:
    """C2: the flows of LOG differ in values alone, so many VIPs need no more look-ups than one."""
    bridge.install(compiler.compile(load(text(1, "nothing", log=True)))["s1"])
    flows = [flow for flow in switch.dump_flows(bridge.name, f"table={LOG.number}") if "tcp" in flow]
    masks = set()
    for flow in flows:
        words = flow.partition(" actions=")[0].replace(",", " ").split()
        fields = {word.partition("=")[0] for word in words if not word.startswith(("cookie", "table", "priority"))}
        flags = next(word for word in words if word.startswith("tcp_flags="))
        masks.add((frozenset(fields), frozenset(flags.partition("=")[2].replace("-", "+").split("+"))))
    assert len(flows) == 14 and len(masks) == 4
