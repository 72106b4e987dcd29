"""The log of connections: what it makes of copies, in what order and number they come, and that it stays bounded."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address, IPv6Address
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portlb_app.pipeline import COPIED, Reason, make_cookie, vip_number
from portlb_app.punt.bounded_queue import CAPACITY, BoundedQueue
from portlb_app.punt.connlog import ENDED_SECONDS, LINGER_SECONDS, OPEN_SECONDS, REORDER_SECONDS, ConnectionLog
from portlb_app.punt.handlers import Punt
from portlb_app.punt.packet import PacketIn
from portlb_app.punt.records import Connection, EndReason, TcpEvent
from tests.support.copies import CLIENT, CONFIG, IN_PORT, PLACES, VIPS, note, segment
from tests.support.reference import ACK, FIN, REDIRECT, RST, SYN


def only(log: ConnectionLog) -> Connection:
    """The only record."""
    (connection,) = log.latest(9)
    return connection


def test_a_redirected_connection_is_one_record() -> None:
    """Opened on 443, continued on 8002: whose port that is; closed when the second side closes."""
    log = ConnectionLog()
    note(log, "web", 1, SYN | REDIRECT, 443, 10.0)
    assert only(log) == Connection("web", CLIENT, 40001, 443, None, None, 10.0, None, None)
    note(log, "web", 1, FIN | ACK, 8002, 12.5)
    assert only(log) == Connection("web", CLIENT, 40001, 443, 8002, "b", 10.0, 12.5, EndReason.FIN)
    note(log, "web", 1, FIN | ACK, 8002, 12.75, by="b")
    assert only(log) == Connection("web", CLIENT, 40001, 443, 8002, "b", 10.0, 12.75, EndReason.FIN)
    assert log.counts == {TcpEvent.OPENED: 1, TcpEvent.CLOSED: 1, TcpEvent.CONFIRMED: 1}


@pytest.mark.parametrize(
    ("port", "by", "server"),
    [
        (8001, "", "a"),  # a service port, from its SYN on
        (80, "", None),  # a service port that is shared, too: who knows
        (80, "a", "a"),  # its connector tells
        (443, "", None),
        (443, "b", "b"),
        (9999, "", None),
    ],
)
def test_a_plain_connections_server(port: int, by: str, server: str | None) -> None:
    """It continues where it opened; whose it is, the port or the connector tells, or nobody."""
    log = ConnectionLog()
    note(log, "web", 1, SYN, port, 1.0)
    note(log, "web", 1, FIN | ACK, port, 2.0, by=by)
    assert only(log) == Connection("web", CLIENT, 40001, port, port, server, 1.0, 2.0, EndReason.FIN)


def test_x1_a_connection_by_service_address_is_one_record() -> None:
    """X1: opened at the VIP, continued at the same port of the service address: whose that is, it tells."""
    log, name = ConnectionLog(), IPv4Address("10.0.0.102")
    note(log, "web", 1, SYN | REDIRECT, 443, 10.0)
    log.take(PLACES["web"], Reason.CLOSING, 1, segment(CLIENT, name, 40001, 443, FIN | ACK), 11.0)
    assert only(log) == Connection("web", CLIENT, 40001, 443, 443, "b", 10.0, 11.0, EndReason.FIN)
    log.take(PLACES["web"], Reason.SERVER_CLOSING, 1, segment(name, CLIENT, 443, 40001, FIN | ACK), 12.0)
    assert only(log).closed == 12.0 and log.counts == {TcpEvent.OPENED: 1, TcpEvent.CLOSED: 1, TcpEvent.CONFIRMED: 1}


def test_it_is_of_a_vip_and_a_family() -> None:
    """The same client and port at another VIP is another connection; IPv6 is as good."""
    log = ConnectionLog()
    note(log, "web", 1, SYN, 8001, 1.0)
    note(log, "dns", 1, SYN, 53, 2.0)
    source, vip = IPv6Address("2001:db8::1"), IPv6Address("fd00::100")
    log.take(PLACES["web"], Reason.OPENING, 1, segment(source, vip, 40001, 8002, SYN), 3.0)
    assert [(each.vip, each.client, each.server) for each in log.latest(9)] == [
        ("web", source, "b"),
        ("dns", CLIENT, "n"),
        ("web", CLIENT, "a"),
    ]
    assert [each.vip for each in log.latest(9, lambda record: record.client.vip == "dns")] == ["dns"]
    assert len(log.latest(2)) == 2


@pytest.mark.parametrize("by", ["", "a"])
@pytest.mark.parametrize("flags", [RST, RST | ACK])
def test_a_reset(by: str, flags: int) -> None:
    """By either side, after one FIN too; what comes later changes nothing."""
    log = ConnectionLog()
    note(log, "web", 1, SYN, 8001, 1.0)
    note(log, "web", 1, FIN | ACK, 8001, 2.0)
    note(log, "web", 1, flags, 8001, 3.0, by=by)
    note(log, "web", 1, RST, 8001, 4.0)
    note(log, "web", 1, FIN | ACK, 8001, 4.0, by="a")
    assert (only(log).closed, only(log).how) == (3.0, EndReason.RESET)
    assert log.counts == {TcpEvent.OPENED: 1, TcpEvent.CLOSED: 1, TcpEvent.RESET: 1, TcpEvent.REPEATED: 2}


def test_a_reset_after_both_closed_is_late() -> None:
    log = ConnectionLog()
    note(log, "web", 1, SYN, 8001, 1.0)
    note(log, "web", 1, FIN | ACK, 8001, 2.0, by="a")
    note(log, "web", 1, FIN | ACK, 8001, 3.0)
    note(log, "web", 1, RST, 8001, 4.0)
    assert (only(log).closed, only(log).how) == (3.0, EndReason.FIN)


def test_a_half_closed_connection_closes_when_the_other_side_does() -> None:
    """However long that takes."""
    log = ConnectionLog()
    note(log, "web", 1, SYN, 8001, 1.0)
    note(log, "web", 1, FIN | ACK, 8001, 2.0)
    note(log, "web", 1, FIN | ACK, 8001, 2.0 + 10 * LINGER_SECONDS, by="a")
    assert only(log).closed == 2.0 + 10 * LINGER_SECONDS


def test_repeated_segments_change_nothing() -> None:
    """Each of them, sent again, is counted as that."""
    log = ConnectionLog()
    for at in (1.0, 2.0):
        note(log, "web", 1, SYN, 443, at)
    for at in (3.0, 4.0):
        note(log, "web", 1, FIN | ACK, 8001, at)
    note(log, "web", 1, SYN, 443, 4.5)
    assert only(log) == Connection("web", CLIENT, 40001, 443, 8001, "a", 1.0, 3.0, EndReason.FIN)
    assert log.counts == {TcpEvent.OPENED: 1, TcpEvent.CLOSED: 1, TcpEvent.REPEATED: 3}


def test_an_end_without_a_beginning_says_so() -> None:
    """Its SYN's copy was lost; the other side's FIN still joins it."""
    log = ConnectionLog()
    note(log, "web", 1, FIN | ACK, 8001, 3.0)
    note(log, "web", 1, FIN | ACK, 8001, 4.0, by="a")
    assert only(log) == Connection("web", CLIENT, 40001, None, 8001, "a", None, 4.0, EndReason.FIN)
    assert log.counts == {TcpEvent.UNOPENED: 1, TcpEvent.CLOSED: 1, TcpEvent.CONFIRMED: 1}


@pytest.mark.parametrize("by", ["", "b"])
def test_an_end_may_overtake_its_beginning(by: str) -> None:
    """Two switches see them, and each tells on a connection of its own: still one record, with a beginning."""
    log = ConnectionLog()
    note(log, "web", 1, FIN | ACK, 8002, 12.0, by=by, number=500)
    note(log, "web", 1, SYN | REDIRECT, 443, 12.1, number=100)
    note(log, "web", 1, SYN | REDIRECT, 443, 12.2, number=100)
    assert only(log) == Connection("web", CLIENT, 40001, 443, 8002, "b", 12.0, 12.0, EndReason.FIN)
    note(log, "web", 1, FIN | ACK, 8002, 12.3, by="" if by else "b")
    assert only(log) == Connection("web", CLIENT, 40001, 443, 8002, "b", 12.0, 12.3, EndReason.FIN)
    counts = {TcpEvent.UNOPENED: 1, TcpEvent.OPENED: 1, TcpEvent.REPEATED: 1, TcpEvent.CLOSED: 1, TcpEvent.CONFIRMED: 1}
    assert log.counts == counts


@pytest.mark.parametrize(
    ("port", "later", "number"), [(443, REORDER_SECONDS + 0.1, 100), (80, 0.1, 100), (443, 0.1, 700), (443, 0.1, 500)]
)
def test_a_connection_that_opens_after_an_end_is_another_one(port: int, later: float, number: int) -> None:
    """It comes too late, or is to another application, or begins above where the one before has ended."""
    log = ConnectionLog()
    note(log, "web", 1, FIN | ACK, 8002, 12.0, number=500)
    note(log, "web", 1, SYN | REDIRECT, port, 12.0 + later, number=number)
    assert [(each.opened_on, each.continued_on) for each in log.latest(9)] == [(port, None), (None, 8002)]


def test_a_clients_port_is_used_again() -> None:
    """A SYN with another number is another connection; the one before, if nothing ended it, says so."""
    log = ConnectionLog()
    note(log, "web", 1, SYN, 8001, 1.0, number=7)
    note(log, "web", 1, SYN, 8001, 2.0, number=8)
    assert [(each.opened, each.how) for each in log.latest(9)] == [(2.0, None), (1.0, EndReason.UNKNOWN)]
    note(log, "web", 1, RST, 8001, 3.0)
    note(log, "web", 1, FIN | ACK, 8001, 3.5 + LINGER_SECONDS)
    assert [(each.opened, each.how) for each in log.latest(9)] == [
        (None, EndReason.FIN),
        (2.0, EndReason.RESET),
        (1.0, EndReason.UNKNOWN),
    ]
    assert log.counts[TcpEvent.UNKNOWN] == 1


def test_what_nothing_ends_ages_out_and_is_forgotten() -> None:
    """Unknown after a day; an end that comes then is still taken; forgotten after another day."""
    log = ConnectionLog()
    note(log, "web", 1, SYN, 8001, 1.0)
    note(log, "web", 2, SYN, 8001, 2.0)
    log.expire(OPEN_SECONDS)
    assert log.open == 2
    log.expire(OPEN_SECONDS + 1.0)
    assert (log.open, log.ended) == (1, 1)
    assert {each.client_port: each.how for each in log.latest(9)} == {40001: EndReason.UNKNOWN, 40002: None}
    note(log, "web", 1, FIN | ACK, 8001, OPEN_SECONDS + 2.0)
    assert {each.client_port: each.how for each in log.latest(9)} == {40001: EndReason.FIN, 40002: None}
    log.expire(OPEN_SECONDS + ENDED_SECONDS + 2.0)
    assert [(each.client_port, each.how) for each in log.latest(9)] == [(40002, EndReason.UNKNOWN)]
    log.expire(OPEN_SECONDS + 2 * ENDED_SECONDS + 2.0)
    assert (log.open, log.ended, log.latest(9)) == (0, 0, [])
    assert log.counts[TcpEvent.UNKNOWN] == 2 and TcpEvent.FORGOTTEN not in log.counts


def test_a_flood_of_syns_pushes_out_no_record_that_has_an_end() -> None:
    """The oldest without an end go, and are counted. Nor does a flood of resets."""
    log = ConnectionLog(most_open=100, most_ended=100, most_partial=50)
    note(log, "web", 1, SYN, 443, 1.0)
    note(log, "web", 1, FIN | ACK, 8001, 2.0)
    note(log, "web", 2, SYN, 443, 3.0)
    for client in range(3, 20003):
        note(log, "web", client, SYN, 443, 4.0)
    assert (log.open, log.ended) == (100, 1)
    assert log.counts[TcpEvent.FORGOTTEN] == 20001 - 100
    assert any(each.client_port == 40001 and each.how is EndReason.FIN for each in log.latest(200))
    note(log, "web", 2, FIN | ACK, 8002, 5.0)
    assert log.latest(1) == [Connection("web", CLIENT, 40002, None, 8002, "b", None, 5.0, EndReason.FIN)]
    for client in range(3, 19903):
        note(log, "web", client, RST, 443, 6.0)
    assert (log.open, log.ended) == (100, 51)
    assert any(each.client_port == 40001 and each.how is EndReason.FIN for each in log.latest(200))


def test_syns_of_one_port_push_out_no_record_that_has_an_end() -> None:
    """Each ends the one before as unknown, of which there is room for so many."""
    log = ConnectionLog(most_open=100, most_ended=100, most_partial=50)
    note(log, "web", 1, SYN, 443, 1.0)
    note(log, "web", 1, FIN | ACK, 8001, 2.0)
    for number in range(20000):
        note(log, "web", 2, SYN, 443, 3.0, number=number)
    assert (log.open, log.ended) == (1, 51)
    assert any(each.client_port == 40001 and each.how is EndReason.FIN for each in log.latest(200))


def test_a_source_loses_its_own_oldest() -> None:
    """Not those of others: an IPv4 address, and an IPv6 network of 64 bits."""
    log = ConnectionLog(most_of_one=10)
    note(log, "web", 1, SYN, 443, 1.0)
    vip = IPv6Address("fd00::100")
    for number in range(100):
        client = IPv6Address((0x20010DB8 << 96) + number)
        log.take(PLACES["web"], Reason.OPENING, 1, segment(client, vip, 40000, 443, SYN), 2.0)
    assert log.open == 11 and log.counts[TcpEvent.FORGOTTEN] == 90
    assert log.latest(99)[-1].client == CLIENT


def test_two_connections_of_one_client_port_are_two_records() -> None:
    """To two ports of the VIP at once: what ends on a port is the connection that opened there."""
    log = ConnectionLog()
    note(log, "web", 1, SYN, 80, 1.0)
    note(log, "web", 1, SYN, 8001, 2.0)
    note(log, "web", 1, FIN | ACK, 80, 3.0)
    note(log, "web", 1, FIN | ACK, 80, 4.0, by="a")
    note(log, "web", 1, FIN | ACK, 8001, 5.0)
    note(log, "web", 1, FIN | ACK, 8001, 6.0, by="a")
    assert [(each.opened_on, each.continued_on, each.server, each.how) for each in log.latest(9)] == [
        (8001, 8001, "a", EndReason.FIN),
        (80, 80, "a", EndReason.FIN),
    ]
    assert log.counts == {TcpEvent.OPENED: 2, TcpEvent.CLOSED: 2, TcpEvent.CONFIRMED: 2}


def test_of_several_the_one_of_its_application_goes_on_there() -> None:
    """8001 is for what opened on 443, and for what opened on 80 if a client's port has nothing else."""
    log = ConnectionLog()
    note(log, "web", 1, SYN, 80, 1.0)
    note(log, "web", 1, SYN, 443, 2.0)
    note(log, "web", 1, FIN | ACK, 8001, 3.0)
    assert [(each.opened_on, each.how) for each in log.latest(9)] == [(443, EndReason.FIN), (80, None)]


