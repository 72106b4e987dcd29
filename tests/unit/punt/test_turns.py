"""Turns that the controller takes: who gets a SYN, what is remembered, and when there are too many for turns."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from ipaddress import IPv4Address
from typing import Any

import pytest

from portlb_app.compiler import compile as compile_config
from portlb_app.config import Algorithm, Config, Selecting
from portlb_app.config import Turns as Whose
from portlb_app.config import load
from portlb_app.net import packets
from portlb_app.net.packets import REDIRECT, Segment
from portlb_app.openflow import Learn, Output
from portlb_app.pipeline import PRESENCE, RST, SYN, Reason, Side, make_cookie, resubmit
from portlb_app.punt.handlers import Punt
from portlb_app.punt.packet import PacketIn, Send
from portlb_app.punt.turns import EVERY, HOLD, LONGEST, MOST, REMEMBERED, Turns
from portlb_app.topology.conditions import AS_CONFIGURED, Conditions, PoolSlots
from tests.support import wire

KEY = "web", 80
VIP = IPv4Address("10.0.0.100")
ROUND = Selecting(Algorithm.ROUND_ROBIN, turns=Whose.CONTROLLER, rate=100)
ELEVATOR = Selecting(Algorithm.ELEVATOR, turns=Whose.CONTROLLER, rate=100)


def segment(number: int, seq: int = 1) -> Segment:
    """A SYN of some client."""
    client = IPv4Address(0xC6336400 + number % 256)
    return Segment(client, VIP, 1024 + number // 256, 80, seq, 0, SYN | REDIRECT, b"", b"", 0)


def taken(selecting: Selecting, weights: dict[str, int], count: int) -> str:
    """Who gets so many SYNs, one after the other."""
    turns = Turns()
    return "".join(str(turns.server(KEY, selecting, weights, segment(at), at / 10)) for at in range(count))


def test_each_syn_is_a_turn() -> None:
    """Round and round, or up and down again; the shares are exact, by weight too."""
    assert taken(ROUND, dict.fromkeys("abc", 7), 9) in {each * 3 for each in ("abc", "acb", "bac", "bca", "cab", "cba")}
    up = taken(ELEVATOR, dict.fromkeys("abc", 1), 12)
    assert up[3:6] == up[2::-1] and up[6:] == up[:6] and set(up) == set("abc")
    assert Counter(taken(ROUND, {"a": 2, "b": 4, "c": 6}, 60)) == {"a": 10, "b": 20, "c": 30}
    assert taken(ROUND, {}, 1) == "None"


def test_a_repeated_syn_gets_the_same_server_for_a_while() -> None:
    """As long as that takes part; with another number it is another connection. What is remembered has a bound."""
    turns, weights = Turns(), dict.fromkeys("abc", 1)
    first = turns.server(KEY, ROUND, weights, segment(0), 0.0)
    assert turns.server(KEY, ROUND, weights, segment(0), 1.0) == first
    assert turns.server(KEY, ROUND, weights, segment(0, seq=2), 1.0) != first
    assert turns.server(KEY, ROUND, {name: 1 for name in "abc" if name != first}, segment(0), 2.0) != first
    turns = Turns()
    first, later = (turns.server(KEY, ROUND, weights, segment(0), at) for at in (0.0, REMEMBERED + 1))
    assert first != later
    for number in range(MOST + 10):
        turns.server(KEY, ROUND, weights, segment(number), 1e6 + number)
    assert len(turns._known) == MOST


def test_a_server_that_comes_has_its_turns_at_once() -> None:
    turns = Turns()
    for number in range(10):
        turns.server(KEY, ROUND, {"a": 1, "b": 1}, segment(number), float(number))
    after = Counter(turns.server(KEY, ROUND, dict.fromkeys("abc", 1), segment(10 + at), 10.0 + at) for at in range(30))
    assert after == dict.fromkeys("abc", 10)


def config(**selection: Any) -> Config:
    """Three servers on two switches; clients come in at the first one."""
    servers = {
        name: {"vip": "web", "connector": at, "service_ports": [{"port": 8000 + number, "application": 80}]}
        for number, (name, at) in enumerate({"a": "s1:2", "b": "s1:3", "c": "s2:2"}.items())
    }
    pool = {"servers": list("abc"), "selection": {"kind": "round-robin", "turns": "controller", **selection}}
    vip = {"address": [str(VIP), "fd00::100"], "mac": "02:00:00:00:00:64", "redirect_ports": {80: pool}}
    switches = {"s1": {"dpid": 1, "network": 1}, "s2": {"dpid": 2}}
    data = {"switches": switches, "links": [["s1:9", "s2:9"]], "vips": {"web": vip}, "servers": servers}
    return load(json.dumps(data))


class Desk:
    """The controller of that configuration, with both switches."""

    def __init__(self, conditions: Conditions = AS_CONFIGURED, **selection: Any) -> None:
        self.config = config(**selection)
        self.punt = Punt()
        self.punt.adopt(self.config, conditions)
        for dpid in (1, 2):
            self.punt.connected(dpid)

    def take(self, number: int, now: float, flags: int = SYN | REDIRECT, slot: int | None = 0) -> tuple[Send, ...]:
        """What follows from a client's SYN at s1."""
        client = IPv4Address(0xC6336400 + number)
        whole = wire.tcp_segment(client, VIP, 4000, 80, b"", flags)
        frame = wire.ethernet(4, wire.ip(client, VIP, 6, whole))
        cookie = make_cookie(Reason.SIGNAL, self.config.vips[0].number, 80)
        return self.punt.take(1, PacketIn(cookie, 1, frame, slot), now)

    def who(self, *arguments: Any, **more: Any) -> str:
        """The server that gets it, at its own switch."""
        (send,) = self.take(*arguments, **more)
        (output,) = send.actions
        assert isinstance(output, Output)
        return {(1, 2): "a", (1, 3): "b", (2, 2): "c"}[send.dpid, output.port]


