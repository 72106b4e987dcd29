"""Heartbeats: whose they are, which of them count, what answers them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from portlb_app.config import load
from portlb_app.net import heartbeat
from portlb_app.net.heartbeat import Heartbeat, Order, parse_answer
from portlb_app.net.packets import Datagram, parse_datagram
from portlb_app.openflow import CONTROLLER, Output
from portlb_app.pipeline import Reason, make_cookie
from portlb_app.punt.disposition import Disposition
from portlb_app.punt.handlers import Punt
from portlb_app.punt.heartbeat import FORMER
from portlb_app.punt.packet import PacketIn, Send

FLOWS = Path(__file__).parents[3] / "flows"
SHARED_MAC = 0x020000000064
VIP = "10.0.0.100"
SHARED = """
switches: {s1: {dpid: 1, network: 1}}
vips:
  web: {address: [10.0.0.100], mac: "02:00:00:00:00:64", rewrite: address, redirect_ports: {80: {servers: [a, b]}}}
  dns: {address: [10.0.0.101], mac: "02:00:00:00:00:64", rewrite: address, redirect_ports: {53: {servers: [c]}}}
servers:
  a: {vip: web, connector: "s1:2", address: 10.0.0.11, mac: "02:00:00:00:01:0a"}
  b: {vip: web, connector: "s1:2", address: 10.0.0.12, mac: "02:00:00:00:01:0b"}
  c: {vip: dns, connector: "s1:2", address: 10.0.0.13, mac: "02:00:00:00:01:0a"}
"""


def punt(text: str) -> Punt:
    """A judge of this configuration's packets."""
    made = Punt()
    made.adopt(load(text))
    return made


def sent(said: Heartbeat, source: str = VIP, mac: int = SHARED_MAC, port: int = 2, **other: object) -> PacketIn:
    """A heartbeat, as a switch hands it up."""
    version = ip_address(source).version
    datagram = Datagram(
        mac, heartbeat.MAC, ip_address(source), heartbeat.ADDRESSES[version], 40000, heartbeat.PORT, said.pack()
    )
    frame = replace(datagram, **other).pack()  # type: ignore[arg-type]
    return PacketIn(make_cookie(Reason.HEARTBEAT), port, frame)


def fate(judge: Punt, packet: PacketIn, dpid: int = 1, now: float = 0.0) -> str:
    """What became of one packet."""
    before = judge.counts
    sends = judge.take(dpid, packet, now)
    (became,) = (each for each, number in judge.counts.items() if number != before.get(each, 0))
    assert became[0] is Reason.HEARTBEAT and bool(sends) is (became[1] is Disposition.SENT)
    return became[1].value


@pytest.fixture
def fig2() -> Punt:
    """FIG. 2."""
    return punt((FLOWS / "fig2/lb.yaml").read_text())


def test_the_port_says_whose_it_is(fig2: Punt) -> None:
    """All servers have one MAC and IP address; no name is needed."""
    for port in (2, 3, 4, 5):
        assert fate(fig2, sent(Heartbeat(9, 1, open=port), port=port), now=7.0) == "sent"
    heard = fig2.heartbeats.take_heard()
    assert [(each.server, each.heartbeat.open, each.at) for each in heard] == [
        ("a", 2, 7.0),
        ("b", 3, 7.0),
        ("c", 4, 7.0),
        ("d", 5, 7.0),
    ]
    assert fig2.heartbeats.take_heard() == ()


def test_the_answer_goes_back_by_the_same_port(fig2: Punt) -> None:
    """To the socket that asked, with its number, and what is wanted of that server."""
    fig2.heartbeats.orders = {"a": Order.MOVE, "b": Order.RESET}
    (send,) = fig2.take(1, sent(Heartbeat(9, 4)), 0.0)
    assert send == Send(1, CONTROLLER, (Output(2),), send.frame)
    back = parse_datagram(send.frame)
    assert back is not None
    assert (back.destination_mac, str(back.destination), back.dport) == (SHARED_MAC, VIP, 40000)
    assert (back.source, back.sport) == (heartbeat.ADDRESSES[4], heartbeat.PORT)
    assert parse_answer(back.data) == heartbeat.Answer(9, 4, Order.MOVE | Order.TELL)
    assert len(send.frame) <= len(sent(Heartbeat(9, 4)).frame)


