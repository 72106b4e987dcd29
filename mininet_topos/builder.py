"""A Mininet topology from a configuration: every switch with its servers on their connectors, and clients in front.

Every server of a VIP gets the VIP's IP and MAC address (row N3). The clients hang on a plain learning bridge, as on the
network a load balancer's network side leads to.
"""

from __future__ import annotations

from ipaddress import ip_interface

from mininet.net import Mininet
from mininet.node import Host, OVSBridge, OVSSwitch, RemoteController
from mininet.topo import Topo

from portlb_app.config import Config
from portlb_app.openflow import mac_text

NETWORK = "network"
_NETWORK_DPID = "fffffffffffffffe"  # Mininet wants one; no controller ever sees it
_PREFIX = 24


class LoadBalancerTopo(Topo):  # type: ignore[misc]
    """Declares nodes and links only; `start` makes them."""

    def build(self, config: Config, clients: tuple[str, ...], datapath: str) -> None:
        """Declare the topology; `datapath` is Mininet's word, ``user`` or ``kernel``."""
        self.addSwitch(NETWORK, cls=OVSBridge, dpid=_NETWORK_DPID, datapath=datapath)
        for name in clients:
            self.addHost(name, ip=None)
            self.addLink(name, NETWORK, intfName1="eth0")
        for switch in config.switches:
            self.addSwitch(
                switch.name,
                cls=OVSSwitch,
                dpid=f"{switch.dpid:016x}",
                datapath=datapath,
                protocols="OpenFlow15",
                failMode="secure",
            )
            self.addLink(NETWORK, switch.name, port2=switch.network)
        for server in config.servers:
            self.addHost(server.name, ip=None)
            connector = server.connector
            self.addLink(server.name, connector.switch, port2=connector.port, intfName1="eth0")


def start(config: Config, clients: tuple[str, ...], datapath: str, controller: int) -> Mininet:
    """Make the network, its switches connected to the controller on a TCP port of this machine."""
    topo = LoadBalancerTopo(config=config, clients=clients, datapath=datapath)
    network = Mininet(topo=topo, controller=None, build=False)
    network.addController("c0", controller=RemoteController, ip="127.0.0.1", port=controller)
    try:
        network.build()
        for name, addresses in client_addresses(config, clients).items():
            _configure(network[name], addresses)
        for server in config.servers:
            vip = next(vip for vip in config.vips if vip.name == server.vip)
            host = network[server.name]
            _run(host, f"ip link set eth0 address {mac_text(vip.mac)}")
            _configure(host, [f"{vip.address}/{_PREFIX}"])
        network.start()
    except BaseException:
        network.stop()
        raise
    return network


def client_addresses(config: Config, clients: tuple[str, ...]) -> dict[str, list[str]]:
    """An address for every client in the network of every VIP, as ``10.0.0.1/24``."""
    vips = {vip.address for vip in config.vips}
    networks = sorted({ip_interface(f"{vip}/{_PREFIX}").network for vip in vips})
    free = [(host for host in network.hosts() if host not in vips) for network in networks]
    return {name: [f"{next(hosts)}/{_PREFIX}" for hosts in free] for name in clients}


def _configure(host: Host, addresses: list[str]) -> None:
    for address in addresses:
        _run(host, f"ip address add {address} dev eth0")
    _run(host, "ip link set eth0 up")
    # The userspace datapath neither finishes nor checks checksums that a host leaves to its network card.
    _run(host, "ethtool -K eth0 tx off")


def _run(host: Host, command: str) -> None:
    output, errors, code = host.pexec(command)
    if code != 0:
        raise RuntimeError(f"{host.name}: {command}: {errors or output}")
