"""Servers that do not answer, by counters alone: what takes one out, and what never does."""

from __future__ import annotations

import pytest

from portlb_app.backends import Backends
from portlb_app.backends.passive import HOLD, LEAST, LONGEST, Look, Passive
from portlb_app.backends.states import PORT, Evidence, Seen
from portlb_app.config import Config, load

GOOD, SILENT, IDLE = Look(400, 60_000, 300, 900_000), Look(200, 14_800, 0, 0), Look(0, 0, 0, 0)
REFUSING = Look(200, 200 * 74, 200, 200 * 54)
UPLOAD = Look(2000, 2000 * 1514, 1000, 1000 * 54)
HALF = Look(40, 40 * 74, 40, 40 * 74)
"""SYNs and their answers."""
TICK = 30.0


class Judged:
    """Servers of one pool, all looked at every half minute. `out`: what was found, with the time."""

    def __init__(self, servers: str) -> None:
        self.passive, self.servers, self.now = Passive(), servers, 0.0
        self.out: dict[str, str] = {}

    def look(self, times: int = 1, **others: Look) -> None:
        """They all answer, but for these."""
        for _ in range(times):
            self.now += TICK
            for name in self.passive.over(self.now):
                del self.out[name]
            looks = {name: others.get(name, GOOD) for name in self.servers}
            pools = {name: [tuple(self.servers)] for name in self.servers}
            self.out.update(self.passive.look(looks, pools, self.now))


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (SILENT, "400 packets to it in 60 s and none from it"),
        (REFUSING, "400 bare ones, such as resets,"),
        (Look(20, 20 * 94, 20, 20 * 74, 20), "40 packets to it in 60 s and 40 bare ones, such as resets,"),
        (Look(30, 10 * 74 + 20 * 94, 30, 10 * 54 + 20 * 74, 20), "60 bare ones, such as resets,"),
    ],
)
def test_two_looks_in_a_row_take_one_out(bad: Look, word: str) -> None:
    """And no other one; not one look, nor two that are apart."""
    judged = Judged("abc")
    judged.look()
    judged.look(b=bad)
    judged.look()
    judged.look(b=bad)
    assert not judged.out
    judged.look(b=bad)
    assert judged.out.keys() == {"b"} and word in judged.out["b"] and "while others answer" in judged.out["b"]


@pytest.mark.parametrize(
    "fine", [IDLE, UPLOAD, HALF, Look(LEAST - 1, 1400, 0, 0), Look(30, 2220, 30, 1950), Look(30, 2520, 30, 2100, 15)]
)
def test_these_never_do(fine: Look) -> None:
    """Idle ones, uploads to hosts without timestamps, few packets, openings that are answered; by IPv6, half of them
    as well.
    """
    judged = Judged("abc")
    judged.look()
    judged.look(20, b=fine)
    assert not judged.out


def test_not_what_never_answered_and_not_all() -> None:
    """Answers may take another way, and a service may answer nobody; the only server of a pool stays in."""
    judged = Judged("abc")
    judged.look(10, b=SILENT)
    assert not judged.out
    for servers in ("abc", "a"):
        judged = Judged(servers)
        judged.look()
        judged.look(10, **dict.fromkeys(servers, SILENT))
        assert not judged.out


def test_few_of_a_pool_are_out_at_a_time() -> None:
    """A third at most, or one."""
    judged = Judged("abcdefgh")
    judged.look()
    judged.look(2, **dict.fromkeys("abcd", SILENT))
    assert set(judged.out) == {"a", "b"}
    judged = Judged("ab")
    judged.look()
    judged.look(2, b=SILENT)
    assert set(judged.out) == {"b"}


def test_it_is_tried_again_later_each_time() -> None:
    """Out, it gets nothing. It is forgotten when it has answered for long."""
    judged = Judged("abc")
    judged.look()
    for held in (HOLD, 2 * HOLD, 4 * HOLD):
        judged.look(2, b=SILENT)
        since = judged.now
        assert set(judged.out) == {"b"}
        while judged.out:
            judged.look(b=IDLE)
        assert judged.now - since == held
    judged.look(int(LONGEST / TICK) + 1)
    judged.look(2, b=SILENT)
    assert f"again in {HOLD:.0f} s" in judged.out["b"]


def config(more: str = "", servers: str = "") -> Config:
    """Three servers in one pool."""
    lines = "\n".join(f"  {name}: {{vip: web, connector: s1:{at}{servers}}}" for at, name in enumerate("abc", 2))
    head = "switches: {s1: {dpid: 1, network: 1}}\nvips:\n  web:\n    address: 10.0.0.100\n"
    head += "    mac: '02:00:00:00:00:64'\n"
    return load(f"{head}    redirect_ports: {{80: {{servers: [a, b, c]}}}}\n{more}servers:\n{lines}\n")


@pytest.mark.parametrize(
    ("more", "is_out"), [("", True), ("    passive: false\n", False), ("    check: {kind: tcp}\n", False)]
)
def test_a_server_that_is_out_gets_no_slots(more: str, is_out: bool) -> None:
    """Where the VIP says nothing against it and there is no check; other evidence keeps it out after its time."""
    live = config(more)
    backends = Backends(live)
    for name in "abc":
        backends.see(name, Evidence(PORT, True, "its port is up", 0.0), 0.0)
    for now, look in ((30.0, GOOD), (60.0, SILENT), (90.0, SILENT)):
        backends.passed({"a": GOOD, "b": look, "c": GOOD}, now)
    assert ("b" in backends.tables()["web", 80]) is not is_out
    if not is_out:
        return
    changes = [each for each in backends.changes() if each.after.seen is Seen.DOWN]
    assert changes and all(each.server == "b" and "none from it" in each.after.reason for each in changes)
    backends.see("b", Evidence(PORT, False, "port s1:3 has no carrier", 100.0), 100.0)
    backends.tick(90.0 + HOLD)
    assert "b" not in backends.tables()["web", 80]
    backends.see("b", Evidence(PORT, True, "its port is up", 200.0), 200.0)
    assert "b" in backends.tables()["web", 80]
