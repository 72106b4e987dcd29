"""Noise through an agent's programs corrupts no packet, and options are read as a plain walk through them reads."""

from __future__ import annotations

import random

from portlb_app.agent.kernel import prog
from portlb_app.agent.loader import Programs
from tests.net.client_cases import client_cases
from tests.net.frames import (
    CONFIRM_FLAG,
    DROP,
    FAMILIES,
    IN,
    MSS,
    OUT,
    PASS,
    TIMESTAMPS,
    VIPS,
    Side,
    X,
    Y,
    bare_option,
    option,
)
from tests.net.network import ACK, CONFIRM, REDIRECT
from tests.net.permitted import assert_only_permitted_changes
from tests.net.programs import send
from tests.net.server_cases import server_cases


def test_fuzz(client_programs: Programs, server_programs: Programs) -> None:
    """Nothing an attacker sends corrupts a packet: foreign ones leave as they came, others change where they may."""
    generator = random.Random(20)
    seeds = [(client_programs, p) for f in FAMILIES for case in client_cases(f) for p in (*case.before, case.packet)]
    seeds += [(server_programs, p) for f in FAMILIES for case in server_cases(f) for p in (*case.before, case.packet)]
    for number in range(24000):
        programs, packet = generator.choice(seeds)
        frame = bytearray(packet.frame)
        kind = number % 3
        if kind == 0:  # noise behind an Ethernet header
            frame = frame[:14] + generator.randbytes(generator.randrange(40, 120))
        else:  # a few wrong bytes, or a wrong length
            for _ in range(generator.randrange(1, 5)):
                frame[generator.randrange(14, len(frame))] = generator.randrange(256)
            if kind == 2:  # (the kernel runs no program on less than an IP header)
                frame = frame[: generator.randrange(34 if frame[12:14] == b"\x08\x00" else 54, len(frame) + 1)]
        result = prog.run(programs.fd(packet.hook), bytes(frame))
        assert result.verdict in (PASS, DROP)
        if result.verdict == DROP:
            continue
        ours = frame[12:14] in (b"\x08\x00", b"\x86\xdd") and any(vip.packed in frame for vip in VIPS)
        if ours:
            assert_only_permitted_changes(bytes(frame), result.packet)
        else:
            assert result.packet == frame


def test_fuzzed_options_are_read_like_the_reference(client_programs: Programs) -> None:
    """E2 E7: whatever 40 bytes of options say, the agent reads what a plain walk through them reads."""
    generator = random.Random(253)
    pieces = [MSS, TIMESTAMPS, b"\1", b"\0", option(Y), option(7), option(0), option(Y, exid=1), b"\xfd", b"\x4d\x03\0"]
    pieces += [bare_option(CONFIRM_FLAG), option(Y, type_=0), option(Y, length=6)]
    for number in range(4000):
        options = b"".join(generator.choices(pieces, k=generator.randrange(6)))[:40]
        if number % 2:
            options = generator.randbytes(generator.randrange(41))
        options += b"\1" * (-len(options) % 4)
        side = Side(FAMILIES[number // 2 % 2], OUT, IN, cport=1024 + number)
        before = client_programs.counters()
        send(client_programs, side.syn(X))
        send(client_programs, side.synack(X, CONFIRM, options=options))
        after = client_programs.counters()
        port, bad = reference_option(options)
        assert after["bad_option"] - before["bad_option"] == bad, options.hex()
        out = send(client_programs, side.from_client(X, ACK, data=b"x")).packet
        wanted = side.from_client(port, ACK | CONFIRM, data=b"x") if port else side.from_client(
            X, ACK | REDIRECT, data=b"x")  # fmt: skip
        assert out == wanted.frame, options.hex()


def reference_option(options: bytes) -> tuple[int, bool]:
    """Return the announced port (0: none) and whether the options are malformed."""
    rest = options
    while rest and rest[0] != 0:
        if rest[0] == 1:
            rest = rest[1:]
            continue
        if len(rest) < 2 or rest[1] < 2 or rest[1] > len(rest):
            return 0, True
        if rest[0] == 253 and rest[1] >= 4 and rest[2:4] == b"\x52\x50":
            type_, port = rest[4] & 15 if rest[1] > 4 else None, int.from_bytes(rest[6:8], "big")
            if rest[1] == 8 and type_ == 1 and port:
                return port, False
            return 0, (rest[1], type_) != (6, 0)
        rest = rest[rest[1] :]
    return 0, False
