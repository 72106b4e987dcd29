"""When a server is up or down by its checks: rows, time, loss, flapping, and failures of the checker itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portlb_app.config import Check, load
from portlb_app.health.checker import STANDSTILL, Checker
from portlb_app.health.flights import port_of
from portlb_app.health.hold import HOLD, Hold
from portlb_app.health.judgement import FLAPPING, MOST, Judge
from portlb_app.health.probe import Result, Verdict
from portlb_app.net.packets import make_segment
from portlb_app.openflow import CONTROLLER, Output
from portlb_app.pipeline import ACK, RST, SYN, Reason, Side, make_cookie
from portlb_app.punt.disposition import Disposition
from portlb_app.punt.packet import PacketIn
from tests.unit.health.fleet import Fleet, configuration, lines_of
from tests.unit.health.servers import BACK

HOUR = 3600.0
GOOD, BAD, NOTHING = (Result(verdict, "x") for verdict in Verdict)


# ---- rows ------------------------------------------------------------------------------------------------------------


def judged(judge: Judge, results: list[Result], now: float = 0.0) -> bool | None:
    """What it is after these results."""
    for result in results:
        judge.take(result)
        if (change := judge.change(now)) is not None:
            judge.become(change.is_up, now)
    return judge.is_up


def test_only_failures_in_a_row_make_a_server_down() -> None:
    """However many there are in all; what says nothing neither counts nor breaks a row."""
    judge = Judge(Check(), True)
    assert judged(judge, [BAD, BAD, GOOD] * 50) is True
    assert judged(judge, [BAD, NOTHING, BAD]) is True
    assert judged(judge, [NOTHING, BAD]) is False
    assert judged(judge, [GOOD, BAD] * 50) is False
    assert judged(judge, [GOOD, GOOD]) is True


def test_a_server_of_which_nothing_is_known() -> None:
    """One success is enough, and as many failures as of any other."""
    assert judged(Judge(Check()), [GOOD]) is True
    assert judged(Judge(Check()), [BAD, BAD]) is None
    assert judged(Judge(Check()), [BAD, BAD, BAD]) is False


def test_silence_after_an_error_is_good_where_no_answer_is_expected() -> None:
    """Else such a server would be down for ever."""
    judge = Judge(Check(), True)
    assert judged(judge, [BAD, BAD, BAD, NOTHING]) is False
    assert judged(judge, [NOTHING]) is True


def test_a_server_that_flaps_needs_more_and_more_successes() -> None:
    """Twice as many each time, 32 at most; after five quiet minutes one doubling a minute is forgotten."""
    judge, needed, now = Judge(Check(), True), [], 0.0
    for _ in range(7):
        judged(judge, [BAD] * 3, now)
        needed.append(judge.needed(now))
        assert judged(judge, [GOOD] * (needed[-1] - 1), now) is False
        assert judged(judge, [GOOD], now) is True
        now += 60
    assert needed == [2, 4, 8, 16, 32, 32, 32]
    assert judge.flaps(now) == "down 7 times shortly after each other, so it needs 32 in a row"
    quiet = now - 60 + FLAPPING
    assert [judge.needed(quiet + 60 * minutes) for minutes in range(1, 7)] == [32, 32, 16, 8, 4, 2]
    assert judge.flaps(quiet + 600) == ""
    assert Judge(Check(rise=40), False).needed(0.0) == 40 > MOST


# ---- time ------------------------------------------------------------------------------------------------------------


def settled(servers: int = 8, **options: object) -> Fleet:
    """Servers that have been up for a while."""
    fleet = Fleet(configuration(servers), **options)  # type: ignore[arg-type]
    fleet.run(10)
    assert set(fleet.states.values()) == {True}
    fleet.news.clear()
    return fleet


@pytest.mark.parametrize("second", [number / 8 for number in range(16)])
def test_a_process_that_ends_is_found_in_three_seconds(second: float) -> None:
    """Whenever it ends: three refusals."""
    fleet = settled()
    fleet.run(second)
    ended = fleet.now
    fleet.listening.discard("s3")
    fleet.run(4)
    ((at, news),) = fleet.news
    assert (news.server, news.is_up, news.pool) == ("s3", False, ("web", 80))
    assert news.reason == "tcp by port 8004: refused, 3 of 3"
    assert at - ended < 2.85


@pytest.mark.parametrize("second", [number / 8 for number in range(16)])
def test_a_silent_host_is_found_in_six_seconds(second: float) -> None:
    """Three times no answer, each after a second."""
    fleet = settled()
    fleet.run(second)
    ended = fleet.now
    fleet.alive.discard("s3")
    fleet.run(7)
    ((at, news),) = fleet.news
    assert (news.server, news.is_up, news.reason) == ("s3", False, "tcp by port 8004: no answer within 1 s, 3 of 3")
    assert at - ended < 5.2


def test_it_comes_back_after_two_successes() -> None:
    """Checked every 5 s while it is down, and every 2 s from its first success on."""
    fleet = settled()
    fleet.alive.discard("s3")
    fleet.run(60)
    back = fleet.now
    fleet.alive.add("s3")
    fleet.news.clear()
    fleet.run(8)
    ((at, news),) = fleet.news
    assert (news.server, news.is_up, news.reason) == ("s3", True, "tcp by port 8004: connected, 2 of 2")
    assert at - back <= 7.1


def test_checks_do_not_gather() -> None:
    """In any tenth of an interval about a tenth of the servers are checked, at first and after a while."""
    for wait in (0.0, 60.0):
        fleet = Fleet(configuration(200))
        fleet.run(wait + 4)
        counts = []
        for _ in range(10):
            before = fleet.checker.begun
            fleet.run(0.2)
            counts.append(fleet.checker.begun - before)
        assert max(counts) < 2.2 * sum(counts) / len(counts), counts


def test_a_broken_agent_is_told_from_a_broken_server() -> None:
    """By a check that goes straight to the connector."""
    fleet = settled()
    fleet.tables.discard("s3")
    fleet.run(7)
    ((_, news),) = fleet.news
    assert news.reason == (
        "tcp by port 8004: no answer within 1 s, 3 of 3; it answers by its connector, so its agent or the tables are "
        "at fault"
    )


def test_a_hurry() -> None:
    """What there is reason to suspect is checked at once; what is down already is not."""
    fleet = Fleet(configuration(8, {"interval": 60}))
    fleet.run(70)
    fleet.listening.discard("s3")
    fleet.checker.hurry("s3", fleet.now)
    fleet.run(1.0)
    assert fleet.down() == {"s3"}
    begun = fleet.checker.begun
    fleet.checker.hurry("s3", fleet.now)
    fleet.run(0.1)
    assert fleet.checker.begun == begun


# ---- loss ------------------------------------------------------------------------------------------------------------


def test_an_hour_with_thirty_per_cent_loss_takes_no_server_down() -> None:
    """Four servers, each way: of the 7,500 checks of this hour, nine fail, and never three in a row."""
    fleet = Fleet(configuration(4), loss=0.3, seed=5)
    fleet.run(HOUR)
    assert [each for _, each in fleet.news if each.is_up is False] == []
    assert set(fleet.states.values()) == {True}
    assert fleet.checker.begun > 4 * HOUR / 2


# ---- the checker itself ----------------------------------------------------------------------------------------------


def test_all_at_once_is_held_and_then_believed() -> None:
    """Nothing follows for ten seconds; after that the servers are down, because the way of the answers works."""
    fleet = settled(10)
    fleet.alive.clear()
    began = fleet.now
    fleet.run(9)
    assert len(fleet.down()) <= 1
    assert any(state.held.startswith("held: 10 of 10 servers") for state in fleet.checker.states())
    (log,) = fleet.checker.logs()
    assert log == "10 of 10 servers fail their checks at once: nothing follows from that for now"
    fleet.run(8)
    assert fleet.down() == set(fleet.names)
    assert min(at for at, _ in fleet.news[1:]) - began >= HOLD


def test_nothing_follows_while_no_answer_can_arrive() -> None:
    """The switch hands nothing up: that says nothing about servers, however long it lasts."""
    fleet = settled(10)
    fleet.up = False
    fleet.run(300)
    assert len(fleet.down()) <= 1
    held = {state.held for state in fleet.checker.states() if state.held}
    assert held == {"held: 10 of 10 servers fail at once, and answers do not reach the controller from this switch"}
    fleet.up = True
    fleet.run(20)
    assert fleet.down() == set()


def test_half_of_the_servers_is_not_most() -> None:
    """A rack that fails is believed at once."""
    fleet = settled(10)
    fleet.alive -= set(fleet.names[:5])
    fleet.run(6)
    assert fleet.down() == set(fleet.names[:5])


def test_servers_that_are_down_for_long_do_not_count() -> None:
    """Of ten, eight have been down for an hour: when one of the others fails, it is no matter of the checker."""
    fleet = settled(10)
    for name in fleet.names[:8]:
        fleet.alive.discard(name)
        fleet.run(40)
    assert fleet.down() == set(fleet.names[:8])
    fleet.alive.discard(fleet.names[8])
    fleet.run(6)
    assert fleet.down() == set(fleet.names[:9])


def test_a_standstill_makes_checks_void() -> None:
    """The controller does nothing for five seconds, again and again: no server goes down by that."""
    fleet = settled(10, path=0.2)
    for _ in range(20):
        fleet.run(2.0)
        fleet.stand_still(5.0)
    fleet.run(STANDSTILL)
    assert fleet.news == []
    assert fleet.checker.voided >= 20


def test_a_switch_that_is_gone() -> None:
    """Its servers are not checked, and stay what they were."""
    fleet = settled()
    fleet.checker.disconnected(1)
    begun = fleet.checker.begun
    fleet.run(60)
    assert (fleet.news, fleet.checker.begun, fleet.checker.in_flight) == ([], begun, 0)
    fleet.checker.connected(1)
    fleet.run(10)
    assert fleet.checker.begun > begun


def test_hold_counts_each_server_once() -> None:
    """More than half of at least two."""
    hold = Hold()
    hold.adopt(frozenset("abcd"), 2.0)
    hold.fails("a", 0.0)
    hold.fails("a", 1.0)
    hold.fails("b", 1.0)
    assert hold.since(1.0) is None
    hold.fails("c", 2.0)
    assert hold.since(2.0) == 2.0 and hold.holds(2.0) and not hold.holds(2.0 + HOLD)
    hold.passes("a", 3.0)
    assert not hold.holds(3.0)
    alone = Hold()
    alone.adopt(frozenset("a"), 2.0)
    alone.fails("a", 0.0)
    assert not alone.holds(0.0)


# ---- configurations --------------------------------------------------------------------------------------------------


def test_another_configuration() -> None:
    """What stays keeps its past; of what goes nothing is said any more; what comes is checked."""
    fleet = settled(3)
    fleet.listening.discard("s1")
    fleet.run(5)
    assert fleet.down() == {"s1"}
    fleet.news.clear()
    begun = fleet.checker.begun
    fleet.checker.adopt(lines_of(configuration(2)), fleet.now)
    (gone,) = fleet.checker.news()
    assert (gone.server, gone.source, gone.is_up) == ("s2", "check:80/IPv4", None)
    assert fleet.states == {"s0": True, "s1": False}
    fleet.checker.adopt([], fleet.now)
    assert {each.server for each in fleet.checker.news()} == {"s0", "s1"}
    fleet.run(5)
    assert fleet.checker.begun == begun


def test_another_pool_hears_what_is_known() -> None:
    """A check for two pools is one, and tells both."""
    fleet = settled(2)
    both = [replace(line, ports=(80, 443)) for line in lines_of(fleet.config)]
    fleet.checker.adopt(both, fleet.now)
    assert {(each.server, each.pool, each.is_up) for each in fleet.checker.news()} == {
        ("s0", ("web", 443), True),
        ("s1", ("web", 443), True),
    }


# ---- ways ------------------------------------------------------------------------------------------------------------

WAYS = """
switches: {s1: {dpid: 1, network: 1}}
vips:
  web:
    address: [10.0.0.100, "fd00::100"]
    mac: "02:00:00:00:00:64"
    check: {kind: http}
    redirect_ports:
      80: {servers: [a, b, c, d], legacy: balance}
      81: {servers: [a], check: {kind: ping}}
      82: {servers: [a], check: {kind: ping}}
      53: {servers: [a], check: {kind: udp}}
