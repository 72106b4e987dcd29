"""Each agent program, packet by packet, in the kernel (BPF_PROG_TEST_RUN): packet in, verdict, packet out, counters.

Frames are compared byte by byte with ones made by `frames`, so every checksum is verified, too. The state before a
packet is made by the packets before it; the programs are loaded once, and what they know is cleared between two tests.
Every case is run for IPv4 and for IPv6 (row B1). Row ids are those of docs/patent.md.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv6Address

import pytest
from _pytest.mark import ParameterSet

from portlb_app.agent import client, server
from portlb_app.agent.kernel import prog
from portlb_app.agent.kernel.library import checked, library
from portlb_app.agent.loader import Programs
from tests.net.cases import Case, check
from tests.net.client_cases import client_cases
from tests.net.frames import (
    APPLICATION,
    CONFIRM_FLAG,
    CPORT,
    FAMILIES,
    FULL,
    IN,
    MAPPING,
    MSS,
    OUT,
    OWN,
    PASS,
    REDIRECT_FLAG,
    SERVER_ISN,
    V4,
    V6,
    VIPS,
    Family,
    Packet,
    Side,
    X,
    Y,
    bare_option,
    ethernet,
    option,
    tcp,
    transport,
)
from tests.net.network import ACK, CONFIRM, REDIRECT, RST, SYN
from tests.net.programs import Loaded, send
from tests.net.server_cases import server_cases

# --- the client -----------------------------------------------------------------------------------------------------


# --- the server -----------------------------------------------------------------------------------------------------


def all_of(cases: Callable[[Family], list[Case]]) -> list[ParameterSet]:
    """The cases of both families."""
    return [pytest.param(case, id=f"IPv{f.version} {case.description}") for f in FAMILIES for case in cases(f)]


@pytest.mark.parametrize("case", all_of(client_cases))
def test_client(client_programs: Programs, case: Case) -> None:
    """E1 E2 E7 D1 I2 F3: what the client's programs do to a packet."""
    check(client_programs, case)


@pytest.mark.parametrize("case", all_of(server_cases))
def test_server(server_programs: Programs, case: Case) -> None:
    """E1 E2 E3 E7 D1 I2 F3: what the server's programs do to a packet."""
    check(server_programs, case)


def tagged(packet: Packet, *tags: tuple[int, int]) -> Packet:
    """The packet with 802.1Q or 802.1ad tags in the frame, the outermost first: kind, and priority with number."""
    frame = packet.frame
    return Packet(packet.hook, frame[:12] + b"".join(struct.pack("!HH", *tag) for tag in tags) + frame[12:])


@pytest.mark.parametrize(("family", "tag"), [(V4, (0x8100, 0xA000)), (V6, (0x88A8, 0))], ids=["802.1Q", "802.1ad"])
@pytest.mark.parametrize("role", ["client", "server"])
def test_priority_tags_are_none(loaded: Loaded, role: str, family: Family, tag: tuple[int, int]) -> None:
    """A tag with VLAN number 0: all is as without it. The kernel then has it beside the frame, as a card would."""
    constants = client.settings(VIPS) if role == "client" else server.settings(MAPPING)
    cases = client_cases(family) if role == "client" else server_cases(family)
    for case in [case for case in cases if case.before and case.out][::12]:
        programs = loaded(role, constants)
        before = tuple(tagged(each, tag) for each in case.before)
        check(programs, replace(case, packet=tagged(case.packet, tag), before=before))


@pytest.mark.parametrize(
    "tags", [((0x8100, 5),), ((0x8100, 0xAFFF),), ((0x8100, 0), (0x8100, 0)), ((0x88A8, 0), (0x8100, 7))]
)  # fmt: skip
def test_frames_of_a_vlan_pass_untouched(
    client_programs: Programs, server_programs: Programs, tags: tuple[tuple[int, int], ...]
) -> None:
    """And so do those with two tags: an agent on the VLAN's own interface sees them without."""
    for f in FAMILIES:
        for programs, side, hook in ((client_programs, Side(f, OUT, IN), OUT), (server_programs, Side(f, IN, OUT), IN)):
            packet = tagged(side.syn(X), *tags)
            assert packet.hook == hook
            result = send(programs, packet)
            assert (result.verdict, result.packet) == (PASS, packet.frame)
            assert not any(programs.counters().values())
            for length in range(12, 19):
                send(programs, Packet(hook, packet.frame[:length].ljust(14, b"\0")))