def test_no_server_speaks_for_another_one(fig2: Punt) -> None:
    """By its name, from a port without a server, with another MAC or IP address, or from a switch without servers."""
    said = Heartbeat(9, 1)
    assert fate(fig2, sent(replace(said, name="b"))) == "misplaced"
    assert fate(fig2, sent(said, port=1)) == "misplaced"
    assert fate(fig2, sent(said, port=77)) == "misplaced"
    assert fate(fig2, sent(said, mac=0x020000000065)) == "misplaced"
    assert fate(fig2, sent(said, source="10.0.0.7")) == "misplaced"
    assert fate(fig2, sent(said), dpid=2) == "misplaced"
    assert fig2.heartbeats.take_heard() == ()
    assert fig2.heartbeats.take_troubles() == [
        "an agent behind s1:2 says that it is of server b, which is not there",
        "an agent behind port 1 does not say by its addresses which one it is of: no server",
        "an agent behind port 77 does not say by its addresses which one it is of: no server",
        "an agent behind s1:2 does not say by its addresses which one it is of: a",
        "an agent behind port 2 does not say by its addresses which one it is of: no server",
    ]


def test_replays_are_ignored(fig2: Punt) -> None:
    """The same again, an older one, and all of a process that another one has followed."""
    assert [fate(fig2, sent(Heartbeat(1, number))) for number in (5, 5, 4, 6)] == [
        *("sent", "replayed", "replayed", "sent")
    ]
    assert fate(fig2, sent(Heartbeat(2, 1))) == "sent"
    assert fate(fig2, sent(Heartbeat(1, 7))) == "replayed"
    assert [fate(fig2, sent(Heartbeat(boot, 1))) for boot in range(3, 3 + FORMER)] == ["sent"] * FORMER
    assert fate(fig2, sent(Heartbeat(2 + FORMER, 1))) == "replayed"
    assert fate(fig2, sent(Heartbeat(3, 9))) == "replayed"
    assert fate(fig2, sent(Heartbeat(1, 1), port=3)) == "sent"


def test_what_is_no_heartbeat_is_malformed(fig2: Punt) -> None:
    """Cut anywhere, with bits that changed, to another port or address."""
    whole = sent(Heartbeat(9, 1, name="a", by_port={80: 3}))
    for size in range(len(whole.frame)):
        assert fate(fig2, replace(whole, frame=whole.frame[:size])) == "malformed"
    for at in range(34, len(whole.frame)):
        changed = whole.frame[:at] + bytes([whole.frame[at] ^ 1]) + whole.frame[at + 1 :]
        assert fate(fig2, replace(whole, frame=changed)) in ("malformed", "misplaced")
    assert fate(fig2, sent(Heartbeat(9, 1), dport=53)) == "malformed"
    assert fate(fig2, sent(Heartbeat(9, 1), destination=ip_address("10.0.0.7"))) == "malformed"
    assert fate(fig2, sent(Heartbeat(9, 1), data=b"")) == "malformed"
    assert fig2.heartbeats.take_heard() == ()


def test_servers_behind_one_port_say_their_names() -> None:
    """Or have addresses of their own; what cannot be told apart is told once."""
    judge, said = punt(SHARED), Heartbeat(9, 1)
    assert fate(judge, sent(said, "10.0.0.12", 0x02000000010B)) == "sent"
    assert fate(judge, sent(said, "10.0.0.13", 0x02000000010A)) == "sent"
    assert fate(judge, sent(said, "10.0.0.13", 0x02000000010B)) == "misplaced"
    assert fate(judge, sent(said, "10.0.0.13", 0x02000000010B)) == "misplaced"
    assert fate(judge, sent(replace(said, name="a"), "10.0.0.13", 0x02000000010A)) == "sent"
    assert fate(judge, sent(replace(said, name="b", sequence=2), "10.0.0.12", 0x02000000010A)) == "misplaced"
    assert {each.server for each in judge.heartbeats.take_heard()} == {"a", "b", "c"}
    assert judge.heartbeats.take_troubles() == [
        "an agent behind s1:2 does not say by its addresses which one it is of: a, b, c",
        "an agent behind s1:2 says that it is of server b, which is not there",
    ]


def test_a_server_that_is_gone_is_forgotten(fig2: Punt) -> None:
    """With another configuration, and one that comes again begins anew."""
    fate(fig2, sent(Heartbeat(1, 5), port=5))
    text = (FLOWS / "fig2/lb.yaml").read_text()
    fig2.adopt(load(text))
    assert fate(fig2, sent(Heartbeat(1, 5), port=5)) == "replayed"
    fig2.adopt(load(SHARED))
    fig2.adopt(load(text))
    assert fate(fig2, sent(Heartbeat(1, 5), port=5)) == "sent"


def test_in_a_tree_the_servers_own_switch_hands_up() -> None:
    """The same port of another one is another server's."""
    judge = punt((FLOWS / "tree/lb.yaml").read_text())
    config = load((FLOWS / "tree/lb.yaml").read_text())
    server = config.server_by_name["b"]
    for switch in config.switches:
        packet = sent(Heartbeat(switch.dpid, 1), port=server.connector.port)
        fate(judge, packet, switch.dpid)
        heard = [each.server for each in judge.heartbeats.take_heard()]
        assert heard == {"left": ["b"], "right": ["d"]}.get(switch.name, [])