servers:
  a: {vip: web, connector: "s1:2", service_ports: [{port: 8001, application: 80}, 53]}
  b: {vip: web, connector: "s1:3", service_address: [10.0.0.102, "fd00::102"]}
  c: {vip: web, connector: "s1:4", service_mac: "02:00:00:00:01:0c"}
  d: {vip: web, connector: "s1:5"}
"""


def test_ways_to_servers() -> None:
    """By what names the server, or by its connector; by both versions of IP; a check for two pools is one."""
    found = lines_of(load(WAYS))
    by_four = {(line.server, line.check.kind.value): line for line in found if line.version == 4}
    names = {key: (line.way.name, line.way.target.port, line.ports) for key, line in by_four.items()}
    assert names == {
        ("a", "http"): ("port 8001", 8001, (80,)),
        ("a", "ping"): ("its connector", 0, (81, 82)),
        ("a", "udp"): ("port 53", 53, (53,)),
        ("b", "http"): ("its service address", 80, (80,)),
        ("c", "http"): ("its service MAC address", 80, (80,)),
        ("d", "http"): ("its connector", 80, (80,)),
    }
    assert len(found) == 2 * len(by_four)
    assert {line.way.side for line in found if line.direct is not None} == {Side.CHECK}
    assert by_four["d", "http"].direct is None and by_four["d", "http"].way.actions == (Output(5),)
    assert by_four["c", "http"].way.target.ends.destination_mac == 0x02000000010C
    assert str(by_four["b", "http"].way.target.ends.destination) == "10.0.0.102"


# ---- who may answer --------------------------------------------------------------------------------------------------


def one_flight() -> tuple[Checker, bytes]:
    """A checker with one SYN on its way, and a frame that answers it."""
    fleet = Fleet(configuration(1))
    sends = fleet.checker.tick(2.0)
    assert len(sends) == 1 and sends[0].side is Side.CHECK
    port = port_of(sends[0].frame[:34] + sends[0].frame[36:38] + sends[0].frame[34:36] + sends[0].frame[38:])
    assert port is not None
    number = int.from_bytes(sends[0].frame[38:42], "big")
    return fleet.checker, make_segment(BACK, (8001, port), 7, number + 1, SYN | ACK, 1000)


def packet(frame: bytes, port: int = 2) -> PacketIn:
    """As the switch hands it up."""
    return PacketIn(make_cookie(Reason.TO_CHECKER, port=port), port, frame)


def test_an_answer_counts_by_the_server_s_own_port() -> None:
    """Not from another connector, switch or MAC address: whoever sends it, it is nobody's."""
    checker, answer = one_flight()
    assert checker.take(1, packet(answer, 3), 2.1)[0] is Disposition.UNKNOWN
    assert checker.take(2, packet(answer), 2.1)[0] is Disposition.UNKNOWN
    assert checker.take(1, packet(answer[:6] + bytes(6) + answer[12:]), 2.1)[0] is Disposition.UNKNOWN
    assert checker.in_flight == 1
    disposition, sends = checker.take(1, packet(answer), 2.1)
    assert (disposition, len(sends), checker.in_flight) == (Disposition.SENT, 1, 0)


def test_what_nobody_waits_for_is_reset() -> None:
    """A SYN/ACK that comes too late; other packets get no answer."""
    checker, answer = one_flight()
    checker.take(1, packet(answer), 2.1)
    disposition, (send,) = checker.take(1, packet(answer), 2.2)
    assert (disposition, send.in_port, send.actions, send.side) == (Disposition.UNKNOWN, CONTROLLER, (Output(2),), None)
    assert send.frame[:12] == answer[6:12] + answer[:6] and send.frame[47] & RST
    assert checker.take(1, packet(answer[:14]), 2.2) == (Disposition.MALFORMED, ())


@given(st.lists(st.tuples(st.binary(max_size=120), st.integers(1, 3)), max_size=20))
def test_anything_from_a_server(frames: list[tuple[bytes, int]]) -> None:
    """Nothing that a server sends raises, ends a check, or is remembered."""
    checker, answer = one_flight()
    for noise, port in frames:
        for frame in (noise, answer[: len(noise)] + noise):
            checker.take(1, packet(frame, port), 2.1)
    assert checker.in_flight <= 1
