"""Packets that a switch hands up, of any size and kind, against a live controller: each costs only itself."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import ip_address
from random import Random

import pytest

from portlb_app.openflow.limits import LARGEST_FRAME
from portlb_app.pipeline import Reason, make_cookie, vip_number
from tests.ovs.controller import ControllerProcess, wait_for
from tests.ovs.openflow_peer import PACKET_OUT, Claims, message, packet_in
from tests.support import wire

VIP, CLIENT, ROUTER = ip_address("10.0.0.100"), ip_address("192.0.2.1"), ip_address("192.0.2.254")
SERVERS = 256
NAMES = [f"s{number}" for number in range(SERVERS)]
CONFIG = "\n".join(
    [
        "switches: {s1: {dpid: 1, network: 1}}",
        'vips: {web: {address: 10.0.0.100, mac: "02:00:00:00:00:64", icmp: {errors: owner},',
        f"  redirect_ports: {{80: {{servers: [{', '.join(NAMES)}], legacy: balance}}}}}}}}",
        "servers:",
        *(
            f"  {name}: {{vip: web, connector: 's1:{number + 2}', service_ports: [{8000 + number}]}}"
            for number, name in enumerate(NAMES)
        ),
    ]
)
COOKIE = make_cookie(Reason.ICMP_ERROR, vip_number("web"))


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControllerProcess]:
    path = tmp_path_factory.mktemp("packets") / "lb.yaml"
    path.write_text(CONFIG)
    controller = ControllerProcess(path)
    yield controller
    assert controller.close() == 0


@pytest.fixture
def switch(controller: ControllerProcess) -> Iterator[Claims]:
    switch = Claims(controller.openflow_port)
    switch.connect_as(1)
    controller.wait_for_state("s1", "reading")
    yield switch
    switch.close()
    controller.wait_for_state("s1", "absent")


def error(port: int, size: int) -> bytes:
    """A frame of so many bytes: an ICMP error about a packet that the VIP has sent from a port."""
    quoted = wire.ip(VIP, CLIENT, 6, struct.pack("!HHI", port, 40000, 1))
    head = len(wire.ethernet(4, wire.ip(ROUTER, VIP, 1, wire.icmp_error(ROUTER, VIP, 3, quoted))))
    icmp = wire.icmp_error(ROUTER, VIP, 3, quoted + bytes(size - head))
    packet = wire.ip(ROUTER, VIP, 1, icmp[: 65_535 - 20]) + icmp[65_535 - 20 :]
    return wire.ethernet(4, packet)


def counts(controller: ControllerProcess) -> dict[str, int]:
    """What became of ICMP errors so far, where it is not 0."""
    return {fate: number for fate, number in controller.status()["punted"]["icmp_error"].items() if number}


def last_reason(controller: ControllerProcess) -> str:
    return str(controller.status()["refused_connections"]["last"][-1]["reason"])


def test_a_packet_that_is_too_large_costs_only_itself(controller: ControllerProcess, switch: Claims) -> None:
    """A switch hands up frames of 9,234 bytes at most; the largest has room in a message beside 256 receivers."""
    before = counts(controller)
    for size in (LARGEST_FRAME, LARGEST_FRAME + 1, 61_408, 65_477):
        switch.send(packet_in(COOKIE, error(80, size)))
    _, longest = switch.until(PACKET_OUT)
    assert longest.endswith(error(80, LARGEST_FRAME))
    switch.send(packet_in(COOKIE, error(8001, 600)))
    _, next_one = switch.until(PACKET_OUT)
    assert next_one.endswith(error(8001, 600)), "the worker goes on"
    known = {"sent": before.get("sent", 0) + 2, "malformed": before.get("malformed", 0) + 3}
    assert wait_for("all are counted", lambda: counts(controller) == before | known)
    assert switch.answers()


@pytest.mark.parametrize("size", [65_494, 65_499, 65_502, 65_520, 65_531, 65_542, 65_549])
def test_a_packet_that_wraps_its_message_is_no_way_to_say_something_as_the_switch(
    controller: ControllerProcess, switch: Claims, size: int
) -> None:
    """Whoever believes the length reads the rest of the frame as messages: here they begin where that would be."""
    injected = packet_in(COOKIE, error(8001, 80))
    before = counts(controller)
    frame = (bytes(max(0, size - 65_536)) + injected * 700)[:size]
    switch.send(packet_in(COOKIE, frame))
    assert switch.is_closed()
    assert counts(controller) == before
    reason = last_reason(controller)
    assert "which wraps the length of its message" in reason or "a message says it has" in reason


def test_damaged_packets_are_counted_each_once_and_none_ends_the_worker(
    controller: ControllerProcess, switch: Claims
) -> None:
    dice, before = Random(2), counts(controller)
    for _ in range(600):
        frame = bytearray(error(dice.choice((80, 8001, 9)), 100))
        for _ in range(dice.randint(0, 6)):
            frame[dice.randrange(len(frame))] = dice.randrange(256)
        switch.send(packet_in(COOKIE, bytes(frame[: dice.randrange(30, 101)])))
    total = sum(before.values()) + 600
    wait_for("each is counted", lambda: sum(counts(controller).values()) == total)
    sent = counts(controller).get("sent", 0)
    switch.send(packet_in(COOKIE, error(8001, 600)))
    wait_for("the worker goes on", lambda: counts(controller).get("sent", 0) == sent + 1)


def test_packets_of_a_switch_that_is_not_configured_are_not_judged(controller: ControllerProcess) -> None:
    peer, before = Claims(controller.openflow_port), controller.status()["punted"]
    peer.connect_as(0xBAD)
    peer.send(packet_in(COOKIE, error(8001, 100)) * 100, message(10, bytes(3)))
    assert peer.answers()
    assert controller.status()["punted"] == before
    peer.close()
    wait_for("it is gone", lambda: not controller.status()["unknown_switches"])
