"""A whole load balancer in network namespaces: real Open vSwitch, controller, agents, nginx and curl.

::

    client ──┐
             ├─ router ── [ Open vSwitch, controller ] ── a, b, c, …     all servers: one IP, one MAC address
    plain  ──┘
      10.1.0.0/24   10.0.0.0/24
      10.2.0.0/24

Open vSwitch and the controller live in a namespace of their own, so nothing of the machine is touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import yaml

from portlb_app.config import Server, load
from portlb_app.openflow import mac_text
from tests.net.network import ROOT, Namespace, Network, client_agent, end, until
from tests.ovs.switch import Switch

BRIDGE = "s1"
ROUTER = "10.0.0.1"
OPENFLOW, REST = 6653, 8080

NGINX = """
user root;
worker_processes 1;
daemon off;
pid {home}/pid;
error_log {home}/log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_timeout 300;
    sendfile on;
    server {{
        {listen}
        add_header X-Server {name};
        client_max_body_size 0;
        location / {{ root {files}; }}
        location /slow {{ root {files}; limit_rate 100k; }}
        location /name {{ return 200 "{name}\\n"; }}
    }}
}}
"""


class Balancer:
    """The load balancer of a configuration with one switch ``s1`` and one VIP, and its hosts."""

    def __init__(
        self,
        network: Network,
        stack: contextlib.ExitStack,
        text: str,
        mtu: int = 1500,
        agents: frozenset[str] | None = None,
    ) -> None:
        """Build it all; `stack` ends Open vSwitch, `network` the rest.

        `mtu` is the path's to the clients, in bytes, and they know nothing of it; `agents` names
        the servers with an agent, all if None.
        """
        self.network = network
        self.file = network.directory / "lb.yaml"
        self.file.write_text(text)
        self.config = load(text)
        self.vip = self.config.vips[0]
        self.files = network.directory / "files"
        self.files.mkdir()
        self.lb = network.host("lb")
        self.router = network.host("router")
        self.client = network.host("client")
        self.plain = network.host("plain")
        self.servers = {server.name: network.host(server.name) for server in self.config.servers}
        self._wire(mtu)
        directory = network.directory / "ovs"
        directory.mkdir()
        self.switch = Switch(directory, within=self.lb.command(), options=())
        stack.callback(self.switch.close)
        ports = {"net": self.config.switches[0].network}
        ports |= {f"to-{server.name}": server.connector.port for server in self.config.servers}
        controller = f"tcp:127.0.0.1:{OPENFLOW}"
        self.switch.add_bridge(BRIDGE, self.config.switches[0].dpid, ports, controller, "netdev", "system")
        self.controller = self.start_controller()
        self.wait_synced()
        for server in self.config.servers:
            self._nginx(server)
            if agents is None or server.name in agents:
                self._agent(server)

    # ---- hosts ----

    def _wire(self, mtu: int) -> None:
        for number, host, interface in ((1, self.client, "clients"), (2, self.plain, "plain")):
            addresses = (f"10.{number}.0.2/24", f"10.{number}.0.1/24")
            self.network.link(host, self.router, addresses, ("eth0", interface))
            self.router.run("ip", "link", "set", interface, "mtu", str(mtu))
            host.run("ip", "route", "add", "default", "via", f"10.{number}.0.1")
            host.run("ethtool", "-K", "eth0", "tx", "off")
            self.router.run("ethtool", "-K", interface, "tx", "off")
        self.network.link(self.router, self.lb, None, ("eth0", "net"))
        self.router.run("ethtool", "-K", "eth0", "tx", "off")
        self.router.run("ip", "address", "add", f"{ROUTER}/24", "dev", "eth0")
        self.router.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        for name, host in self.servers.items():
            self.network.link(host, self.lb, None, ("eth0", f"to-{name}"))
            host.run("ip", "link", "set", "eth0", "address", mac_text(self.vip.mac))
            host.run("ip", "address", "add", f"{self.vip.address}/24", "dev", "eth0")
            host.run("ip", "route", "add", "default", "via", ROUTER)
            host.run("ethtool", "-K", "eth0", "tx", "off")

    def _nginx(self, server: Server) -> None:
        home = self.network.directory / f"nginx-{server.name}"
        home.mkdir()
        ports = {owned.application for owned in server.service_ports}
        ports |= {pool.port for pool in self.vip.redirect_ports}
        listen = " ".join(f"listen {port} backlog=1024;" for port in sorted(ports))
        text = NGINX.format(home=home, listen=listen, name=server.name, files=self.files)
        (home / "nginx.conf").write_text(text)
        host = self.servers[server.name]
        with open(home / "out", "wb") as output:
            words = ("nginx", "-p", str(home), "-c", str(home / "nginx.conf"), "-e", str(home / "log"))
            host.popen(*words, stdout=output, stderr=output)
        until(lambda: all(host.listens(port) for port in ports), f"nginx of {server.name} listens")

    def _agent(self, server: Server) -> None:
        words = ("agent", "server", "--interface", "eth0", "--config", str(self.file), "--server", server.name)
        self.servers[server.name].popen_ready(sys.executable, "-m", "portlb_app.cli", *words, cwd=ROOT)

    def client_agent(self) -> None:
        """Give the client its agent."""
        client_agent(self.client, [str(self.vip.address)])

    def random_file(self, name: str, size: int) -> str:
        """A file of random bytes that every server offers; returns its SHA-256."""
        content = os.urandom(size)
        (self.files / name).write_bytes(content)
        return hashlib.sha256(content).hexdigest()

    def url(self, port: int, path: str = "name") -> str:
        """The URL of a path at a port of the VIP."""
        return f"http://{self.vip.address}:{port}/{path}"

    def curl(self, *words: str, seconds: int = 60, check: bool = True) -> str:
        """curl's output on the client."""
        done = self.client.run("curl", "--silent", "--show-error", "--max-time", str(seconds), *words, check=check)
        return done.stdout

    # ---- controller ----

    def start_controller(self) -> Any:
        """A controller on the switch's own loopback, ready."""
        words = (sys.executable, "-m", "portlb_app.cli", "controller", str(self.file), "--resync-interval", "2")
        return self.lb.popen_ready(*words, cwd=ROOT)

    def status(self) -> dict[str, Any]:
        """What ``GET /v1/status`` says of the switch."""
        done = self.lb.run("curl", "--silent", "--fail", f"http://127.0.0.1:{REST}/v1/status")
        switch: dict[str, Any] = json.loads(done.stdout)["switches"][0]
        return switch

    def wait_synced(self) -> None:
        """Wait until the switch has its tables."""
        until(lambda: self.status()["state"] == "synced", "the switch is synced")

    def put(self, text: str) -> None:
        """``PUT /v1/config``; AssertionError unless the switch has it."""
        words = ("--request", "PUT", "--data-binary", "@-", f"http://127.0.0.1:{REST}/v1/config")
        done = self.lb.run("curl", "--silent", "--show-error", "--fail-with-body", *words, input=text, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        self.config = load(text)
        self.vip = self.config.vips[0]

    # ---- what the switch holds ----

    def row_packets(self, group: int) -> list[int]:
        """Packets that every row of a pool's group has sent, the datapath's latest included."""
        self.switch.appctl("revalidator/purge")
        line = self.switch.ofctl("dump-group-stats", BRIDGE, f"group_id={group}")
        return [int(count) for count in re.findall(r"bucket\d+:packet_count=(\d+)", line)]

    def held(self) -> dict[str, int]:
        """Numbers of OpenFlow flows, groups and conntrack entries in the switch."""
        return {
            "flows": len(self.switch.dump_flows(BRIDGE)),
            "groups": len(self.switch.dump_groups(BRIDGE)),
            "conntrack": len(self.switch.appctl("dpctl/dump-conntrack").splitlines()),
        }


class Connections:
    """HTTP connections that stay open, from one of the two client hosts."""

    def __init__(self, made: Balancer, host: Namespace) -> None:
        words = (sys.executable, "-m", "tests.net.connections", str(made.vip.address))
        self._process = host.popen_ready(*words, cwd=ROOT, stdin=subprocess.PIPE)

    def open(self, port: int) -> str:
        """Open one more; the name of the server that answers."""
        return self._tell(f"open {port}")

    def ask(self) -> list[bool]:
        """Which of them still answer, in the order they were opened."""
        return [answered == "1" for answered in self._tell("ask")]

    def close(self) -> None:
        """Close all of them."""
        end(self._process)

    def _tell(self, line: str) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer: str = self._process.stdout.readline()
        return answer.strip()


@contextlib.contextmanager
def balancer(text: str, **options: Any) -> Iterator[Balancer]:
    """A running load balancer."""
    with Network() as network, contextlib.ExitStack() as stack:
        yield Balancer(network, stack, text, **options)


def changed(text: str, pools: dict[int, list[str]], **legacy: str) -> str:
    """The configuration with other pools; ``p22="drop"`` sets the legacy policy of port 22."""
    data = yaml.safe_load(text)
    redirect_ports = next(iter(data["vips"].values()))["redirect_ports"]
    for port, servers in pools.items():
        redirect_ports[port]["servers"] = servers
    for port, policy in legacy.items():
        redirect_ports[int(port[1:])]["legacy"] = policy
    return yaml.safe_dump(data)