def mark_after(programs: Programs, packet: Packet, mark: int) -> int:
    """A packet's mark (SO_MARK) after it has passed its hook with `mark`."""
    context = ctypes.create_string_buffer(struct.pack("=8xI", mark), 192)
    options = prog._RunOptions(size=ctypes.sizeof(prog._RunOptions))
    options.data_in, options.data_size_in = packet.frame, len(packet.frame)
    options.ctx_in, options.ctx_size_in = context.raw, len(context)
    options.ctx_out, options.ctx_size_out = ctypes.addressof(context), len(context)
    checked(library.bpf_prog_test_run_opts(programs.fd(packet.hook), ctypes.byref(options)), "run")
    return int.from_bytes(context.raw[8:12], sys.byteorder)


def test_marks_are_the_hosts(server_programs: Programs) -> None:
    """D1: what leaves from both ports keeps the mark by which the host routes and filters, and so does a reset."""
    for f in FAMILIES:
        s = Side(f, IN, OUT)
        data, mark = s.from_server(X, ACK, data=b"odd"), 0x52500002
        for packet in (s.syn(X, REDIRECT), s.synack(X), s.from_client(Y, ACK | CONFIRM, options=option(X)), data):
            send(server_programs, packet)
        assert mark_after(server_programs, data, mark) == mark
        assert mark_after(server_programs, s.from_client(Y, RST | CONFIRM, ack=0), mark) == mark
    counted = server_programs.counters()
    assert (counted["sent_from_both"], counted["reflected"]) == (2, 2)


TWINS = 6000
"""Connections whose SYN/ACK comes twice at once. With a check alone, 900 to 2,000 of them were bound twice."""


def test_two_synacks_at_once_bind_one(client_programs: Programs) -> None:
    """E2: on two processors at the same moment, from two servers: one is the connection's, the other is dropped."""
    sides = [Side(FAMILIES[0], OUT, IN, cport=1024 + number) for number in range(TWINS)]
    for side in sides:
        assert send(client_programs, side.syn(X)).verdict == PASS
    began = time.monotonic_ns() + 500_000_000

    def server(port: int, seq: int, processor: int) -> int:
        frames = [side.synack(X, CONFIRM, seq=seq, options=option(port)).frame for side in sides]
        child = os.fork()
        if child:
            return child
        try:
            os.sched_setaffinity(0, {processor})
            for number, frame in enumerate(frames):
                while time.monotonic_ns() < began + number * 100_000:
                    pass
                prog.run(client_programs.fd(IN), frame)
        finally:
            os._exit(0)

    processors = sorted(os.sched_getaffinity(0))
    for child in (server(Y, SERVER_ISN, processors[0]), server(Y + 1, SERVER_ISN + 9, processors[-1])):
        assert os.waitpid(child, 0)[1] == 0
    counters = client_programs.counters()
    assert (counters["bound"], counters["second_synack"]) == (TWINS, TWINS)


def test_no_second_connection_shares_the_first_ones_entry(client_programs: Programs, family: Family) -> None:
    """E2: two connections from the same client port, to two redirect ports, are redirected independently."""
    c = Side(family, OUT, IN)
    opened = [(20, 1), (21, 4)]
    for port, announced in opened:
        for packet in (c.syn(port), c.synack(port, CONFIRM, options=option(announced))):
            assert send(client_programs, packet).verdict == PASS
    for port, announced in opened:
        out = send(client_programs, c.from_client(port, ACK, data=b"x")).packet
        assert out == c.from_client(announced, ACK | CONFIRM, data=b"x").frame
        back = send(client_programs, c.from_server(announced, ACK)).packet
        assert back == c.from_server(port, ACK).frame


def test_signal_by_option(loaded: Loaded, family: Family) -> None:
    """E2 E7: with `--signal option` no header bit is ever set; SYN, third ACK and answers carry the option."""
    programs = loaded("client", client.settings(VIPS, by_option=True))
    c = Side(family, OUT, IN)
    cases = [
        (c.syn(X, options=MSS), c.syn(X, options=MSS + bare_option(REDIRECT_FLAG))),
        (c.synack(X, options=MSS + option(Y)), None),
        (c.from_client(X, ACK), c.from_client(Y, ACK, options=option(X))),
        (c.from_client(X, ACK, data=b"x"), c.from_client(Y, ACK, data=b"x")),
        (c.syn(OWN, options=MSS), c.syn(OWN, options=MSS + bare_option(REDIRECT_FLAG))),
        (c.synack(OWN, options=MSS + bare_option(CONFIRM_FLAG)), None),
        (c.from_client(OWN, ACK), None),
        (c.syn(APPLICATION, options=FULL), None),
    ]
    for packet, out in cases:
        assert send(programs, packet).packet.hex() == (out or packet).frame.hex()
    assert {name: value for name, value in programs.counters().items() if value} == {
        "syn_marked": 3, "bound": 1, "unredirected": 1, "no_room": 1,
    }  # fmt: skip


