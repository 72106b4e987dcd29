"""Hostile clients of REST beside honest ones: ``python -m tests.soak.clients --seconds 60``.

64 silent, 64 dripping and 100 oversized clients, all the time, while an honest client asks for the status, and two real
switches measure how long the controller takes to answer their echo requests.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path

from tests.ovs.controller import wait_for
from tests.soak.fleet import Fleet
from tests.soak.openflow import delays, prefer
from tests.soak.report import Report, memory_bytes
from tests.support.helper import Helper

SILENT, DRIPPING, OVERSIZED = 64, 64, 100
SWITCHES = 2
TEXT = """
switches: {b1: {dpid: 1, network: 1}, b2: {dpid: 2, network: 1}}
vips:
  v1: {address: 10.0.1.1, mac: "02:00:00:00:00:64", redirect_ports: {80: {servers: [s1]}}}
  v2: {address: 10.0.2.1, mac: "02:00:00:00:00:64", redirect_ports: {80: {servers: [s2]}}}
servers:
  s1: {vip: v1, connector: "b1:2", service_ports: [80]}
  s2: {vip: v2, connector: "b2:2", service_ports: [80]}
"""


def main(words: list[str] | None = None) -> int:
    """Be hostile for a while; the exit code says whether every promise held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--delay", type=float, default=0.1, metavar="SECONDS", help="the longest answer allowed")
    options = parser.parse_args(words)
    report = Report()
    with tempfile.TemporaryDirectory(prefix="portlb-soak-") as directory, contextlib.ExitStack() as stack:
        fleet = Fleet(Path(directory), TEXT, resync=5.0)
        stack.callback(fleet.close)
        controller = fleet.controller

        def helper(*arguments: object) -> Helper:
            made = Helper(sys.executable, "-m", *map(str, arguments))
            stack.callback(made.communicate)
            stack.callback(made.kill)
            return made

        relay = helper("tests.soak.echo_relay", controller.openflow_port, SWITCHES)
        for each, port in zip(fleet.config.switches, relay.wait_ready().split(), strict=True):
            fleet.switch.set_controller(each.name, f"tcp:127.0.0.1:{port}")
        wait_for("all are synced", lambda: not fleet.unsynced())
        honest = helper("tests.soak.latency", controller.rest_port, "/v1/status", 0.05)
        honest.wait_ready()
        crowd = helper("tests.soak.crowd", controller.rest_port, SILENT, DRIPPING, OVERSIZED, options.seconds)
        crowd.wait_ready()
        if not prefer(controller.process.pid, relay.pid, honest.pid):
            report.say("not root: what else this machine does is part of the delays")
        delays(report, relay, "before", options.delay)
        memory = memory_bytes(controller.process.pid)
        made = json.loads(crowd.tell(patience=options.seconds + 60))
        taken = sorted(json.loads(honest.tell()))
        report.say(", ".join(f"{count} connections of {kind} clients" for kind, count in made.items()))
        median, high = taken[len(taken) // 2], taken[len(taken) * 99 // 100]
        figures = f"{len(taken)} answers, median {1000 * median:.1f} ms, 99 % {1000 * high:.1f} ms"
        report.promise(taken[-1] < options.delay, f"REST: {figures}, longest {1000 * taken[-1]:.1f} ms")
        delays(report, relay, "meanwhile", options.delay)
        grown = memory_bytes(controller.process.pid) - memory
        report.promise(grown < 96 << 20, f"it grew by {grown / (1 << 20):.1f} MiB")
        report.promise("Traceback" not in controller.log.read_text(), "no error of the controller's own is in its log")
        report.promise(controller.close() == 0, "the controller ends when it is told to")
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
