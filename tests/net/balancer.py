"""A whole load balancer in network namespaces: real Open vSwitch, controller, agents, nginx and curl.

`tests.net.wiring` has the hosts and links. Open vSwitch and the controller live in a namespace of their own, so nothing
of the machine is touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

import yaml

from portlb_app.config import Address, Rewrite, Server, load
from tests.net import connectors
from tests.net.content import random_file
from tests.net.network import ROOT, Namespace, Network, client_agent, end, until, wait_ready
from tests.net.wiring import Hosts
from tests.ovs.switch import Switch
from tests.support.helper import Helper

BRIDGE = "s1"
"""The switch, or the one with the network side."""
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
        location /name {{ return 200 "{name}\\n"; }}
    }}
}}
"""


class Balancer(Hosts):
    """The load balancer of a configuration and its hosts; `text` is the configuration it was made with.

    `vip` and `family` (the version of IP) say what its methods talk to: `speak` changes them.
    """

    def __init__(
        self,
        network: Network,
        stack: contextlib.ExitStack,
        text: str,
        mtu: int = 1500,
        agents: frozenset[str] | None = None,
        kinds: Mapping[str, str] = MappingProxyType({}),
        nginx: bool = True,
        under: Sequence[str] = (),
        agent_words: Sequence[str] = (),
    ) -> None:
        """Build it all; `stack` ends Open vSwitch, `network` the rest.

        `mtu` is the path's to the clients, in bytes, and they know nothing of it; `agents` names the servers with an
        agent, all if None; `kinds` names servers whose connector is of another kind than veth (see `connectors`).
        `nginx`: every server has one; `under`: words before its command line. `agent_words`: more for servers' agents.
        """
        config = load(text)
        super().__init__(network, config, mtu, frozenset(config.server_by_name[name].connector for name in kinds))
        self.text, self._agent_words = text, agent_words
        self.file = network.directory / "lb.yaml"
        self.file.write_text(text)
        self.vip, self.family = self.config.vips[0], 4
        self.files = network.directory / "files"
        self.files.mkdir()
        directory = network.directory / "ovs"
        directory.mkdir()
        self.switch = Switch(directory, within=self.lb.command(), options=())
        stack.callback(self.switch.close)
        for each in config.switches:
            self.switch.add_bridge(each.name, each.dpid, self.ports[each.name], None, "netdev", "system")
        for name, kind in kinds.items():
            server = config.server_by_name[name]
            connectors.KINDS[kind](network, self.switch, *server.connector, self.lb, self.servers[name])
            self.settle(server)
        self.controller = self._controller()
        self.agents = {
            server.name: self._agent(server) for server in config.servers if agents is None or server.name in agents
        }
        listens = [(self.servers[server.name], self._nginx(server, under)) for server in config.servers if nginx]
        for host, ports in listens:
            until(lambda host=host, ports=ports: host.listens(*ports), "nginx listens")
        wait_ready(self.controller)  # before switches look for it, or they wait for a second until they try again
        for each in config.switches:
            self.switch.set_controller(each.name, f"tcp:127.0.0.1:{OPENFLOW}")
        for agent in self.agents.values():
            wait_ready(agent)
        self.wait_synced()

    def speak(self, family: int, vip: str | None = None) -> Self:
        """Talk to a VIP (the first if None), by this version of IP."""
        self.family = family
        self.vip = next(each for each in self.config.vips if vip in (None, each.name))
        return self

    @property
    def address(self) -> Address:
        """The address that is talked to."""
        return next(address for address in self.vip.addresses if address.version == self.family)

    # ---- hosts ----

    def _nginx(self, server: Server, under: Sequence[str]) -> set[int]:
        """Start a server's; on which ports it is to listen."""
        home = self.network.directory / f"nginx-{server.name}"
        home.mkdir()
        ports = {owned.application for owned in server.service_ports if owned.port != server.mptcp}
        ports |= {pool.port for pool in self.vip_of(server).redirect_ports}
        listen = " ".join(f"listen {port} backlog=1024; listen [::]:{port} backlog=1024;" for port in sorted(ports))
        text = NGINX.format(home=home, listen=listen, name=server.name, files=self.files)
        (home / "nginx.conf").write_text(text)
        host = self.servers[server.name]
        with open(home / "out", "wb") as output:
            words = ("nginx", "-p", str(home), "-c", str(home / "nginx.conf"), "-e", str(home / "log"))
            host.popen(*under, *words, stdout=output, stderr=output)
        return ports

    def start_agent(self, server: Server) -> None:
        """Give a server its agent again."""
        self.agents[server.name] = self._agent(server)
        wait_ready(self.agents[server.name])

    def _agent(self, server: Server) -> Helper:
        words = ("agent", "server", "--interface", "eth0", "--config", str(self.file), "--server", server.name)
        words += tuple(self._agent_words)
        return self.servers[server.name].popen_piped(sys.executable, "-m", "portlb_app.cli", *words, cwd=ROOT)

    def datagrams(self, ports: Iterable[int]) -> None:
        """Have every server answer datagrams (UDP at these ports, SCTP at all), as what its packets come to."""
        for server in self.config.servers:
            vip = self.vip_of(server)
            addresses = server.addresses if vip.rewrite is Rewrite.ADDRESS else vip.addresses
            words = (server.name, *map(str, ports), "--", *map(str, addresses))
            program = (sys.executable, "-m", "tests.net.datagrams", "serve")
            self.servers[server.name].popen_ready(*program, *words, cwd=ROOT)

    def ask(self, protocol: str, port: int, count: int, host: Namespace | None = None) -> list[str]:
        """Who answers that many datagrams, from the client or another host."""
        words = ("-m", "tests.net.datagrams", "ask", protocol, str(self.address), str(port), str(count))
        return (host or self.client).run(sys.executable, *words, cwd=ROOT).stdout.split()

    def client_agent(self) -> None:
        """Give the client its agent."""
        client_agent(self.client, [str(address) for vip in self.config.vips for address in vip.addresses])

    def random_file(self, name: str, size: int) -> str:
        """A file of random bytes that every server offers; returns its SHA-256."""
        return random_file(self.files / name, size, "sha256")

    def url(self, port: int, path: str = "name") -> str:
        """The URL of a path at a port of the VIP."""
        host = self.address if self.family == 4 else f"[{self.address}]"
        return f"http://{host}:{port}/{path}"

    def curl(self, *words: str, seconds: int = 60, check: bool = True) -> str:
        """curl's output on the client."""
        done = self.client.run("curl", "--silent", "--show-error", "--max-time", str(seconds), *words, check=check)
        return done.stdout

    def download(self, name: str, digest: str, port: int, host: Namespace | None = None) -> str:
        """Download a random file; the server's name. AssertionError if it arrives with another digest."""
        into = self.network.directory / f"{name}.got"
        words = ("--fail", "--output", str(into), "--write-out", "%header{x-server}", self.url(port, name))
        server = (host or self.client).run("curl", "--silent", "--show-error", "--max-time", "30", *words).stdout
        with open(into, "rb") as got:
            assert hashlib.file_digest(got, "sha256").hexdigest() == digest
        return server

    # ---- controller ----

    def start_controller(self) -> Helper:
        """A controller on the switches' own loopback, ready."""
        controller = self._controller()
        wait_ready(controller)
        return controller

    def _controller(self) -> Helper:
        words = (sys.executable, "-m", "portlb_app.cli", "controller", str(self.file), "--resync-interval", "2")
        words += ("--wsapi-socket", "")
        return self.lb.popen_piped(*words, cwd=ROOT)

    def status(self) -> dict[str, Any]:
        """What ``GET /v1/status`` says."""
        done = self.lb.run("curl", "--silent", "--fail", f"http://127.0.0.1:{REST}/v1/status")
        status: dict[str, Any] = json.loads(done.stdout)
        return status

    def slots(self, port: int, vip: str = "web") -> list[str]:
        """The server of each slot of a pool, as every switch that has it was read; AssertionError if they differ."""
        url = f"http://127.0.0.1:{REST}/v1/vips/{vip}/ports/{port}/slots"
        held = json.loads(self.lb.run("curl", "--silent", "--fail", url).stdout)["held"].values()
        known: list[list[str]] = [each for each in held if each is not None]
        assert known and all(each == known[0] for each in known)
        return known[0]

    def wait_synced(self) -> None:
        """Wait until the switches have their tables."""
        until(lambda: all(each["state"] == "synced" for each in self.status()["switches"]), "all switches are synced")

    def put(self, text: str) -> None:
        """``PUT /v1/config``; AssertionError unless the switches have it."""
        typed = ("--request", "PUT", "--header", "Content-Type: application/yaml")
        words = (*typed, "--data-binary", "@-", f"http://127.0.0.1:{REST}/v1/config")
        done = self.lb.run("curl", "--silent", "--show-error", "--fail-with-body", *words, input=text, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        self.config = load(text)
        self.speak(self.family, self.vip.name)

    # ---- what the switches hold ----

    def row_packets(self, group: int) -> list[int]:
        """Packets that every slot of a pool's group has sent on `BRIDGE`, the datapath's latest included."""
        self.switch.appctl("revalidator/purge")
        line = self.switch.ofctl("dump-group-stats", BRIDGE, f"group_id={group}")
        return [int(count) for count in re.findall(r"bucket\d+:packet_count=(\d+)", line)]

    def held(self) -> dict[str, int]:
        """Numbers of OpenFlow flows, groups and conntrack entries in all switches."""
        return {
            "flows": sum(len(self.switch.dump_flows(each.name)) for each in self.config.switches),
            "groups": sum(len(self.switch.dump_groups(each.name)) for each in self.config.switches),
            "conntrack": len(self.switch.appctl("dpctl/dump-conntrack").splitlines()),
        }


class Connections:
    """HTTP connections that stay open, from one of the two client hosts."""

    def __init__(self, made: Balancer, host: Namespace, under: Sequence[str] = ()) -> None:
        words = (sys.executable, "-m", "tests.net.connections", str(made.address))
        self._names = {server.name for server in made.config.servers}
        self._process = host.popen_ready(*under, *words, cwd=ROOT)
        self._opened = 0

    def open(self, port: int) -> str:
        """Open one more; the name of the server that answers, or the name of the error that came instead."""
        self._opened += 1
        return self._process.tell(f"open {port}")

    def open_to(self, server: str, port: int) -> None:
        """Open until one has got to a server."""
        for _ in range(100):
            name = self.open(port)
            assert name in self._names, name
            if name == server:
                return
        raise AssertionError(f"none of 100 connections got to {server}")

    def ask(self) -> list[bool]:
        """Which of them still answer, in the order they were opened."""
        words = self._process.tell("ask").split()
        assert len(words) == self._opened, words
        return [word in self._names for word in words]

    def drop(self) -> None:
        """Close all of them, and go on with new ones."""
        assert self._process.tell("drop") == str(self._opened)
        self._opened = 0

    def close(self) -> None:
        """Close all of them, and end."""
        end(self._process)


class Downloads:
    """Many downloads in the background that last until the test is done with them, each by a connection of its own."""

    SIZE = 100_000
    """Bytes; they are not read to the end before `broken`."""

    def __init__(
        self,
        made: Balancer,
        port: int,
        number: int,
        host: Namespace | None = None,
        under: Sequence[str] = (),
        size: int = SIZE,
    ) -> None:
        """Start them on a host, the client if None, and wait until all run; `under`: words before the command line."""
        digest = made.random_file("slow", size)
        words = (str(made.address), str(port), "/slow", str(number), str(size * 9 // 10), digest)
        program = (sys.executable, "-m", "tests.net.downloads")
        self._number = number
        self.resets = 0
        """How many were reset, as of `broken`."""
        self._process = (host or made.client).popen_ready(*under, *program, *words, cwd=ROOT)

    def broken(self) -> int:
        """Let them end; how many did not arrive whole."""
        whole, resets = map(int, self._process.finish(90).split())
        self.resets = resets
        return self._number - whole


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
