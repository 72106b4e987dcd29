"""Alternatives with a controller: portlb, with and without agents, and a reactive balancer."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

import yaml

from tests.bench.alternative import Alternative
from tests.bench.machine import family
from tests.bench.stage import BRIDGE, CONNECTORS, CONTROLLER, DPID, NETWORK, OPENFLOW, PORT, VIP, Stage, write
from tests.net.network import ROOT, end, until
from tests.support.helper import Helper

REST = 8080
REACTIVE = 6654
"""The reactive balancer's OpenFlow port."""
START = 120.0
"""Seconds until a program must be ready: the machine may be busy."""
FIRST = 100
"""The first of further service ports."""


def configuration(weights: Mapping[str, int], legacy: str, ports: int = 4) -> str:
    """A configuration with one redirect port and so many service ports, the first of each server for the program."""
    names = list(CONNECTORS)
    owned: dict[str, list[object]] = {
        name: [{"port": number + 1, "application": PORT}] for number, name in enumerate(names)
    }
    free = iter(range(FIRST, 65536))
    for number in range(len(names), ports):
        owned[names[number % len(names)]].append(next(free))
    servers = {
        name: {"vip": "web", "connector": f"{BRIDGE}:{port}", "service_ports": owned[name]}
        | ({"weight": weights[name]} if weights.get(name, 1) != 1 else {})
        for name, port in CONNECTORS.items()
    }
    pool = [name for name, weight in weights.items() if weight]
    vip = {"address": VIP, "mac": "02:00:00:00:00:64", "redirect_ports": {PORT: {"servers": pool, "legacy": legacy}}}
    switches = {BRIDGE: {"dpid": DPID, "network": NETWORK}}
    return yaml.safe_dump({"switches": switches, "vips": {"web": vip}, "servers": servers}, sort_keys=False)


class Portlb(Alternative):
    """portlb's controller and tables, clients without agents."""

    name, program = "portlb", "controller"
    about = "portlb, clients and servers without agents (`legacy: balance`)"
    legacy = "balance"
    _controller: Helper | None = None

    def start(self) -> None:
        """The controller fills the bridge."""
        self.stage.clear()
        self._file = self.stage.directory / f"{self.name.replace(' ', '-')}.yaml"
        write(self._file, self._text())
        self._begin()
        self.recover()

    def _text(self) -> str:
        return configuration(self.weights, self.legacy)

    def _begin(self) -> None:
        options = ("--wsapi-socket", "", "--ofp-listen-host", CONTROLLER)
        words = (sys.executable, "-m", "portlb_app.cli", "controller", str(self._file), *options)
        self._controller = self.stage.control.popen_piped(*words, cwd=ROOT)
        assert self._controller.line(START).startswith("ready")

    def recover(self) -> None:
        """The controller does so by itself, as soon as the bridge connects."""
        self.stage.switch.set_controller(BRIDGE, f"tcp:{CONTROLLER}:{OPENFLOW}")
        until(self._synced, "the switch has its tables", START)

    def _synced(self) -> bool:
        words = ("curl", "--silent", "--fail", f"http://127.0.0.1:{REST}/v1/status")
        done = self.stage.control.run(*words, check=False)
        if done.returncode:
            return False
        return all(each["state"] == "synced" for each in json.loads(done.stdout)["switches"])

    def choose(self, weights: Mapping[str, int]) -> None:
        """A PUT; slots move at once."""
        self.weights = weights
        words: tuple[str, ...] = ("curl", "--silent", "--show-error", "--fail-with-body", "--request", "PUT")
        words += ("--header", "Content-Type: application/yaml", "--data-binary", "@-")
        self.stage.control.run(*words, f"http://127.0.0.1:{REST}/v1/config", input=self._text())

    def restart_program(self) -> None:
        """Kill the controller and start it again."""
        assert self._controller is not None
        end(self._controller, signal.SIGKILL)
        self._begin()
        until(self._synced, "the switch is synced again", START)

    def programs(self) -> Sequence[int]:
        """The controller and its process with the tables."""
        return family(self._controller.pid) if self._controller is not None else ()

    def stop(self) -> None:
        """End the controller."""
        self.stage.switch.vsctl("del-controller", BRIDGE)
        if self._controller is not None:
            assert end(self._controller) == 0, "the controller did not end in order"


class Pinned(Portlb):
    """Plain clients' connections are remembered by conntrack."""

    name, legacy = "portlb pin", "pin"
    about = "portlb, without agents, `legacy: pin`: conntrack remembers, nothing is translated"


class WithAgents(Portlb):
    """portlb with agents on clients and servers."""

    name, about = "portlb agents", "portlb with agents on client and servers: connections are redirected"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._agents: list[Helper] = []

    def start(self) -> None:
        """Agents, too."""
        super().start()
        for name, host in self.stage.servers.items():
            words = ("agent", "server", "--interface", "eth0", "--config", str(self._file), "--server", name)
            self._agents.append(host.popen_piped(sys.executable, "-m", "portlb_app.cli", *words, cwd=ROOT))
        words = ("agent", "client", "--interface", "eth0", "--vip", VIP)
        self._agents.append(self.stage.client.popen_piped(sys.executable, "-m", "portlb_app.cli", *words, cwd=ROOT))
        for agent in self._agents:
            assert agent.line(START).startswith("ready")

    def agents(self) -> Sequence[int]:
        """Four on servers, one on the client."""
        return [pid for agent in self._agents for pid in family(agent.pid)]

    def stop(self) -> None:
        """Agents end first."""
        for agent in self._agents:
            assert end(agent) == 0, "an agent did not end in order"
        super().stop()


class Reactive(Alternative):
    """A controller that is asked about every connection."""

    name, program = "reactive Ryu", "controller"
    about = "a Ryu application that adds two exact flows for each connection (tests/bench/reactive.py)"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._pool = stage.directory / "reactive-pool"
        self._process: subprocess.Popen[bytes] | None = None

    def _write(self) -> None:
        ports = [str(CONNECTORS[name]) for name, weight in self.weights.items() for _ in range(weight)]
        write(self._pool, "\n".join(ports))

    def start(self) -> None:
        """Start it and connect the bridge."""
        self._write()
        self.stage.clear()
        self._begin()
        self.recover()

    def _begin(self) -> None:
        program = (sys.executable, "-W", "ignore", "-m", "tests.bench.reactive")
        words = (*program, CONTROLLER, str(REACTIVE), str(self._pool))
        self._process = self.stage.control.popen(*words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: self.stage.control.listens(REACTIVE), "Ryu listens", START)

    def recover(self) -> None:
        """Wait until the bridge has its flow."""
        self.stage.switch.set_controller(BRIDGE, f"tcp:{CONTROLLER}:{REACTIVE}")
        until(lambda: self.stage.held()["OpenFlow flows"] > 0, "the bridge asks the controller", START)

    def choose(self, weights: Mapping[str, int]) -> None:
        """For connections from now on."""
        self.weights = weights
        self._write()
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def restart_program(self) -> None:
        """Kill it and start it again."""
        assert self._process is not None
        end(self._process, signal.SIGKILL)
        self._begin()
        connected = ("get", "controller", BRIDGE, "is_connected")
        until(lambda: "true" in self.stage.switch.vsctl(*connected), "the bridge has connected", START)

    def programs(self) -> Sequence[int]:
        """Ryu."""
        return family(self._process.pid) if self._process is not None else ()

    def stop(self) -> None:
        """End it."""
        self.stage.switch.vsctl("del-controller", BRIDGE)
        if self._process is not None:
            end(self._process)
