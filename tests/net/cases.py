"""A case: one packet and its fate, after those before it. A counter that a case does not name stays as it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from portlb_app.agent.loader import Programs
from tests.net.frames import DROP, PASS, Packet
from tests.net.programs import send


@dataclass(frozen=True)
class Case:
    """One packet's fate. `out` None: leaves as it came. `counters`: all that change, no others may."""

    description: str
    packet: Packet
    out: Packet | None = None
    verdict: int = PASS
    counters: dict[str, int] = field(default_factory=dict)
    before: tuple[Packet, ...] = ()


def drop(description: str, packet: Packet, counter: str | None, *before: Packet) -> Case:
    return Case(description, packet, verdict=DROP, counters={counter: 1} if counter else {}, before=before)


def same(description: str, packet: Packet, before: tuple[Packet, ...] = (), **counters: int) -> Case:
    return Case(description, packet, counters=counters, before=before)


def check(programs: Programs, case: Case) -> None:
    for packet in case.before:
        assert send(programs, packet).verdict == PASS
    counted = programs.counters()
    result = send(programs, case.packet)
    assert result.verdict == case.verdict
    if case.verdict == PASS:
        assert result.packet.hex() == (case.out or case.packet).frame.hex()
    changed = {name: value - counted[name] for name, value in programs.counters().items() if value != counted[name]}
    assert changed == case.counters
