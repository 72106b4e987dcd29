"""Mutated frames through the agents' programs (BPF_PROG_TEST_RUN): nothing crashes, nothing is corrupted, nothing lost.

    sudo .venv/bin/python -m tests.soak.frames [--frames 1000000] [--seed 20] [--seconds 3600]

Frames of all packet tests, both versions of IP, with noise, wrong bytes, wrong lengths, checksums put right or not, go
through all four programs, with maps that go on from frame to frame. After each: the verdict is one of two, the packet
differs only where an agent may change it, one for other addresses does not differ. Every thousand frames honest
connections, one in each program, do what they should.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from portlb_app.agent import client, server
from portlb_app.agent.kernel import prog
from portlb_app.agent.loader import Programs
from tests.net import frames as packets
from tests.net.client_cases import client_cases
from tests.net.network import ACK, CONFIRM, REDIRECT
from tests.net.permitted import assert_only_permitted_changes
from tests.net.programs import send
from tests.net.server_cases import server_cases

HONEST_EVERY = 1000
HONEST_PORT = 61000  # no frame of the packet tests has it, and a mutation would have to guess it


@dataclass
class Figures:
    """What happened to the frames."""

    seconds: float = 0.0
    verdicts: Counter[str] = field(default_factory=Counter)
    changed: int = 0
    honest: int = 0
    counters: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        frames = self.verdicts.total()
        return (
            f"{frames} frames in {self.seconds:.0f} s: {dict(self.verdicts)}, {self.changed} changed where permitted, "
            f"honest connections looked at {self.honest} times\nseen by the programs: {self.counters}"
        )


class Honest:
    """A connection in each role that must go on as if nothing else came."""

    def __init__(self, number: int, family: packets.Family, clients: Programs, servers: Programs) -> None:
        cport = HONEST_PORT + number
        self._clients, self._servers = clients, servers
        self._c = packets.Side(family, packets.OUT, packets.IN, cport=cport)
        self._s = packets.Side(family, packets.IN, packets.OUT, cport=cport)
        c, s, x, y = self._c, self._s, packets.X, packets.Y
        for programs, before in (
            (clients, (c.syn(x), c.synack(x, CONFIRM, options=packets.option(y)), c.from_server(y, ACK))),
            (servers, (s.syn(x, REDIRECT), s.synack(x), s.from_client(y, ACK | CONFIRM, options=packets.option(x)),
                       s.from_client(y, ACK))),
        ):  # fmt: skip
            for packet in before:
                assert send(programs, packet).verdict == packets.PASS

    def check(self) -> None:
        """Data in both directions is translated in both roles."""
        c, s, x, y = self._c, self._s, packets.X, packets.Y
        for programs, packet, wanted in (
            (self._clients, c.from_client(x, ACK, data=b"odd"), c.from_client(y, ACK, data=b"odd")),
            (self._clients, c.from_server(y, ACK, data=b"odd"), c.from_server(x, ACK, data=b"odd")),
            (self._servers, s.from_client(y, ACK, data=b"odd"), s.from_client(x, ACK, data=b"odd")),
            (self._servers, s.from_server(x, ACK, data=b"odd"), s.from_server(y, ACK, data=b"odd")),
        ):
            result = send(programs, packet)
            assert (result.verdict, result.packet) == (packets.PASS, wanted.frame), packet.hook


def mutated(generator: random.Random, frame: bytes) -> bytes:
    """Return the frame with something wrong, in one of five ways; at least as long as the kernel asks of one."""
    changed = bytearray(frame)
    kind = generator.randrange(5)
    least = 34 if changed[12:14] == b"\x08\x00" else 54
    if kind == 0:
        changed[14:] = generator.randbytes(generator.randrange(40, 120))
    elif kind == 1:
        for _ in range(generator.randrange(1, 5)):
            changed[generator.randrange(14, len(changed))] = generator.randrange(256)
    elif kind == 2:
        del changed[generator.randrange(least, len(changed) + 1) :]
    elif kind == 3:  # flags, numbers and options of TCP, where it is where it mostly is
        start = least + 4
        for _ in range(generator.randrange(1, 4)):
            if start < len(changed):
                changed[generator.randrange(start, len(changed))] ^= 1 << generator.randrange(8)
    else:
        changed += generator.randbytes(generator.randrange(1, 1400))
    return bytes(changed)


def run(frames: int, seed: int, seconds: float) -> Figures:
    """Send mutated frames, at most for so many seconds; AssertionError at the first that does what it may not."""
    generator, figures = random.Random(seed), Figures()
    programs = {"client": Programs("client", client.settings(packets.VIPS)),
                "server": Programs("server", server.settings(packets.MAPPING))}  # fmt: skip
    began = time.monotonic()
    try:
        seeds = _seeds(programs)
        honest = [Honest(n, family, *programs.values()) for n, family in enumerate(packets.FAMILIES)]
        for number in range(frames):
            if number % HONEST_EVERY == 0:
                figures.honest += 1
                for each in honest:
                    each.check()
                if time.monotonic() - began > seconds:
                    break
            role, packet = generator.choice(seeds)
            _one(programs[role], packet.hook, mutated(generator, packet.frame), figures)
        for each in honest:
            each.check()
        for role, each in programs.items():
            figures.counters.update({f"{role}.{name}": value for name, value in each.counters().items() if value})
            each.sweep(time.monotonic_ns())
    finally:
        figures.seconds = time.monotonic() - began
        for each in programs.values():
            each.close()
    return figures


def _seeds(programs: dict[str, Programs]) -> list[tuple[str, packets.Packet]]:
    found: list[tuple[str, packets.Packet]] = []
    for role, cases in zip(programs, (client_cases, server_cases), strict=True):
        for family in packets.FAMILIES:
            found += [(role, each) for case in cases(family) for each in (*case.before, case.packet)]
    return found


def _one(programs: Programs, hook: str, frame: bytes, figures: Figures) -> None:
    result = prog.run(programs.fd(hook), frame)
    assert result.verdict in (packets.PASS, packets.DROP), (result.verdict, hook, frame.hex())
    figures.verdicts["passed" if result.verdict == packets.PASS else "dropped"] += 1
    if result.verdict == packets.DROP or result.packet == frame:
        return
    if frame[12:14] in (b"\x81\x00", b"\x88\xa8") and not int.from_bytes(frame[14:16], "big") & 0xFFF:
        frame = frame[:12] + frame[16:]  # a priority tag is kept beside the frame
        if result.packet == frame:
            return
    assert frame[12:14] in (b"\x08\x00", b"\x86\xdd") and any(vip.packed in frame for vip in packets.VIPS), frame.hex()
    if _end(result.packet) == _end(frame) + 8:  # an option has been put where a trailer was
        frame = frame[: _end(frame)]
    assert_only_permitted_changes(frame, result.packet)
    figures.changed += 1


def _end(frame: bytes) -> int:
    """Where the IP packet in a frame ends."""
    if frame[12:14] == b"\x08\x00":
        return 14 + int.from_bytes(frame[16:18], "big")
    return 54 + int.from_bytes(frame[18:20], "big")


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=3600.0)
    arguments = parser.parse_args(argv)
    print(run(arguments.frames, arguments.seed, arguments.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