def test_a_full_log_forgets_by_every_name() -> None:
    """A record that is forgotten is found by none of its ports, and leaves nothing behind."""
    log = ConnectionLog(most_open=1, most_ended=1, most_partial=1)
    for client in range(200):
        note(log, "web", client, SYN, 443, float(client))
        note(log, "web", client, FIN | ACK, 8001 + client % 2, client + 0.5)
    assert len(log._latest) <= 3


KINDS = ((SYN, ""), (FIN | ACK, ""), (RST, ""), (FIN | ACK, "a"), (RST | ACK, "b"))
STEPS = st.tuples(
    st.sampled_from(KINDS),
    st.sampled_from(("web", "dns")),
    st.integers(0, 8),
    st.sampled_from((443, 8001, 53)),
    st.integers(1, 2),
    st.sampled_from((0.0, 0.5, LINGER_SECONDS + 1, OPEN_SECONDS / 2)),
)
OF_A_COPY = (
    *(TcpEvent.OPENED, TcpEvent.CLOSED, TcpEvent.CONFIRMED),
    *(TcpEvent.RESET, TcpEvent.REPEATED, TcpEvent.MALFORMED),
)


@settings(deadline=None)
@given(st.lists(STEPS, max_size=80))
def test_whatever_comes_it_is_bounded_and_counted(
    steps: list[tuple[tuple[int, str], str, int, int, int, float]]
) -> None:
    """Each copy is counted once; no kind of record is more than it may; every record agrees with itself."""
    log, now = ConnectionLog(most_open=4, most_ended=5, most_partial=3), 0.0
    for taken, ((flags, by), vip, client, port, number, after) in enumerate(steps, 1):
        now += after
        log.expire(now)
        note(log, vip, client, flags, port, now, by, number)
        assert sum(log.counts.get(copy, 0) for copy in OF_A_COPY) == taken
        assert log.open <= 4 and log.ended <= 8
        records = log.latest(100)
        assert len(records) == log.open + log.ended
        assert log.open == sum(each.how is None for each in records)
        ends = [-1.0 if each.closed is None else each.closed for each in records]
        for each, end in zip(records, ends, strict=True):
            assert (each.opened is None) == (each.opened_on is None)
            assert (each.closed is None) == (each.continued_on is None) == (each.how in (None, EndReason.UNKNOWN))
            assert each.opened is None or each.closed is None or each.opened <= end <= now
        still_open = Counter((each.vip, each.client_port, each.opened_on) for each in records if each.how is None)
        assert all(count == 1 for count in still_open.values()), "one open record at most between two ports"


