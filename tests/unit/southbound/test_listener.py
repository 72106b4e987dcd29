"""The OpenFlow listener. In a process of its own: Ryu patches Python."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import time
import eventlet, eventlet.wsgi
eventlet.wsgi.ALREADY_HANDLED = object()
from ryu.base import app_manager  # before the controller: its modules import each other
from types import SimpleNamespace
from portlb_app.southbound import listener as module
from portlb_app.southbound.refusals import GRACE, Refusals

listener = module.OpenFlowListener.__new__(module.OpenFlowListener)
listener._refusals, listener._channels, listener.is_configured = Refusals(), {}, lambda _dpid: False
module.SHORT_SECONDS = 0.05

def connects(waits, stays):
    channel = SimpleNamespace(id=None, address=("127.0.0.9", 1), admitted_at=0.0)
    with listener._registered(channel):
        time.sleep(waits)
        channel.id, channel.admitted_at = 7, time.monotonic()
        time.sleep(stays)

for _ in range(GRACE + 1):
    connects(WAITS, STAYS)
print(listener._refusals.must_wait(("127.0.0.9", 2), time.monotonic()))
"""


def must_wait(waits: float, stays: float) -> str:
    """Whether a host waits whose switch waits so long for its admission, and leaves so long after it."""
    program = PROGRAM.replace("WAITS", str(waits)).replace("STAYS", str(stays))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_a_connection_waits_for_is_not_its_life() -> None:
    """A switch that leaves as soon as it is admitted is one that comes and goes, however long that took."""
    assert must_wait(0.1, 0.0) == "True"
    assert must_wait(0.0, 0.1) == "False"