def test_each_server_gets_its_syns_at_its_own_switch() -> None:
    """A switch on the way there would hand them up again, or take them for its own slot's."""
    desk = Desk()
    assert Counter(desk.who(number, float(number)) for number in range(30)) == dict.fromkeys("abc", 10)
    desk.punt.disconnected(2)
    assert Counter(desk.who(30 + number, 30.0 + number) for number in range(30)) == {"a": 15, "b": 15}


def test_conditions_say_who_takes_part() -> None:
    """And with which weights."""
    slots = {("web", 80): PoolSlots(("a", "b") * 128, (), (("a", 3), ("b", 1)))}
    desk = Desk(Conditions(slots=slots))
    assert Counter(desk.who(number, float(number)) for number in range(40)) == {"a": 30, "b": 10}


def said(sends: tuple[Send, ...]) -> list[tuple[int, str, bool]]:
    """To which switch, about which address of the VIP, and whether it is that turns are taken."""
    found = []
    for send in sends:
        assert (send.actions, send.side) == ((resubmit(PRESENCE),), Side.PRESENT)
        segment = packets.parse_tcp(send.frame)
        assert segment is not None and segment.dport == 80
        found.append((send.dpid, str(segment.destination), not segment.flags & RST))
    return found


ON = [(1, "10.0.0.100", True), (1, "fd00::100", True)]
OFF = [(dpid, address, False) for dpid, address, _ in ON]


def test_the_entrance_hears_that_the_controller_takes_turns() -> None:
    """Several times in the time after which it would take it for gone, and as long as it is connected."""
    desk = Desk()
    assert said(desk.punt.say(0.0)) == ON
    assert desk.punt.say(EVERY / 2) == () and said(desk.punt.say(EVERY)) == ON
    (seconds,) = {
        action.seconds
        for flow in compile_config(desk.config)["s1"].flows
        for action in flow.actions
        if isinstance(action, Learn)
    }
    assert seconds >= 3 * EVERY
    desk.punt.disconnected(1)
    assert desk.punt.say(10.0) == ()


def test_too_many_syns() -> None:
    """The switch is told at once, by the SYN that is one too many, which is still served; later each time."""
    desk, now, numbers = Desk(rate=50), 0.0, itertools.cycle(range(256))
    for seconds in (HOLD, 2 * HOLD, 4 * HOLD):
        came: tuple[Send, ...] = ()
        for _ in range(200):
            came = desk.take(next(numbers), now := now + 0.001)
            if len(came) > 1:
                break
        assert said(came[1:]) == OFF and isinstance(came[0].actions[-1], Output)
        assert said(desk.punt.say(now + EVERY)) == []
        (text,) = desk.punt.turns.take_troubles()
        assert text == f"web:80: more than 50 SYNs a second; its slots decide for {seconds:g} s"
        assert desk.punt.say(now + seconds - 0.1) == ()
        now += seconds + EVERY
        assert said(desk.punt.say(now)) == ON
    assert desk.punt.turns.takes(KEY, now)
    for number in range(200):
        desk.take(number, now := now + LONGEST)
    assert not list(desk.punt.turns.take_troubles()), "few at a time"


def test_as_many_as_the_rate_says_are_not_too_many() -> None:
    desk = Desk(rate=100)
    for number in range(2000):
        assert len(desk.take(number % 250, number / 100)) == 1
    assert not list(desk.punt.turns.take_troubles())


@pytest.mark.parametrize("flags", [SYN, SYN | REDIRECT | 0x10, REDIRECT])
def test_what_is_no_such_syn_gets_no_turn(flags: int) -> None:
    """A plain SYN is dropped, as its policy says; others never come up."""
    assert Desk().take(0, 0.0, flags=flags) == ()


def test_only_an_entrance_hands_syns_up() -> None:
    """A switch behind it would hand up what the slots of the entrance have sent there."""
    states = compile_config(config())
    learning = {
        name: [flow.table for flow in state.flows if Learn in map(type, flow.actions)] for name, state in states.items()
    }
    assert learning == {"s1": [PRESENCE.number] * 4, "s2": []}