@settings(deadline=None)
@given(st.binary(max_size=120), st.sampled_from(sorted(COPIED)), st.integers(0, 1 << 20), st.data())
def test_any_bytes_are_survived(data: bytes, reason: Reason, place: int, more: st.DataObject) -> None:
    """Rubbish, and sound segments with any byte wrong or cut anywhere, are taken or counted, and never raise."""
    log = ConnectionLog()
    sound = bytearray(segment(CLIENT, VIPS["web"], 40000, 443, more.draw(st.integers(0, 0xFFF))))
    sound[place % len(sound)] ^= place >> 8 & 0xFF
    for frame in (data, bytes(sound), bytes(sound[: place % 70])):
        log.take(PLACES["web"], reason, place % 5, frame, 0.0)
    assert sum(log.counts.get(copy, 0) for copy in OF_A_COPY) == 3


@pytest.mark.parametrize(
    ("reason", "flags", "destination"),
    [
        (Reason.OPENING, SYN | ACK, "10.0.0.100"),
        (Reason.OPENING, FIN | ACK, "10.0.0.100"),
        (Reason.CLOSING, SYN, "10.0.0.100"),
        (Reason.CLOSING, FIN | ACK, "10.0.0.101"),
        (Reason.SERVER_CLOSING, FIN | ACK, "10.0.0.100"),
    ],
)
def test_what_is_not_what_the_switch_says_is_counted(reason: Reason, flags: int, destination: str) -> None:
    """Another kind of segment, or another VIP's."""
    log = ConnectionLog()
    log.take(PLACES["web"], reason, 1, segment(CLIENT, IPv4Address(destination), 40000, 80, flags), 0.0)
    assert log.counts == {TcpEvent.MALFORMED: 1} and not log.latest(9)