def test_path_is_the_whole_address(client_programs: Programs) -> None:
    """B1: addresses that differ in one word only are different connections, and different VIPs."""
    c = Side(V6, OUT, IN)
    for packet in (c.syn(X), c.synack(X, CONFIRM, options=option(Y))):
        assert send(client_programs, packet).verdict == PASS
    for word in range(4):
        client_address = IPv6Address(int(V6.client) ^ 1 << 32 * word)
        other = Side(V6, OUT, IN, client=client_address)
        assert send(client_programs, other.from_client(X, ACK)).packet == other.from_client(X, ACK).frame
        vip = IPv6Address(int(V6.vip) ^ 1 << 32 * word)
        syn = Packet(OUT, tcp(V6.client, vip, CPORT, X, SYN))
        assert send(client_programs, syn).packet == syn.frame


def extension_frame(f: Family, headers: list[tuple[int, int]], side: Side, packet: Packet) -> bytes:
    """The frame with IPv6 extension headers (kind, bytes) before its TCP header."""
    payload, following = transport(packet), 6
    for kind, length in reversed(headers):
        if kind == 44:
            header = struct.pack("!BBHI", following, 0, 0, 9)
        elif kind == 51:
            header = struct.pack("!BBHII", following, length // 4 - 2, 0, 1, 1) + bytes(length - 12)
        else:
            header = struct.pack("!BBBB", following, length // 8 - 1, 1, length - 4) + bytes(length - 4)
        payload, following = header + payload, kind
    return ethernet(struct.pack("!IHBB", 6 << 28, len(payload), following, 64) + packet.frame[22:54] + payload)


HOP, ROUTING, ALONE, ESP, AH, OPTIONS = 0, 43, 44, 50, 51, 60
EXTENSIONS = [
    ("hop-by-hop", [(HOP, 8)], True),
    ("destination options of 256 bytes", [(OPTIONS, 256)], True),
    ("hop-by-hop and twice destination options", [(HOP, 16), (OPTIONS, 8), (OPTIONS, 24)], True),
    ("the only fragment (RFC 6946)", [(ALONE, 8)], True),
    ("five headers", [(OPTIONS, 8)] * 5, True),
    ("six headers", [(OPTIONS, 8)] * 6, False),
    ("routing header", [(ROUTING, 24)], False),
    ("authentication header", [(AH, 24)], False),
    ("ESP", [(ESP, 16)], False),
    ("unknown header", [(139, 8)], False),
]


@pytest.mark.parametrize(("headers", "walked"), [row[1:] for row in EXTENSIONS], ids=[row[0] for row in EXTENSIONS])
def test_extension_headers(client_programs: Programs, headers: list[tuple[int, int]], walked: bool) -> None:
    """B1: extension headers are stepped over, or the packet passes untouched and is counted."""
    c = Side(V6, OUT, IN)
    syn = extension_frame(V6, headers, c, c.syn(X))
    wanted = extension_frame(V6, headers, c, c.syn(X, REDIRECT)) if walked else syn
    assert send(client_programs, Packet(OUT, syn)).packet.hex() == wanted.hex()
    assert (client_programs.counters()["syn_marked"], client_programs.counters()["extension"]) == (walked, not walked)


def test_extension_header_that_lies_about_its_length(client_programs: Programs) -> None:
    """B1: a header that claims to reach beyond the packet."""
    c = Side(V6, OUT, IN)
    frame = bytearray(extension_frame(V6, [(OPTIONS, 8)], c, c.syn(X)))
    frame[55] = 255
    assert send(client_programs, Packet(OUT, bytes(frame))).packet == frame
    assert client_programs.counters()["malformed"] == 1


def test_option_behind_extension_headers(client_programs: Programs) -> None:
    """B1 E2: the third ACK grows behind extension headers, too."""
    c = Side(V6, OUT, IN)
    for packet in (c.syn(X), c.synack(X, CONFIRM, options=option(Y))):
        assert send(client_programs, packet).verdict == PASS
    headers = [(HOP, 8), (OPTIONS, 16)]
    ack = extension_frame(V6, headers, c, c.from_client(X, ACK))
    wanted = extension_frame(V6, headers, c, c.from_client(Y, ACK | CONFIRM, options=option(X)))
    assert send(client_programs, Packet(OUT, ack)).packet.hex() == wanted.hex()
