"""Questions to the data path: what is sent, and which answers count."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from random import Random

import pytest

from portlb_app.config import Config, load
from portlb_app.net import packets
from portlb_app.openflow import IP_TCP, IP_UDP, ToGroup
from portlb_app.pipeline import SLOT_GROUP, SLOTS, Reason, Side, make_cookie
from portlb_app.punt.asking import MOST, SECONDS, Question
from portlb_app.punt.disposition import Disposition
from portlb_app.punt.handlers import Punt
from portlb_app.punt.packet import PacketIn, Send

TEXT = """
switches: {root: {dpid: 1, network: 1}, left: {dpid: 2, datapath: kernel}, right: {dpid: 3}}
links: [[root:2, left:1], [root:3, right:1]]
vips:
  web:
    address: [10.0.0.100, "fd00::100"]
    mac: "02:00:00:00:00:64"
    redirect_ports:
      80: {servers: [a, b]}
      81: {servers: [a], selection: {kind: source, prefix4: 24}, when: [{pool: 80, dscp: 46}]}
servers:
  a: {vip: web, connector: left:2}
  b: {vip: web, connector: right:2}
"""
CONFIG = load(TEXT)
QUESTION = Question("web", 80, IP_TCP, IPv4Address("192.0.2.7"), 40000)


def asked(*dpids: int, config: Config = CONFIG) -> Punt:
    """What is asked when these switches are connected."""
    punt = Punt(draw=lambda chance=Random("asked"): chance.getrandbits(32))  # type: ignore[misc]
    punt.adopt(config)
    for dpid in dpids:
        punt.connected(dpid)
    return punt


def answer(send: Send, slot: int | None) -> PacketIn:
    """What a switch hands up when it was told to send this."""
    return PacketIn(make_cookie(Reason.ASKED), send.in_port, send.frame, slot)


def test_every_connected_switch_is_asked_once() -> None:
    """By a packet with the addresses and ports in question; the last answer is told."""
    punt, told = asked(1, 2, 3), []
    punt.questions.answered = told.append
    datagram = Question("web", 80, IP_UDP, IPv6Address("fd01::7"), 9)
    for question, address in ((QUESTION, "10.0.0.100"), (datagram, "fd00::100")):
        number, sends = punt.ask(question, 0.0)
        assert [send.dpid for send in sends] == [1, 2, 3]
        for send in sends:
            assert (send.side, send.actions) == (Side.ASK, (ToGroup(SLOT_GROUP),))
            parse = packets.parse_tcp if question.protocol == IP_TCP else packets.parse_datagram
            found = parse(send.frame)
            assert found is not None and (str(found.destination), found.dport) == (address, 80)
            assert (found.source, found.sport) == (question.source, question.source_port)
            assert not told
            assert punt.take(send.dpid, answer(send, 17), 0.1) == ()
        assert [told.pop()] == [number]
        answers = {each.dpid: each for each in punt.questions.answers(number)}
        assert {each.slot for each in answers.values()} == {17}
        assert [answers[dpid].is_certain for dpid in (1, 2, 3)] == [True, False, True]
        owner = answers[1].server
        beyond = {"a": 2, "b": 3}[owner or ""]
        assert answers[beyond].server == owner and answers[1].output == beyond
        assert [answers[dpid].is_entrance for dpid in (1, 2, 3)] == [True, False, False]


def test_a_pool_is_chosen_as_the_tables_do() -> None:
    """By what the packet says of itself; by its source alone where the pool says so, which is certain anywhere."""
    punt = asked(1, 2, 3)
    by_source = Question("web", 81, IP_TCP, QUESTION.source, 40000)
    number, sends = punt.ask(by_source, 0.0)
    assert {send.dpid for send in sends} == {1, 2} and all(send.actions != (ToGroup(SLOT_GROUP),) for send in sends)
    punt.take(2, answer(sends[1], 255), 0.0)
    first, second = punt.questions.answers(number)
    assert (first.slot, second.slot, second.server, second.is_certain) == (None, 255, "a", True)
    number, sends = punt.ask(Question("web", 81, IP_TCP, QUESTION.source, 40000, dscp=46), 0.0)
    assert {send.actions for send in sends} == {(ToGroup(SLOT_GROUP),)}
    assert {each.pool for each in punt.questions.answers(number)} == {80}


def test_a_large_pool_counts_its_slots_over_all_groups() -> None:
    """The group follows from the source port."""
    names = [f"s{each}" for each in range(40)]
    lines = "\n".join(f"  {name}: {{vip: web, connector: s1:{at + 2}}}" for at, name in enumerate(names))
    text = "switches: {s1: {dpid: 1, network: 1}}\nvips:\n  web:\n    address: 10.0.0.100\n"
    text += '    mac: "02:00:00:00:00:64"\n'
    text += f"    redirect_ports: {{80: {{servers: [{', '.join(names)}]}}}}\nservers:\n{lines}"
    punt = asked(1, config=load(text))
    for group in range(4):
        number, (send,) = punt.ask(Question("web", 80, IP_TCP, QUESTION.source, 40000 + 2 * group), 0.0)
        punt.take(1, answer(send, 3), 0.0)
        (found,) = punt.questions.answers(number)
        assert found.slot is not None and found.slot % SLOTS == 3 and found.slot // SLOTS == (20000 + group) % 8


@pytest.mark.parametrize("connected", [(), (1,)])
def test_what_does_not_count(connected: tuple[int, ...]) -> None:
    """Answers to nothing, from others, cut off, without a slot, too late; without a switch nothing is sent."""
    punt = asked(*connected)
    number, sends = punt.ask(QUESTION, 0.0)
    assert [send.dpid for send in sends] == list(connected)
    stranger = packets.make_segment(packets.Ends(1, 2, QUESTION.source, QUESTION.source), (1, 2), 0, 0, 2, 0, bytes(16))
    for dpid, frame, slot, became in (
        (1, stranger, 3, Disposition.UNKNOWN),
        (1, stranger[:-1], 3, Disposition.MALFORMED),
        (1, stranger, None, Disposition.MALFORMED),
        *((3, send.frame, 3, Disposition.UNKNOWN) for send in sends),
    ):
        before = punt.counts.get((Reason.ASKED, became), 0)
        punt.take(dpid, PacketIn(make_cookie(Reason.ASKED), 1, frame, slot), 0.0)
        assert punt.counts[Reason.ASKED, became] == before + 1
    assert [each.slot for each in punt.questions.answers(number)] == [None] * len(connected)


def test_few_wait_at_a_time() -> None:
    """And none for ever."""
    punt = asked(1)
    for _ in range(MOST):
        punt.ask(QUESTION, 0.0)
    with pytest.raises(ValueError, match="wait"):
        punt.ask(QUESTION, SECONDS / 2)
    number, _ = punt.ask(QUESTION, SECONDS)
    assert len(punt.questions.answers(number)) == 1