def test_copies_go_to_the_log_and_nowhere_else() -> None:
    """By their cookies: nothing is sent, nothing else is counted, and what is lost before is counted here."""
    punt, number = Punt(), vip_number("web")
    punt.adopt(CONFIG)
    opening = make_cookie(Reason.OPENING, number)
    assert punt.take(1, PacketIn(opening, 1, segment(CLIENT, VIPS["web"], 40000, 443, SYN)), 1.0) == ()
    assert punt.take(9, PacketIn(opening, 1, segment(CLIENT, VIPS["web"], 40000, 443, SYN)), 1.0) == ()
    punt.count_lost(opening)
    punt.count_unreadable(make_cookie(Reason.SERVER_CLOSING, number))
    assert punt.connections.counts == {TcpEvent.OPENED: 1, TcpEvent.MALFORMED: 2, TcpEvent.QUEUE: 1}
    assert not punt.counts
    assert list(punt.expire(2 * OPEN_SECONDS)) == []
    assert punt.connections.latest(1)[0].how is EndReason.UNKNOWN


def test_copies_wait_apart() -> None:
    """A flood of SYNs' copies takes no place from an ICMP error, nor from the copy of a FIN."""
    backlog: BoundedQueue[int] = BoundedQueue()
    assert sum(backlog.put(Reason.OPENING, number) for number in range(2 * CAPACITY)) == CAPACITY
    assert backlog.put(Reason.CLOSING, -1) and backlog.put(Reason.ICMP_ERROR, -2)
    assert set(backlog.take(2)) == {0, -2}
    assert backlog.put(Reason.OPENING, -3), "there is room for one again"
    assert [*backlog.take(CAPACITY), *backlog.take(9)] == [*range(1, CAPACITY), -1, -3], "in order, whatever the reason"


