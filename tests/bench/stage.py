"""The hosts of all alternatives, around one bridge of Open vSwitch's userspace datapath.

::

    client ─1─┐             ┌─2..5─ a, b, c, d    nginx each; the VIP's addresses and one of its own
              └─ bridge s1 ─┘
                 6 │  │ 7
                 proxy: what balances as a host, with the VIP on "front"

Everybody's neighbours are given, so no alternative has ARP to do. The client's MAC address is that of the proxy's
"back", which is the servers' gateway: where a server's answer goes is the bridge's to say. All servers have the VIP's
MAC address, as portlb wants it, and nobody else minds. The userspace datapath computes no checksums: hosts do
(``ethtool -K tx off``), and TCP sends no super-frames.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import re
import subprocess
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path

from tests.bench.machine import family, on_core
from tests.net.network import Namespace, Network, until
from tests.net.wiring import hardware
from tests.ovs.switch import Switch

VIP, PORT, CLIENT, GATEWAY = "10.0.0.100", 20, "10.1.0.2", "10.0.0.1"
SERVERS = {"a": "10.0.0.11", "b": "10.0.0.12", "c": "10.0.0.13", "d": "10.0.0.14"}
"""Each server's own address."""
NETWORK, FRONT, BACK = 1, 6, 7
CONNECTORS = {"a": 2, "b": 3, "c": 4, "d": 5}
"""OpenFlow ports."""
VIP_MAC, CLIENT_MAC = 0x020000000064, 0x020000000001
BRIDGE, DPID, OPENFLOW = "s1", 1, 6653
CONTROLLER = "10.9.0.1"
"""Where controllers listen, on a host of their own that both switches reach."""
SERVER_CORE, CLIENT_CORE = 0, 1
BIG = 16_000_000
"""Bytes of what is downloaded."""
DESCRIPTORS = 18_000
"""Open files of one process."""
INSTALL_SECONDS = 120
CLIENT_SYSCTLS = ("net.ipv4.tcp_tw_reuse=1", "net.ipv4.ip_local_port_range=1024 65535")
"""A port is free again at once, so no sample runs out of them."""

SHORT = ("time_wait=1", "close=1", "fin_wait=5", "last_ack=5", "close_wait=5")
"""Times of conntrack, so that connections that have ended do not fill this machine's table."""

_NGINX = """
daemon off; master_process off; user root; worker_rlimit_nofile {descriptors};
pid {home}/pid; error_log {home}/log;
events {{ worker_connections {descriptors}; }}
http {{
    access_log off; sendfile on;
    client_header_timeout 1h; keepalive_timeout 1h; keepalive_requests 1000000000;
    server {{
        listen {port} backlog=4096;
        location / {{ root {files}; }}
        location /name {{ return 200 "{name}\\n"; }}
    }}
}}
"""


