"""Connectors of other kinds than a veth link (row L6): a port of a bridge, and a server's ``eth0`` behind it.

patch
    A second bridge in the same Open vSwitch, which the server is attached to, and a pair of patch ports between them.
vxlan
    A tunnel port; its other end is the server's own kernel. With the userspace datapath Open vSwitch sends the outer
    packets itself, by a bridge of its own whose local port has the tunnel's address.
tap
    A tap device, as virtual machines have it: a program holds its other end, and here hands the frames to a tap device
    in the server's namespace.
"""

from __future__ import annotations

import sys

from tests.net.network import Namespace, Network
from tests.ovs.switch import Switch

UNDERLAY = ("172.31.0.1", "172.31.0.2")
VNI = 7

_TAPS = """
import ctypes, fcntl, os, select, struct, sys
# holds a tap device here and one in another network namespace, and carries frames between them
def tap(name):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1002))  # TUNSETIFF, IFF_TAP | IFF_NO_PI
    return fd
one = tap(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
if libc.setns(os.open("/run/netns/" + sys.argv[2], os.O_RDONLY), 0x40000000):  # CLONE_NEWNET
    raise OSError(ctypes.get_errno(), "setns")
other = tap("eth0")
print("ready", flush=True)
while True:
    for fd in select.select([one, other], [], [])[0]:
        frame = os.read(fd, 65536)
        try:
            os.write(other if fd == one else one, frame)
        except OSError:
            pass  # that end is down: a frame lost
"""


def patch(network: Network, switch: Switch, bridge: str, port: int, lb: Namespace, server: Namespace) -> None:
    """Behind a second bridge."""
    network.link(server, lb, None, ("eth0", f"veth-{port}"))
    second, ends = f"behind{port}", (f"to-{port}", f"from-{port}")
    switch.add_bridge(second, 0x1000 + port, {f"veth-{port}": 1}, None, "netdev", "system")
    for on, end, peer, number in ((bridge, *ends, port), (second, *reversed(ends), 2)):
        kind = ("type=patch", f"options:peer={peer}", f"ofport_request={number}")
        switch.vsctl("add-port", on, end, "--", "set", "interface", end, *kind)
    switch.ofctl("add-flow", second, "actions=normal")


def vxlan(network: Network, switch: Switch, bridge: str, port: int, lb: Namespace, server: Namespace) -> None:
    """Behind a tunnel; the path below has room for its header."""
    network.link(server, lb, None, ("under", f"under-{port}"), mtu=1600)
    server.run("ip", "address", "add", f"{UNDERLAY[1]}/24", "dev", "under")
    tunnel = ("vxlan", "id", str(VNI), "remote", UNDERLAY[0], "local", UNDERLAY[1], "dstport", "4789")
    server.run("ip", "link", "add", "eth0", "mtu", "1500", "type", *tunnel)
    server.run("ip", "link", "set", "eth0", "up")
    server.run("ethtool", "-K", "under", "tx", "off")
    switch.add_bridge("under", 0x2000, {f"under-{port}": 1}, None, "netdev", "system")
    switch.ofctl("add-flow", "under", "actions=normal")
    lb.run("ip", "address", "add", f"{UNDERLAY[0]}/24", "dev", "under")
    lb.run("ip", "link", "set", "under", "up")
    ends = (f"options:local_ip={UNDERLAY[0]}", f"options:remote_ip={UNDERLAY[1]}", f"options:key={VNI}")
    name = f"to-{port}"
    kind = ("type=vxlan", f"ofport_request={port}")
    switch.vsctl("add-port", bridge, name, "--", "set", "interface", name, *kind, *ends)


def tap(_: Network, switch: Switch, bridge: str, port: int, lb: Namespace, server: Namespace) -> None:
    """Behind a tap device."""
    name = f"to-{port}"
    lb.popen_ready(sys.executable, "-c", _TAPS, name, server.name)
    lb.run("ip", "link", "set", name, "up")
    server.run("ip", "link", "set", "eth0", "up")
    switch.vsctl("add-port", bridge, name, "--", "set", "interface", name, f"ofport_request={port}")


KINDS = {"patch": patch, "vxlan": vxlan, "tap": tap}