def test_many_at_a_time_do_not_take_long() -> None:
    """A full log answers and ages without walking far: shuffled ends, then a day later."""
    log, random = ConnectionLog(most_open=2000, most_ended=2000, most_partial=500), Random(1)
    for client in range(4000):
        note(log, "web", client, SYN, 443, float(client))
    for client in random.sample(range(4000), 4000):
        note(log, "web", client, FIN | ACK, 8001, 5000.0)
    assert log.ended == 2500 and log.open == 0
    log.expire(5000.0 + ENDED_SECONDS)
    assert log.ended == 0


def test_a_server_that_resets_a_syn_is_told_once() -> None:
    """Only by the reset that answers a SYN of the log, from the server's own connector."""
    log = ConnectionLog()

    def resets(client: int, number: int, acknowledged: int, by: str = "a") -> None:
        frame = bytearray(segment(VIPS["web"], CLIENT, 80, 40000 + client, RST | ACK))
        frame[38:46] = number.to_bytes(4, "big") + acknowledged.to_bytes(4, "big")
        log.take(PLACES["web"], Reason.SERVER_CLOSING, IN_PORT[by], bytes(frame), 1.0)

    note(log, "web", 1, SYN, 80, 0.0, number=7)
    resets(1, 5, 8)
    resets(1, 0, 9)
    resets(2, 0, 8)
    assert log.take_refusing() == set()
    resets(1, 0, 8)
    assert log.take_refusing() == {"a"}
    assert log.take_refusing() == set()
