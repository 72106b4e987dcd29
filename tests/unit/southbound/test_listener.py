"""The OpenFlow listener. In a process of its own: Ryu patches Python."""

from __future__ import annotations

from tests.support.programs import Programs

PROGRAM = """
from types import SimpleNamespace
from portlb_app.southbound import listener as module
from portlb_app.southbound.refusals import GRACE, Refusals

listener = module.OpenFlowListener.__new__(module.OpenFlowListener)
listener._refusals, listener._channels, listener.is_configured = Refusals(), {}, lambda _dpid: False
now = 1000.0
module.SHORT_SECONDS = 0.05
module.time = SimpleNamespace(monotonic=lambda: now)

def connects(waits, stays):
    global now
    channel = SimpleNamespace(id=None, address=("127.0.0.9", 1), admitted_at=0.0)
    with listener._registered(channel):
        now += waits
        channel.id, channel.admitted_at = 7, now
        now += stays

for _ in range(GRACE + 1):
    connects(WAITS, STAYS)
print(listener._refusals.must_wait(("127.0.0.9", 2), now))
"""


def must_wait(programs: Programs, waits: float, stays: float) -> str:
    """Whether a host waits whose switch waits so long for its admission, and leaves so long after it."""
    program = PROGRAM.replace("WAITS", str(waits)).replace("STAYS", str(stays))
    done = programs.run(program)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_a_connection_waits_for_is_not_its_life(ryu_programs: Programs) -> None:
    """A switch that leaves as soon as it is admitted is one that comes and goes, however long that took."""
    assert must_wait(ryu_programs, 0.1, 0.0) == "True"
    assert must_wait(ryu_programs, 0.0, 0.1) == "False"
