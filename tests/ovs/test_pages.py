"""Descriptions of flows: a message that tells what another one told is known, and what changes by itself is counted."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portlb_app import openflow
from portlb_app.compiler import compile
from portlb_app.config import load
from portlb_app.openflow import FIELDS, Flow, Group, Match, Opaque, Output, match
from portlb_app.openflow.messages import HEADER, Malformed
from portlb_app.pipeline import COOKIE, FORMER, SERVICE, Reason, make_cookie
from portlb_app.reconcile.reading import Page
from portlb_app.reconcile.results import Amount, FlowCount, HandedBack, Kind
from portlb_app.reconcile.tables import Tables
from portlb_app.southbound.codec import FlowPages
from portlb_app.southbound.codec.fields import decode_match, encode_field, encode_match
from portlb_app.southbound.codec.flows import flow_mod
from portlb_app.southbound.codec.groups import group_mod
from portlb_app.southbound.codec.match_layouts import LAYOUTS, MatchReader
from portlb_app.southbound.tables_worker import Wire
from portlb_app.topology.conditions import AS_CONFIGURED

FIG2 = (Path(__file__).parents[2] / "flows/fig2/lb.yaml").read_text()
STATE = compile(load(FIG2))["s1"]
FLOWS = sorted(STATE.flows, key=str)
DURATION, IDLE, PACKETS, OCTETS = 0x80020008, 0x80020208, 0x80020808, 0x80020A08


def entry(flow: Flow, packets: int, age: int = 5, order: Sequence[int] = (DURATION, IDLE, PACKETS, OCTETS)) -> bytes:
    """A flow description as Open vSwitch makes it; a flow-mod has the same instructions."""
    values = {DURATION: age << 32, IDLE: age, PACKETS: packets, OCTETS: 100 * packets}
    statistics = b"".join(struct.pack("!IQ", header, values[header]) for header in order)
    length = 4 + len(statistics)
    statistics = struct.pack("!HH", 0, length) + statistics + bytes(-length % 8)
    matched = encode_match(flow.match)
    instructions = flow_mod("add", flow)[40 + len(matched) :]
    body = struct.pack("!2xBxHHHHHQ", flow.table, flow.priority, 0, 0, 0, 0, flow.cookie)
    body += matched + statistics + instructions
    return struct.pack("!H", 2 + len(body)) + body


def message(entries: bytes, xid: int = 7, kind: int = 1, more: bool = False) -> bytes:
    """A multipart reply."""
    return HEADER.pack(6, 19, 16 + len(entries), xid) + struct.pack("!HHI", kind, more, 0) + entries


def described(flows: Sequence[Flow], packets: int, age: int = 5) -> bytes:
    return message(b"".join(entry(flow, packets, age) for flow in flows), xid=age)


def test_the_flows_of_a_message_are_those_that_were_encoded() -> None:
    assert list(FlowPages().page(described(FLOWS, 3)).entries) == FLOWS


def test_a_message_that_differs_in_counters_alone_tells_the_same() -> None:
    pages = FlowPages()
    before = pages.page(described(FLOWS, 3))
    after = before.again(described(FLOWS, 4, age=9))
    assert after is not None and after.entries is before.entries
    assert [each for each in after.counts(None)] == [each for each in pages.page(described(FLOWS, 4)).counts(None)]
    again = after.again(described(FLOWS, 4, age=10))
    assert again is not None and not list(again.counts(after)), "nothing was counted in between"


def test_only_what_has_counted_is_said() -> None:
    served = [flow for flow in FLOWS if flow.table == SERVICE.number and flow.priority and flow.actions]
    packets = [5 * number for number in range(len(served))]
    first = FlowPages().page(message(b"".join(map(entry, served, packets))))
    packets[2] += 1
    second = first.again(message(b"".join(map(entry, served, packets))))
    assert second is not None
    assert list(second.counts(first)) == [FlowCount(served[2], Amount(packets[2], 100 * packets[2]))]
    assert len(list(second.counts(None))) == len(served)


def test_every_byte_counts_that_does_not_change_by_itself() -> None:
    flow = FLOWS[0]
    data = message(entry(flow, 1) + entry(FLOWS[1], 1))
    page = FlowPages().page(data)
    changing = _changing(flow, 16) | _changing(FLOWS[1], 16 + len(entry(flow, 1)))
    for position in range(16, len(data)):
        other = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        assert (page.again(other) is not None) == (position in changing), position
    assert page.again(data[:-8]) is None and page.again(data + bytes(8)) is None


def _changing(flow: Flow, at: int) -> set[int]:
    """The places of the four statistics of an entry in a message."""
    begin = at + 24 + len(encode_match(flow.match)) + 4
    return {begin + 12 * number + 4 + byte for number in range(4) for byte in range(8)}


@pytest.mark.parametrize("order", [(), (OCTETS,), (PACKETS, OCTETS), (OCTETS, IDLE, PACKETS), (PACKETS, PACKETS)])
def test_statistics_of_other_switches(order: tuple[int, ...]) -> None:
    """What is not told is 0, and where it is does not matter."""
    flow = next(flow for flow in FLOWS if flow.table == SERVICE.number and flow.priority and flow.actions)
    page = FlowPages().page(message(entry(flow, 7, order=order)))
    amount = Amount(7 * (PACKETS in order), 700 * (OCTETS in order))
    assert list(page.counts(None)) == [FlowCount(flow, amount)]
    again = page.again(message(entry(flow, 9, order=order)))
    assert again is not None
    assert list(again.counts(page)) == ([FlowCount(flow, Amount(*(each // 7 * 9 for each in amount)))] if order else [])


def test_what_was_handed_back_is_always_said() -> None:
    back = Flow(FORMER.number, 1, match(eth_dst=77), (Output(1),), make_cookie(Reason.HANDED_BACK, 3, 80))
    page = FlowPages().page(described([*FLOWS[:2], back], 6))
    again = page.again(described([*FLOWS[:2], back], 6))
    assert again is not None
    assert HandedBack((3, 80, 77), 6) in list(again.counts(page))


@pytest.mark.parametrize("kind", [0, 4, 7])
def test_another_description_than_was_asked_for_is_malformed(kind: int) -> None:
    with pytest.raises(Malformed, match=f"a multipart reply of type {kind}, which was not asked for"):
        FlowPages().page(message(entry(FLOWS[0], 1), kind=kind))


def test_entries_that_contradict_themselves_are_malformed() -> None:
    """Every truncation, and every byte replaced: flows, or Malformed."""
    data, malformed = message(entry(FLOWS[0], 1) + entry(FLOWS[-1], 1)), 0
    pages = FlowPages()
    for position in range(16, len(data)):
        for other in (data[:position], *(data[:position] + bytes([b]) + data[position + 1 :] for b in (0, 1, 255))):
            try:
                hash(pages.page(other).entries)
            except Malformed:
                malformed += 1
    assert malformed > 100


def test_a_time_out_is_none_of_ours() -> None:
    data = bytearray(entry(FLOWS[0], 1))
    data[8:10] = b"\0\5"
    (found,) = FlowPages().page(message(bytes(data))).entries
    assert found == replace(FLOWS[0], actions=(Opaque("idle_timeout=5"), *FLOWS[0].actions))


# ---- matches ---------------------------------------------------------------------------------------------------------

FOREIGN = bytes.fromhex("7000020455667788")


FORMS = ("plain", "masked", "wholly masked", "outside its mask", "too large", "foreign")


def one(name: str, value: int, form: str) -> bytes:
    """A field as it may come."""
    size, most = len(encode_field(name, 0)) - 4, (1 << FIELDS[name].bits) - 1
    value = int.from_bytes(bytes([value]) * size, "big") & most
    match form:
        case "masked":
            return encode_field(name, value, value)
        case "wholly masked":
            return encode_field(name, value, most)
        case "outside its mask":
            return encode_field(name, value, 1)
        case "too large":
            return encode_field(name, (1 << 8 * size) - 1)
        case "foreign":
            return FOREIGN
    return encode_field(name, value)


FIELDS_AS_THEY_COME = st.tuples(
    st.lists(st.builds(one, st.sampled_from(list(FIELDS)), st.integers(0, 255), st.sampled_from(FORMS)), max_size=5),
    st.sampled_from((0, 0, 0, 1, 5)),
).map(lambda given: (data := b"".join(given[0]))[: len(data) - given[1]])
"""In any order, twice perhaps, and perhaps cut off."""


READER = MatchReader()


@given(FIELDS_AS_THEY_COME)
def test_matches_read_by_layout_are_those_read_field_by_field(data: bytes) -> None:
    for reader in (READER, MatchReader()):
        for _ in range(2):  # the second time it knows the layout
            assert _outcome(reader.read, data) == _outcome(decode_match, data)


@given(st.dictionaries(st.sampled_from(list(FIELDS)), st.integers(0, 0xFF), min_size=1, max_size=6))
def test_matches_of_ours_are_read_by_layout(values: dict[str, int]) -> None:
    wanted = openflow.match(**{name: min(value, (1 << FIELDS[name].bits) - 1) for name, value in values.items()})
    reader, data = MatchReader(), b"".join(encode_field(*each) for each in wanted)
    reader.read(data)
    (places,) = reader._by_length[len(data)]
    assert reader.read(data) == wanted and len(places[1]) == 1


def _outcome(read: object, data: bytes) -> Match | str:
    assert callable(read)
    try:
        found: Match = read(data)
    except Malformed as malformed:
        return str(malformed)
    return found


def test_layouts_are_bounded() -> None:
    reader = MatchReader()
    names = list(FIELDS)
    for number in range(2 * LAYOUTS):
        one, other = names[number % len(names)], names[number // len(names)]
        data = encode_field(one, 0) + encode_field(other, 0)
        assert reader.read(data) == decode_match(data)
    assert sum(len(layouts) for places in reader._by_length.values() for _, layouts in places) <= LAYOUTS


# ---- reads -----------------------------------------------------------------------------------------------------------


def read(tables: Tables, messages: Sequence[bytes]) -> None:
    groups = b"".join(map(_described_group, sorted(STATE.groups, key=lambda group: group.number)))
    tables.begin(1)
    tables.read(1, "flows", messages)
    tables.read(1, "groups", [message(groups, kind=7)])
    tables.read(1, "meters", [message(_described_meters(), kind=10)])


def _described_group(group: Group) -> bytes:
    _, kind, number, length, _ = struct.unpack_from("!HBxIH2xI", body := group_mod("add", group))
    rest = struct.pack("!BxIH6x", kind, number, length) + body[16:]
    return struct.pack("!H", 2 + len(rest)) + rest


def _described_meters() -> bytes:
    return b"".join(
        struct.pack("!HHIHHII4x", 24, 13 if each.unit == "kbps" else 14, each.number, 1, 16, each.rate, each.burst)
        for each in STATE.meters
    )


class Forgetful(Wire):
    """Decodes every message."""

    def decode(self, kind: Kind, message: bytes) -> Page:
        page = super().decode(kind, message)
        vars(page)["again"] = lambda message: None
        return page


FOREIGN_FLOW = Flow(SERVICE.number, 77, match(tcp_dst=9), (), COOKIE)


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.integers(0, len(FLOWS) - 1), st.integers(0, 9)),
            st.sets(st.integers(0, len(FLOWS) - 1), max_size=1),
            st.booleans(),
        ),
        min_size=2,
        max_size=5,
    )
)
@settings(max_examples=6, deadline=None)
def test_a_read_is_the_same_whether_the_one_before_is_remembered(
    reads: list[tuple[dict[int, int], set[int], bool]],
) -> None:
    """Flows that have counted, that lack, and that others have added."""
    remembering, forgetting = Tables(Wire()), Tables(Forgetful())
    for tables in (remembering, forgetting):
        tables.compile(1, FIG2, AS_CONFIGURED, ())
    packets = dict.fromkeys(range(len(FLOWS)), 0)
    for age, (more, lacking, is_foreign) in enumerate(reads):
        for number, count in more.items():
            packets[number] += count
        told = [(flow, packets[number]) for number, flow in enumerate(FLOWS) if number not in lacking]
        told += [(FOREIGN_FLOW, 1)] * is_foreign
        entries = [entry(flow, count, age) for flow, count in told]
        messages = [message(b"".join(entries[at : at + 50]), age, more=True) for at in range(0, len(entries), 50)]
        for tables in (remembering, forgetting):
            read(tables, messages)
        assert (found := remembering.end(1)) == forgetting.end(1)
        assert found.plan.count == len(lacking) + is_foreign
        assert found.passed.servers, "it is said of what"


def test_what_is_told_again_is_not_decoded_and_is_once_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = Tables(Wire())
    tables.compile(1, FIG2, AS_CONFIGURED, ())
    read(tables, [described(FLOWS, 1)])
    assert tables.end(1).plan.count == 0
    assert tables._switches[1].known is tables._goals.desired(1)
    monkeypatch.setattr(Wire, "decode", None)
    read(tables, [described(FLOWS, 2, age=9)])
    assert (found := tables.end(1)).plan.count == found.drift == 0
    assert any(amount.packets for amount in found.passed.servers.values())
