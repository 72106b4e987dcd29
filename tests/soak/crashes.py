"""Open vSwitch is killed again and again below one controller: ``python -m tests.soak.crashes``.

All bridges lose their connections at once, at any moment of the controller's clock, which here looks at the switches
ten times a second. It promises that the controller lives through it, and that afterwards it does what it did before:
all switches are synced, are looked at, and what somebody deletes comes back.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.compile import settings
from tests.ovs.controller import wait_for
from tests.soak.fleet import Fleet, tables
from tests.soak.report import Report, cpu_seconds, memory_bytes

RESYNC = 0.1
SETTLE = 120.0
LOOKED_AT = 60 * RESYNC
"""Seconds since its last look that a switch may show at most: looking at all of them takes longer than a period."""
LIFE = 1.5
"""Open vSwitch lives for up to so many seconds, within which its bridges connect and are told their tables."""


def crash(fleet: Fleet, dice: random.Random) -> None:
    """Kill it, and start it again; it then lives for a moment."""
    fleet.switch.stop_vswitchd()
    fleet.switch.start_vswitchd()
    time.sleep(dice.uniform(0, LIFE))


def is_repaired(fleet: Fleet, text: str, name: str) -> bool:
    """Whether a bridge holds its tables."""
    return not fleet.differing({name: tables(text)[name]})


def main(words: list[str] | None = None) -> int:
    """Crash it, and look at what is left; the exit code says whether every promise held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crashes", type=int, default=500)
    parser.add_argument("--switches", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=3600.0, help="begin no more crashes after so long")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(words)
    report, dice = Report(), random.Random(options.seed)
    text = json.dumps(settings(options.switches, options.switches, 2 * options.switches))
    with tempfile.TemporaryDirectory(prefix="portlb-soak-") as directory:
        fleet = Fleet(Path(directory), text, resync=RESYNC)
        try:
            fleet.connect()
            report.say(f"{options.switches} switches synced after {fleet.settle(SETTLE):.1f} s")
            began = time.monotonic()
            number = 0
            while number < options.crashes and time.monotonic() < began + options.seconds:
                crash(fleet, dice)
                number += 1
                if fleet.controller.process.poll() is not None:
                    break
                if number % 50 == 0:
                    pid = fleet.controller.process.pid
                    used = f"{cpu_seconds(pid):.0f} s of the processor, {memory_bytes(pid) >> 20} MiB"
                    report.say(f"{number} crashes; the controller: {used}")
            afterwards(fleet, report, text, number)
        finally:
            fleet.close()
    return report.exit_code()


def afterwards(fleet: Fleet, report: Report, text: str, number: int) -> None:
    """What the controller must still do after so many crashes."""
    log = fleet.controller.log.read_text(errors="replace")
    code = fleet.controller.process.poll()
    report.promise(code is None, f"the controller lives after {number} crashes (exit code {code})")
    if code is not None:
        report.say(log[-2000:])
        return
    report.promise("Traceback" not in log, "its log has no traceback")
    fleet.switch.appctl("netdev-dummy/set-admin-state", "up")
    try:
        report.say(f"all synced again after {fleet.settle(SETTLE):.1f} s")
    except AssertionError:
        report.promise(False, f"all are synced; these are not: {fleet.unsynced()}")
        return
    wait_for("all links work", lambda: all(each["up"] for each in fleet.controller.status()["links"]), SETTLE)
    fleet.settle(SETTLE)
    time.sleep(LOOKED_AT)  # within which each is to be looked at
    ages = [each["read_age_seconds"] for each in fleet.controller.status()["switches"]]
    report.promise(max(ages) < LOOKED_AT, f"each switch has been looked at {max(ages):.1f} s ago or later")
    name = fleet.config.switches[-1].name
    fleet.switch.ofctl("del-flows", name)
    began = time.monotonic()
    try:
        wait_for("its flows come back", lambda: is_repaired(fleet, text, name), 2 * LOOKED_AT)
        report.promise(True, f"flows deleted on {name} came back after {time.monotonic() - began:.1f} s")
    except AssertionError as error:
        report.promise(False, f"flows deleted on {name}: {error}")
    report.promise(not fleet.differing(tables(text)), "every switch holds its tables")
    report.promise(fleet.controller.close() == 0, "the controller ends when it is told to")


if __name__ == "__main__":
    sys.exit(main())