class Stage:
    """The hosts and the bridge, which forwards nothing yet."""

    def __init__(self, network: Network, stack: contextlib.ExitStack) -> None:
        self.directory, self._stack = network.directory, stack
        self.client, self.proxy, self.control = map(network.host, ("client", "proxy", "control"))
        self.lb, self.spare = map(network.host, ("lb", "spare"))
        self.servers = {name: network.host(name) for name in SERVERS}
        self._ports: dict[str, int] = {}
        network.link(self.client, self.lb, None, ("eth0", self._port("client", NETWORK)))
        for name, host in self.servers.items():
            network.link(host, self.lb, None, ("eth0", self._port(name, CONNECTORS[name])))
        for name, number in (("front", FRONT), ("back", BACK)):
            network.link(self.proxy, self.lb, None, (name, self._port(name, number)))
        self._settle()
        self._settle_control(network)
        self.files = self.directory / "files"
        self.files.mkdir()
        (self.files / "big").write_bytes(bytes(BIG))
        self.web = [self._nginx(name, host) for name, host in self.servers.items()]
        for host in self.servers.values():
            until(lambda host=host: host.listens(PORT), "nginx listens")
        self.switch = self._switch(self.lb, "ovs")

    def _port(self, name: str, number: int) -> str:
        self._ports[f"to-{name}"] = number
        return f"to-{name}"

    # ---- hosts ----

    def _settle(self) -> None:
        client_mac, vip_mac = "02:00:00:00:00:01", "02:00:00:00:00:64"
        hardware(self.client, CLIENT_MAC)
        _ip(self.client, f"address add {CLIENT}/24 dev eth0", "route add default via 10.1.0.1 dev eth0")
        _neighbour(self.client, "10.1.0.1", vip_mac, "eth0")
        for name, host in self.servers.items():
            hardware(host, VIP_MAC)
            _ip(host, f"address add {SERVERS[name]}/24 dev eth0", f"address add {VIP}/32 dev eth0")
            _ip(host, f"route add default via {GATEWAY} dev eth0")
            _neighbour(host, GATEWAY, client_mac, "eth0")
        hardware(self.proxy, VIP_MAC, "front")
        hardware(self.proxy, CLIENT_MAC, "back")
        _ip(self.proxy, f"address add {VIP}/32 dev front", "route add 10.1.0.0/24 dev front")
        _ip(self.proxy, f"address add {GATEWAY}/24 dev back")
        _neighbour(self.proxy, CLIENT, client_mac, "front")
        for address in SERVERS.values():
            _neighbour(self.proxy, address, vip_mac, "back")
        for host in (self.client, self.proxy):
            host.run("sysctl", "-qw", *CLIENT_SYSCTLS)
        self.proxy.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        for host in (self.client, *self.servers.values()):
            host.run("ethtool", "-K", "eth0", "tx", "off")
        for interface in ("front", "back"):
            self.proxy.run("ethtool", "-K", interface, "tx", "off")
        for host in (self.client, self.proxy, *self.servers.values()):
            host.run("sysctl", "-qw", "net.ipv4.tcp_no_metrics_save=1")

    def _settle_control(self, network: Network) -> None:
        _ip(self.control, f"address add {CONTROLLER}/32 dev lo")
        for number, host in enumerate((self.lb, self.spare), 1):
            near, far = f"10.9.{number}.1/24", f"10.9.{number}.2/24"
            network.link(self.control, host, (near, far), (f"switch{number}", "control"))
            _ip(host, f"route add {CONTROLLER} via 10.9.{number}.1")

    def _nginx(self, name: str, host: Namespace) -> subprocess.Popen[bytes]:
        home = self.directory / f"nginx-{name}"
        home.mkdir()
        text = _NGINX.format(home=home, port=PORT, name=name, files=self.files, descriptors=DESCRIPTORS)
        (home / "nginx.conf").write_text(text)
        words = ("nginx", "-p", str(home), "-c", str(home / "nginx.conf"), "-e", str(home / "log"))
        return host.popen(*on_core(SERVER_CORE), *words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def programs(self) -> list[int]:
        """Processes of servers and switch."""
        return [each for process in self.web for each in family(process.pid)] + [self.vswitchd]

    # ---- the switch ----

    def _switch(self, host: Namespace, name: str) -> Switch:
        directory = self.directory / name
        directory.mkdir()
        switch = Switch(directory, within=host.command(), options=())
        self._stack.callback(switch.close)
        switch.add_bridge(BRIDGE, DPID, self._ports, None, "netdev", "system")
        switch.vsctl("set", "bridge", BRIDGE, "protocols=OpenFlow13,OpenFlow15")
        return switch

    @property
    def vswitchd(self) -> int:
        """The process of the switch."""
        return int((self.switch.directory / "ovs-vswitchd.pid").read_text())

    def install(self, flows: Sequence[str], groups: Sequence[str] = (), meters: Sequence[str] = ()) -> None:
        """Have the bridge hold these flows and groups alone, and nothing that it remembers of others."""
        for meter in meters:
            self.switch.ofctl("add-meter", BRIDGE, meter)
        lines = ["flow delete", "group delete", *(f"group add {each}" for each in groups)]
        lines += [f"flow add {each}" for each in flows]
        self._bundle(lines)
        self.forget()

    def clear(self) -> None:
        """An empty bridge without a controller."""
        self.switch.vsctl("del-controller", BRIDGE)
        self.install(())
        self.switch.ofctl("del-meters", BRIDGE)

    def change(self, *groups: str) -> None:
        """Change groups, as a controller would."""
        self._bundle([f"group modify {each}" for each in groups])

    def _bundle(self, lines: Sequence[str]) -> None:
        text = self.switch.directory / "bundle"
        text.write_text("\n".join(lines))
        where = f"unix:{self.switch.management(BRIDGE)}"
        words = ("ovs-ofctl", "-O", "OpenFlow15", "bundle", where, str(text))
        done = subprocess.run(words, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        assert done.returncode == 0, done.stderr

    def forget(self) -> None:
        """No datapath flow and no conntrack entry of what was before."""
        self.switch.appctl("revalidator/purge")
        self.switch.appctl("dpctl/flush-conntrack")

    def restart_switch(self) -> None:
        """Kill ovs-vswitchd and start it again: the bridge is there, and empty."""
        self.switch.stop_vswitchd()
        self.switch.start_vswitchd()
        until(lambda: self.switch.management(BRIDGE).exists(), "the bridge is there again")

    def fail_over(self) -> None:
        """Move all cables to another switch, which has no tables yet, in an Open vSwitch of its own."""
        self.switch.vsctl("del-br", BRIDGE)
        for interface in self._ports:
            self.lb.run("ip", "link", "set", interface, "netns", self.spare.name)
            self.spare.run("ip", "link", "set", interface, "up")
        self.switch.close()
        self.lb, self.spare = self.spare, self.lb
        self.switch = self._switch(self.lb, f"ovs-{self.lb.name}-{len(list(self.directory.iterdir()))}")

    def counters(self) -> dict[str, float]:
        """What the datapath's threads have done since `reset_counters`."""
        text = self.switch.appctl("dpif-netdev/pmd-stats-show")
        found: dict[str, float] = {}
        for name, value in re.findall(r"^  ([a-z .]+): (-?[\d.]+)", text, re.MULTILINE):
            found[name] = found.get(name, 0.0) + float(value)
        return found

    def reset_counters(self) -> None:
        """Begin to count anew."""
        self.switch.appctl("dpif-netdev/pmd-stats-clear")

    def held(self) -> dict[str, int]:
        """Numbers of OpenFlow flows, datapath flows and conntrack entries of the switch."""
        aggregate = self.switch.ofctl("dump-aggregate", BRIDGE)
        flows = re.search(r"flow_count=(\d+)", aggregate)
        total = re.search(r"Total: (\d+)", self.switch.appctl("dpctl/ct-stats-show"))
        datapath = re.search(r"flows: (\d+)", self.switch.appctl("dpctl/show"))
        assert flows and total and datapath
        return {"OpenFlow flows": int(flows[1]), "datapath flows": int(datapath[1]), "conntrack entries": int(total[1])}

    # ---- the client ----

    def take_addresses(self, count: int) -> None:
        """Have the client's connections come from so many addresses, drawn from all that hosts may have, or its own."""
        rules = "table ip clients\ndelete table ip clients\n"
        if count > 1:
            drawn = random.Random(count)
            addresses = (ip_address(drawn.getrandbits(32)) for _ in iter(int, 1))
            usable = (each for each in addresses if each.is_global and not each.is_multicast)
            entries = ", ".join(f"{number} : {each}" for number, each in enumerate(itertools.islice(usable, count)))
            rules += "table ip clients {\nchain leave {\ntype nat hook postrouting priority srcnat;\n"
            rules += f"ip daddr {VIP} snat to numgen inc mod {count} map {{ {entries} }}\n}}\n}}\n"
            self.client.run("sysctl", "-qw", *(f"net.netfilter.nf_conntrack_tcp_timeout_{each}" for each in SHORT))
        self.client.nft(rules)

    @property
    def url(self) -> str:
        """Where the VIP answers."""
        return f"http://{VIP}:{PORT}"

    def curl(self, count: int) -> list[str]:
        """The servers that answer so many connections, one after the other."""
        words = ("curl", "--silent", "--fail", "--max-time", "10", "--no-keepalive", "-H", "Connection: close")
        return self.client.run(*words, *([f"{self.url}/name"] * count)).stdout.split()


def _ip(host: Namespace, *commands: str) -> None:
    for command in commands:
        host.run("ip", *command.split())


def _neighbour(host: Namespace, address: str, mac: str, interface: str) -> None:
    _ip(host, f"neigh replace {address} lladdr {mac} nud permanent dev {interface}")


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """The hosts, while the block runs."""
    with Network() as network, contextlib.ExitStack() as stack:
        yield Stage(network, stack)


def write(path: Path, text: str) -> str:
    """Write a program's configuration; its path."""
    path.write_text(text, encoding="utf-8")
    return str(path)
