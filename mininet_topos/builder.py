"""A Mininet topology from a configuration: its switches and links, its servers on their connectors, and clients.

Every server of a VIP gets the VIP's IP and MAC address (row N3). Clients are in networks of their own behind a router,
which is on the network side of every switch that has one::

    client ──┐              ┌── spine1 ──…
             ├── router ────┤                one more for each network side
    plain ───┘              └── spine2 ──…

The router spreads connections over the network sides by their ports, and has one IP and one MAC address on all of them:
whichever way a server's packets come up, they find it. No packet goes from one network side to another at the link
layer, where two with the same VIP would make a circle.
"""

from __future__ import annotations

import os
import subprocess
from ipaddress import IPv4Interface, ip_interface

from mininet.net import Mininet
from mininet.node import Controller, Host, OVSSwitch
from mininet.topo import Topo

from mininet_topos.demo.surroundings import INHERITED
from portlb_app.config import Config, Vip
from portlb_app.openflow import mac_text

ROUTER = "router"
_ROUTER_MAC = "02:00:00:00:00:01"
_PREFIX = 24


class LoadBalancerTopo(Topo):  # type: ignore[misc]
    """Declares nodes and links only; `start` makes them."""

    def build(self, config: Config, clients: tuple[str, ...], datapath: str) -> None:
        """Declare the topology; `datapath` is Mininet's word, ``user`` or ``kernel``."""
        self.addHost(ROUTER, ip=None)
        for name in clients:
            self.addHost(name, ip=None)
            self.addLink(name, ROUTER, intfName1="eth0", intfName2=name)
        for switch in config.switches:
            self.addSwitch(
                switch.name,
                cls=OVSSwitch,
                dpid=f"{switch.dpid:016x}",
                datapath=datapath,
                protocols="OpenFlow15",
                failMode="secure",
            )
            if switch.network is not None:
                self.addLink(ROUTER, switch.name, port2=switch.network, intfName1=switch.name)
        for one, other in config.links:
            self.addLink(one.switch, other.switch, port1=one.port, port2=other.port)
        for server in config.servers:
            self.addHost(server.name, ip=None)
            connector = server.connector
            self.addLink(server.name, connector.switch, port2=connector.port, intfName1="eth0")


class RunningController(Controller):  # type: ignore[misc]
    """A controller that runs already. Mininet's own class for that asks by telnet whether it does, where there is one,
    and fails when it cannot read the answer, which is OpenFlow."""

    def checkListening(self) -> None:
        """Ask nothing: it has said that it is ready, and the switches connect when they can."""

    def start(self) -> None:
        """It runs."""

    def stop(self, *_: object, **__: object) -> None:
        """Whoever started it ends it."""


def interface(switch: str, port: int) -> str:
    """The name Mininet gives to a port of a switch."""
    return f"{switch}-eth{port}"


def refuse_taken(config: Config) -> None:
    """RuntimeError if the machine has an interface of a name that a switch's port will have, or a switch."""
    taken = set(os.listdir("/sys/class/net"))
    ends = [*(end for link in config.links for end in link), *(server.connector for server in config.servers)]
    wanted = {interface(end.switch, end.port) for end in ends} | {switch.name for switch in config.switches}
    if taken & wanted:
        raise RuntimeError(f"this machine already has an interface {', '.join(sorted(taken & wanted))}")


def refuse_unable() -> None:
    """RuntimeError if Mininet's `mnexec` cannot make a host: Mininet itself would wait for that host forever."""
    done = subprocess.run(("mnexec", "-n", "true"), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"Mininet cannot make a host on this machine: {done.stderr.strip() or done.returncode}")


def start(config: Config, clients: tuple[str, ...], datapath: str, controller: int) -> Mininet:
    """Make the network, its switches connected to the controller on a TCP port of this machine."""
    topo = LoadBalancerTopo(config=config, clients=clients, datapath=datapath)
    network = Mininet(topo=topo, controller=None, build=False)
    network.addController("c0", controller=RunningController, ip="127.0.0.1", port=controller)
    try:
        network.build()
        for host in network.hosts:
            _run(host, f"sysctl -qw {' '.join(INHERITED)}")
        _route(network[ROUTER], config)
        for number, name in enumerate(clients, 1):
            _client(network[name], network[ROUTER], number)
        for server in config.servers:
            vip = next(vip for vip in config.vips if vip.name == server.vip)
            host = network[server.name]
            _run(host, f"ip link set eth0 address {mac_text(vip.mac)}")
            _configure(host, "eth0", f"{vip.address}/{_PREFIX}")
            _run(host, f"ip route add default via {_gateway(vip).ip}")
        network.start()
    except BaseException:
        network.stop()
        raise
    return network


def _route(router: Host, config: Config) -> None:
    """Make a host the router; replies may come in by another network side than packets leave by."""
    sides = [switch.name for switch in config.switches if switch.network is not None]
    for side in sides:
        _run(router, f"ip link set {side} address {_ROUTER_MAC}")
        _configure(router, side, *sorted({str(_gateway(vip)) for vip in config.vips}))
    filters = " ".join(f"net.ipv4.conf.{each}.rp_filter=0" for each in ("all", *sides))
    _run(router, f"sysctl -qw net.ipv4.ip_forward=1 net.ipv4.fib_multipath_hash_policy=1 {filters}")
    ways = " ".join(f"nexthop dev {side}" for side in sides)
    for vip in config.vips:
        _run(router, f"ip route add {vip.address} {ways}")


def _client(host: Host, router: Host, number: int) -> None:
    _configure(router, host.name, f"10.1.{number}.1/{_PREFIX}")
    _configure(host, "eth0", f"10.1.{number}.2/{_PREFIX}")
    _run(host, f"ip route add default via 10.1.{number}.1")


def _gateway(vip: Vip) -> IPv4Interface:
    """The router's address in a VIP's network: the first that is not the VIP."""
    network = ip_interface(f"{vip.address}/{_PREFIX}").network
    address = next(host for host in network.hosts() if host != vip.address)
    return IPv4Interface(f"{address}/{_PREFIX}")


def _configure(host: Host, name: str, *addresses: str) -> None:
    for address in addresses:
        _run(host, f"ip address add {address} dev {name}")
    _run(host, f"ip link set {name} up")
    # The userspace datapath neither finishes nor checks checksums that a host leaves to its network card.
    _run(host, f"ethtool -K {name} tx off")


def _run(host: Host, command: str) -> None:
    output, errors, code = host.pexec(command)
    if code != 0:
        raise RuntimeError(f"{host.name}: {command}: {errors or output}")
