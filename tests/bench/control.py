"""How fast the controller changes a bridge, next to ovs-ofctl: ``python -m tests.bench.control [PORTS [ROUNDS]]``.

One bridge of the dummy datapath; PORTS service ports (10,000) of 50 servers in 4 pools. Without root. It prints
medians, and of each the least and the most:

- install: an empty bridge gets all groups and flows. In turn by ``ovs-ofctl --bundle replace-flows`` (its text is
  written before), and by the controller, from the connection of the bridge until it holds them: read, compared, encoded
  and sent. Their ratio.
- a weight: from the beginning of ``PUT /v1/servers/NAME/weight`` until the switch has answered the bundle's commit.
- a port down: from the switch's message until the same answer. The controller waits 20 ms of that for more such news.
- the longest answer to an echo request, of one every 5 ms meanwhile.
- a round: seconds of the processor for a read that finds nothing changed, of both processes of the controller.
- memory of both processes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from portlb_app.compiler import flows_text
from tests.ovs.controller import wait_for
from tests.soak.fleet import Fleet, port_name, tables
from tests.soak.report import cpu_seconds, memory_bytes

SERVERS, POOLS, SWITCH = 50, 4, "s1"
PATIENCE = 300.0
PAUSE = 3.0
"""Seconds between two changes, so that the read after one is over."""


def settings(ports: int) -> str:
    """The configuration."""
    names, each = [f"h{number}" for number in range(SERVERS)], ports // SERVERS
    servers = {
        name: {
            "vip": "web",
            "connector": f"{SWITCH}:{2 + at}",
            "service_ports": list(range(1024 + at * each, 1024 + (at + 1) * each)),
        }
        for at, name in enumerate(names)
    }
    pools = {port: {"servers": names} for port in range(1, POOLS + 1)}
    vip = {"address": "10.0.0.100", "mac": "02:00:00:00:00:64", "redirect_ports": pools}
    switches = {SWITCH: {"dpid": 1, "network": 1}}
    return json.dumps({"switches": switches, "vips": {"web": vip}, "servers": servers})


class Bench:
    """The bridge, the controller, and what is said between them."""

    def __init__(self, directory: Path, ports: int) -> None:
        self.text = settings(ports)
        self.fleet = Fleet(directory, self.text, resync=3600.0)
        (self.state,) = tables(self.text).values()
        self._files = [directory / "wanted.groups", directory / "wanted.flows"]
        self._files[0].write_text("\n".join(map(str, self.state.ordered_groups)))
        self._files[1].write_text(flows_text(SWITCH, self.state))
        self.said: list[tuple[str, float]] = []

    @contextmanager
    def relay(self) -> Iterator[None]:
        """Have the bridge connect to the controller, by way of a relay, in the block."""
        words = (sys.executable, "-m", "tests.bench.control_relay", str(self.fleet.controller.openflow_port))
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout and process.stdin
            port = process.stdout.readline().split()[1]
            listener = threading.Thread(target=self._listen, args=(process.stdout,))
            listener.start()
            self.fleet.switch.set_controller(SWITCH, f"tcp:127.0.0.1:{port}")
            yield
            self.fleet.switch.vsctl("del-controller", SWITCH)
            process.stdin.close()
            listener.join()

    def _listen(self, lines: Any) -> None:
        for line in lines:
            word, seconds = line.split()
            self.said.append((word, float(seconds)))

    def empty(self) -> None:
        """Remove all flows, groups and meters from the bridge."""
        for command in ("del-flows", "del-groups", "del-meters"):
            self.fleet.switch.ofctl(command, SWITCH)

    def by_ofctl(self) -> float:
        """Seconds in which ovs-ofctl fills the bridge."""
        for meter in self.state.ordered_meters:
            self.fleet.switch.ofctl("add-meter", SWITCH, str(meter))
        began = time.monotonic()
        self.fleet.switch.ofctl("add-groups", SWITCH, str(self._files[0]))
        self.fleet.switch.ofctl("replace-flows", SWITCH, "--bundle", str(self._files[1]))
        return time.monotonic() - began

    def by_controller(self) -> float:
        """Seconds in which the controller does."""
        began = time.monotonic()
        self.fleet.switch.vsctl("--no-wait", "set-controller", SWITCH, self.fleet.controller.target)
        wait_for("flows", self._is_filled, PATIENCE)
        taken = time.monotonic() - began
        self.fleet.controller.wait_for_state(SWITCH, "synced")
        self.fleet.switch.vsctl("del-controller", SWITCH)
        wait_for("gone", lambda: self.fleet.controller.switch(SWITCH)["state"] == "absent", PATIENCE)
        return taken

    def _is_filled(self) -> bool:
        """All flows come together, so those of the first table say that they are there."""
        return "flow_count=0" not in self.fleet.switch.ofctl("dump-aggregate", SWITCH, "table=0")

    def after(self, word: str, began: float) -> float:
        """When something was said first after some time."""
        found: float = wait_for(
            word, lambda: next((at for said, at in list(self.said) if said == word and at > began), None), PATIENCE
        )  # fmt: skip
        return found

    def weight(self, number: int) -> float:
        """Seconds until the bridge has another weight of a server."""
        began = time.monotonic()
        body = json.dumps({"weight": 2 + number % 2})
        status, answer = self.fleet.controller.request("PUT", "/v1/servers/h3/weight", body, seconds=PATIENCE)
        assert status == 200, answer
        return self.after("commit", began) - began

    def port_down(self, number: int) -> float:
        """Seconds until the bridge is told about a connector that is down."""
        began = time.monotonic()
        self.fleet.switch.appctl("netdev-dummy/set-admin-state", port_name(SWITCH, 10 + number), "down")
        told = self.after("port", began)
        return self.after("commit", told) - told

    def round(self) -> float:
        """Seconds of the processor that a read takes, over what passes as much time without one."""
        idle = self._used_in_pause()
        self.fleet.controller.request("POST", f"/v1/switches/{SWITCH}/resync", seconds=PATIENCE)
        used = self._used_in_pause()
        assert self.fleet.controller.switch(SWITCH)["read_age_seconds"] < PAUSE, "it is not read to its end"
        return used - idle

    def _used_in_pause(self) -> float:
        before = cpu_seconds(self.fleet.controller.process.pid)
        time.sleep(PAUSE)
        return cpu_seconds(self.fleet.controller.process.pid) - before


def line(what: str, times: list[float], unit: float = 1000.0) -> None:
    """Print the median of some seconds, and their spread."""
    shown = " ".join(f"{unit * each:9.1f}" for each in (median(times), min(times), max(times)))
    print(f"{what:34} {shown}", flush=True)


def main() -> None:
    """Print all figures."""
    ports = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Path(directory), ports)
        try:
            print(f"{ports} service ports, {len(bench.state.flows)} flows, {rounds} rounds")
            print(f"{'milliseconds':34}    median     least      most")
            ofctl, controller = [], []
            for _ in range(rounds):
                bench.empty()
                ofctl.append(bench.by_ofctl())
                bench.empty()
                controller.append(bench.by_controller())
            line("install by ovs-ofctl", ofctl)
            line("install by the controller", controller)
            print(f"{'ratio':34} {median(controller) / median(ofctl):9.2f}")
            with bench.relay():
                bench.fleet.controller.wait_for_state(SWITCH, "synced")
                for what, change in (("a weight", bench.weight), ("a port down", bench.port_down)):
                    taken = []
                    for number in range(rounds):
                        time.sleep(PAUSE)
                        bench.said.clear()
                        taken.append(change(number))
                    line(what, taken)
                    line("  the longest echo of the last", [max(at for word, at in bench.said if word == "echo")])
            bench.fleet.switch.set_controller(SWITCH, bench.fleet.controller.target)
            bench.fleet.controller.wait_for_state(SWITCH, "synced")
            line("a round, of the processor", [bench.round() for _ in range(rounds + 1)][1:])
            pid = bench.fleet.controller.process.pid
            (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            megabytes = " ".join(f"{memory_bytes(int(each)) / 1e6:9.0f}" for each in (pid, child))
            print(f"{'MB of the loop, and of the tables':34} {megabytes}")
        finally:
            bench.fleet.close()


if __name__ == "__main__":
    main()
