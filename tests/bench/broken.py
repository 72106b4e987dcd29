"""Case d: open connections that break when something changes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from tests.bench.alternative import EVEN, Alternative
from tests.bench.figures import Case
from tests.bench.load import Background
from tests.bench.stage import PORT, VIP, Stage
from tests.bench.tables import Plain, Static
from tests.net.network import ROOT

THREE = {"a": 1, "b": 1, "c": 1}
HEAVY = {**EVEN, "a": 3}
LOAD = 4
PATIENCE = 120.0
SETTLES = 1.0
"""Seconds for what is still on its way when an event is over: a reload, a controller's next step."""


def add(stage: Stage, one: Alternative) -> None:
    """A fourth server."""
    one.choose(EVEN)


def remove(stage: Stage, one: Alternative) -> None:
    """The fourth server leaves the pool; it goes on running, to serve what it has."""
    one.choose(THREE)


def reweight(stage: Stage, one: Alternative) -> None:
    """One server has three times the weight of each other."""
    one.choose(HEAVY)


def restart_switch(stage: Stage, one: Alternative) -> None:
    """ovs-vswitchd is killed and started, and filled with the same tables."""
    stage.restart_switch()
    one.recover()


def fail_over(stage: Stage, one: Alternative) -> None:
    """All cables go to another switch, which is filled with the same tables."""
    stage.fail_over()
    one.recover()


def restart_program(stage: Stage, one: Alternative) -> None:
    """What balances beside the switch is killed and started: controller, proxy, or the router's memory."""
    one.restart_program()


Event = Callable[[Stage, Alternative], None]
EVENTS: tuple[tuple[str, Event, dict[str, int]], ...] = (
    ("server added", add, THREE),
    ("server removed", remove, EVEN),
    ("server's weight times 3", reweight, EVEN),
    ("switch restarted", restart_switch, EVEN),
    ("failed over to another switch", fail_over, EVEN),
    ("balancer's program killed", restart_program, EVEN),
)


def case(number: int) -> Case:
    """An empty one."""
    return Case(
        "broken",
        "Broken connections",
        f"Of {number} open connections, those that do not answer their next request, while wrk opens others, {LOAD} at"
        " a time. HAProxy and nginx are reloaded, the router's map is replaced, and a server that leaves the pool goes"
        " on running. Where a balancer has no program beside the switch, there is nothing to kill.",
    )


def measure(found: Case, stage: Stage, alternative: Alternative, number: int) -> None:
    """All events with one alternative, each with new connections."""
    if isinstance(alternative, (Plain, Static)):
        return
    with alternative.running(EVENTS[0][2]):
        for title, event, before in EVENTS:
            if event is restart_program and alternative.program is None:
                found.figure(title, f"of {number}").add(alternative.name, None)
                continue
            if alternative.weights != before:
                alternative.choose(before)
                settle(stage)
                alternative.check()
            broken, failed = one(stage, alternative, event, number)
            found.figure(title, f"of {number}").add(alternative.name, broken)
            found.figure(f"{title}: requests of wrk that failed", "1").add(alternative.name, failed)


def one(stage: Stage, alternative: Alternative, event: Event, number: int) -> tuple[int, int]:
    """Open connections, let something happen, and ask on all; how many break, and how many of wrk's requests fail."""
    holder = stage.client.popen_ready(sys.executable, "-m", "tests.bench.holders", VIP, str(PORT), cwd=ROOT)
    opened = int(holder.tell(f"open {number}", PATIENCE))
    assert opened == number, f"{alternative.name}: {opened} of {number} connections were answered"
    load = Background(stage, "/name", LOAD, close=True)
    event(stage, alternative)
    settle(stage)
    whole = int(holder.tell("ask", PATIENCE))
    failed = load.end().failed
    assert holder.stdin is not None
    holder.stdin.close()
    holder.wait(60)
    return number - whole, failed


def settle(stage: Stage) -> None:
    """Let the datapath hear of new tables, and come to its end what an event has begun."""
    stage.switch.appctl("revalidator/wait")
    time.sleep(SETTLES)
