"""Damaged OpenFlow messages beside honest switches: ``python -m tests.soak.openflow --messages 1000000``.

Real switches (bridges of Open vSwitch, synced, read again every second) are connected to a real controller. Peers send
it damaged messages in every state that a connection can be in. Meanwhile each real switch measures, on its own
connection, how long the controller takes to answer its echo requests.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

from tests.ovs.controller import wait_for
from tests.soak.fleet import Fleet, tables
from tests.soak.hostile import CLAIMING, STATES
from tests.soak.report import Report, cpu_seconds, memory_bytes
from tests.support.helper import Helper

HONEST = 4
CLAIMED = 200
"""The first datapath id of switches that are configured, but only claimed."""
ENDS = 3600.0


def text() -> str:
    """A configuration of honest and claimed switches, each with a VIP of its own; nothing joins them."""
    numbers = [*range(1, HONEST + 1), *range(CLAIMED, CLAIMED + CLAIMING)]
    vip = '{{address: 10.0.{0}.1, mac: "02:00:00:00:00:64", redirect_ports: {{80: {{servers: [s{0}]}}}}}}'
    return "\n".join(
        [
            "switches:",
            *(f"  b{number}: {{dpid: {number}, network: 1}}" for number in numbers),
            "vips:",
            *(f"  v{number}: " + vip.format(number) for number in numbers),
            "servers:",
            *(f"  s{number}: {{vip: v{number}, connector: b{number}:2, service_ports: [80]}}" for number in numbers),
        ]
    )


def delays(report: Report, relay: Helper, what: str, most: float) -> None:
    """Say how long honest switches waited since the last time; no answer may have taken more than `most` seconds."""
    *switches, (_, *late) = json.loads(relay.tell())
    report.promise(all(count for count, *_ in switches), f"{what}: every honest switch had answers")
    for number, (count, median, high, longest) in enumerate(switches, 1):
        figures = f"{count} echoes, median {1000 * median:.1f} ms, 99.9 % {1000 * high:.1f} ms"
        report.promise(longest < most, f"switch {number}: {figures}, longest {1000 * longest:.1f} ms")
    median, high, longest = (f"{1000 * each:.1f} ms" for each in late)
    report.say(f"(taken off: the process that measures was late by {median}, 99.9 % {high}, at most {longest})")


def prefer(*pids: int) -> bool:
    """Have these processes run before others, which are no part of what is measured; False if not root."""
    try:
        for pid in pids:
            os.setpriority(os.PRIO_PROCESS, pid, -15)
    except PermissionError:
        return False
    return True


def main(words: list[str] | None = None) -> int:
    """Send it all; the exit code says whether every promise held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--delay", type=float, default=0.05, metavar="SECONDS", help="the longest echo allowed")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(words)
    report = Report()
    with tempfile.TemporaryDirectory(prefix="portlb-soak-") as directory, contextlib.ExitStack() as stack:
        fleet = Fleet(Path(directory), text(), resync=1.0)
        stack.callback(fleet.close)
        controller = fleet.controller
        relay = Helper(sys.executable, "-m", "tests.soak.echo_relay", str(controller.openflow_port), str(HONEST))
        stack.callback(relay.communicate)
        stack.callback(relay.kill)
        honest = [each.name for each in fleet.config.switches if each.dpid < CLAIMED]
        for name, port in zip(honest, relay.wait_ready().split(), strict=True):
            fleet.switch.set_controller(name, f"tcp:127.0.0.1:{port}")
        wait_for("all are synced", lambda: not fleet.unsynced().keys() & set(honest))
        claimed = [str(CLAIMED + number) for number in range(CLAIMING)]
        program = ("-m", "tests.soak.hostile", str(controller.openflow_port), str(options.messages), str(options.seed))
        peers = Helper(sys.executable, *program, *claimed)
        stack.callback(peers.communicate)
        stack.callback(peers.kill)
        peers.wait_ready()
        vswitchd = int((fleet.switch.directory / "ovs-vswitchd.pid").read_text())
        if not prefer(controller.process.pid, relay.pid, vswitchd):
            report.say("not root: what else this machine does is part of the delays")
        delays(report, relay, "before", options.delay)
        used, memory = cpu_seconds(controller.process.pid), memory_bytes(controller.process.pid)
        sent, connections, unanswered = json.loads(peers.tell(patience=ENDS))
        for state in STATES:
            report.say(f"{state}: {sent.get(state, 0)} messages over {connections.get(state, 0)} connections")
        total = sum(sent.values())
        report.promise(total >= 0.99 * options.messages, f"{total} damaged messages were read")
        report.promise(not unanswered, f"{unanswered} peers were neither closed nor answered")
        delays(report, relay, "meanwhile", options.delay)
        used = cpu_seconds(controller.process.pid) - used
        grown = memory_bytes(controller.process.pid) - memory
        report.say(f"the controller used {used:.1f} s of the processor, {1e6 * used / max(total, 1):.0f} us a message")
        report.promise(grown < 64 << 20, f"it grew by {grown / (1 << 20):.1f} MiB")
        lost = [name for name in honest if f"{name} is disconnected" in controller.log.read_text()]
        report.promise(not lost, f"{len(lost)} honest switches were lost")
        wait_for("all are synced", lambda: not fleet.unsynced().keys() & set(honest))
        wanted = {name: state for name, state in tables(text()).items() if name in honest}
        report.promise(not fleet.differing(wanted), "honest switches hold what they should")
        refused = controller.status()["refused_connections"]
        report.say(f"{refused['count']} connections were refused, at last because:")
        for each in refused["last"]:
            report.say(f"  {each['reason']}")
        log = controller.log.read_text()
        report.promise("Traceback" not in log, "no error of the controller's own is in its log")
        report.promise(controller.close() == 0, "the controller ends when it is told to")
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
