"""Many switches tell much at once, and nothing takes it: ``python -m tests.soak.replies --switches 64``.

Peers claim configured switches, and answer the first question about their tables with messages of 64 kB without end.
The process with the tables stands still meanwhile, as it does when it compiles. The controller promises that its memory
stays bounded, that it holds peers back in place of dropping them, and tells them that it is there; that it answers an
honest switch and REST; and that all of it goes on when that process does.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from portlb_app.openflow.limits import WAITING_OF_ALL
from tests.ovs import openflow_peer as of
from tests.ovs.controller import ControllerProcess, wait_for
from tests.soak.report import Report, memory_bytes

BODY = bytes(60_000)
"""Nothing in it is read: it is cut off and refused once somebody looks."""
MOST = WAITING_OF_ALL + (64 << 20)
"""Bytes by which the controller may grow: what waits, what is on its way, and what Python has not given back."""


def text(switches: int) -> str:
    """A configuration of so many switches, each with a VIP of its own; nothing joins them."""
    lines = ["switches:"]
    lines += [f"  b{number}: {{dpid: {number}, network: 1}}" for number in range(1, switches + 1)]
    lines += ["vips:"]
    vip = '{{address: 10.0.{0}.1, mac: "02:00:00:00:00:64", redirect_ports: {{80: {{servers: [s{0}]}}}}}}'
    lines += [f"  v{number}: {vip.format(number)}" for number in range(1, switches + 1)]
    lines += ["servers:"]
    server = "{{vip: v{0}, connector: b{0}:2, service_ports: [80]}}"
    return "\n".join([*lines, *(f"  s{number}: {server.format(number)}" for number in range(1, switches + 1))])


class Teller(threading.Thread):
    """A peer that is asked, and tells without end when it may.

    `told`: bytes that were taken; `signs`: messages that came since.
    """

    def __init__(self, port: int, dpid: int, may_tell: threading.Event) -> None:
        super().__init__(daemon=True)
        self.told = self.signs = 0
        self.is_asked = False
        self._may_tell = may_tell
        self._peer = of.Peer(port)
        self._peer.connect_as(dpid)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError):
            xid, _ = self._peer.until(of.MULTIPART_REQUEST)
            self._peer.socket.settimeout(None)
            self.is_asked = True
            self._may_tell.wait()
            self._listener.start()
            message = of.multipart(of.FLOW_DESC, BODY, xid, flags=1)
            while True:
                self.told += self._peer.socket.send(message)

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._peer.receive()
                self.signs += 1

    def close(self) -> None:
        """End the connection."""
        self._peer.close()


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process stands still."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def main(words: list[str] | None = None) -> int:
    """Let them tell; the exit code says whether every promise held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--switches", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the tables' process stands still")
    options = parser.parse_args(words)
    report = Report()
    with tempfile.TemporaryDirectory(prefix="portlb-soak-") as directory, contextlib.ExitStack() as stack:
        path = Path(directory) / "lb.yaml"
        path.write_text(text(options.switches))
        controller = ControllerProcess(path)
        stack.callback(controller.close)
        pid = controller.process.pid
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        honest = of.Peer(controller.openflow_port)
        stack.callback(honest.close)
        honest.connect_as(0xABC)
        before = memory_bytes(pid)
        may_tell = threading.Event()
        tellers = [Teller(controller.openflow_port, number, may_tell) for number in range(1, options.switches + 1)]
        for each in tellers:
            stack.callback(each.close)
        wait_for("many are asked", lambda: sum(each.is_asked for each in tellers) >= min(16, options.switches))
        with stopped(int(child)):
            may_tell.set()
            until, most, taken = time.monotonic() + options.seconds, 0, []
            while time.monotonic() < until:
                began = time.monotonic()
                assert honest.answers()
                controller.status()
                taken.append(time.monotonic() - began)
                most = max(most, memory_bytes(pid))
                time.sleep(0.05)  # between two questions
            told, signs = sum(each.told for each in tellers), sum(each.signs for each in tellers)
            report.say(f"{told >> 20} MiB were told by {sum(each.told > 0 for each in tellers)} switches")
            report.promise(most - before < MOST, f"the controller grew by {(most - before) >> 20} MiB")
            report.promise(signs > 0, f"switches that are held back have had {signs} signs of life")
            report.promise(max(taken) < 2.5, f"an honest switch and REST: at most {1000 * max(taken):.0f} ms")
            refused = controller.status()["refused_connections"]
            report.promise(not refused["count"], f"{refused['count']} connections were dropped")
        wait_for("they are refused", lambda: controller.status()["refused_connections"]["count"] > 0)
        report.promise(controller.close() == 0, "the controller ends when it is told to")
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
