"""What the guest runs: one bridge of the kernel datapath, and the steps of ``plan.json`` on it.

Only the standard library is here. The guest does and reports, and judges nothing: what is sent, and whether what
arrived is right, is the business of the tests on the host. A line ``RESULT {…}`` for every step goes to the console.

The bridge s1 has a veth pair for each of its OpenFlow ports 1 to 5; the far end of port N is eth0 of namespace nN. A
far end is silent (no addresses), until a step makes it a host.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import select
import socket
import struct
import subprocess
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PORTS = range(1, 6)
VSWITCHD_UPTIME = 11
"""Seconds. In the first ten, ovs-vswitchd 3.1 sees no processor, and makes no thread to hear the datapath's misses."""
SECONDS = 60
QUIET, LONGEST = 1.5, 15.0
"""Packets are waited for until none came for so long, and for so long at most."""
BATCH = 25
_NEWNET, _OUTGOING, _ETH_P_ALL = 0x40000000, 4, 3
_SIOCETHTOOL, _ETHTOOL_STXCSUM, _SO_RCVBUFFORCE = 0x8946, 0x17, 33

Frame = tuple[int, bytes]
"""The OpenFlow port behind whose far end a frame was seen, and the frame."""


def run(*command: str, text: str | None = None) -> str:
    """A command's output; RuntimeError with its message if it fails."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=SECONDS)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


@contextlib.contextmanager
def inside(port: int) -> Iterator[None]:
    """Within the namespace of a port's far end; sockets opened there stay there."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as home, open(f"/run/netns/n{port}") as there:
        if libc.setns(there.fileno(), _NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            libc.setns(home.fileno(), _NEWNET)


# ---- the bridge ------------------------------------------------------------------------------------------------------


def make_links() -> None:
    """The namespaces and the veth pairs."""
    sysctl("net/ipv6/conf/default/disable_ipv6", 1)  # the near ends would talk to the far ones
    lines = []
    for port in PORTS:
        pair = f"link add p{port} type veth peer name eth0 netns n{port}"
        lines += [f"netns add n{port}", pair, f"link set p{port} up"]
    run("ip", "-batch", "-", text="\n".join(lines))
    for port in PORTS:
        with inside(port):
            sysctl("net/ipv6/conf/all/disable_ipv6", 1)
            run("ip", "-batch", "-", text="link set lo up\nlink set eth0 up")


def start_switch() -> None:
    """Open vSwitch, and the bridge without a flow."""
    os.makedirs("/run/openvswitch")
    os.makedirs("/etc/openvswitch", exist_ok=True)
    run("ovsdb-tool", "create", "/etc/openvswitch/conf.db", "/usr/share/openvswitch/vswitch.ovsschema")
    daemon("ovsdb-server", "--remote=punix:/run/openvswitch/db.sock", "/etc/openvswitch/conf.db")
    run("ovs-vsctl", "--no-wait", "init", "--", "set", "open", ".", "other_config:max-idle=60000")
    while uptime() < VSWITCHD_UPTIME:
        time.sleep(0.1)
    daemon("ovs-vswitchd", "unix:/run/openvswitch/db.sock")
    words = ["add-br", "s1", "--", "set", "bridge", "s1", "datapath_type=system", "fail_mode=secure"]
    words += ["protocols=OpenFlow15", "other_config:datapath-id=0000000000000001"]
    for port in PORTS:
        words += ["--", "add-port", "s1", f"p{port}", "--", "set", "interface", f"p{port}", f"ofport_request={port}"]
    run("ovs-vsctl", "--timeout=30", *words)


def daemon(program: str, *arguments: str) -> None:
    """Start one of Open vSwitch's daemons; it has detached, and listens, when this returns."""
    log = f"--log-file=/tmp/{program}.log"
    run(program, *arguments, "--detach", "--pidfile", "--no-chdir", log, "-vconsole:off", "-vsyslog:off")


def uptime() -> float:
    """Seconds since the guest began."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def ofctl(command: str, *arguments: str) -> str:
    """ovs-ofctl in OpenFlow 1.5."""
    return run("ovs-ofctl", "-O", "OpenFlow15", command, "s1", *arguments)


def flow_count() -> int:
    """How many flows the switch has: a line each. Actions that make flows name cookies, too."""
    return sum(line.lstrip().startswith("cookie=") for line in ofctl("dump-flows", "--no-stats").splitlines())


def install(tables: str, switch: str) -> dict[str, Any]:
    """Put compiled tables in the place of those that are there, as a person would, and say what the switch has then."""
    files = {kind: str(HERE / "tables" / tables / f"{switch}.{kind}") for kind in ("meters", "groups", "flows")}
    ofctl("del-flows")
    ofctl("del-groups")
    ofctl("del-meters")
    for line in Path(files["meters"]).read_text().splitlines():
        if not line.startswith("#"):
            ofctl("add-meter", line)
    ofctl("add-groups", files["groups"])
    run("ovs-ofctl", "-O", "OpenFlow15", "--bundle", "replace-flows", "s1", files["flows"])
    run("ovs-appctl", "revalidator/purge")  # else a datapath flow of the tables before may still forward
    return {
        "flows": flow_count(),
        "groups": ofctl("dump-groups").count("group_id="),
        "meters": ofctl("dump-meters").count("meter="),
    }


CONTROLLER = 6653
LINE = "/dev/ttyS1"


def attach(flows: int) -> None:
    """Set the bridge's controller, at the other end of the serial line, and wait until it has as many flows."""
    run("ip", "link", "set", "lo", "up")
    listener = socket.create_server(("127.0.0.1", CONTROLLER))
    threading.Thread(target=_relay, args=(listener,), daemon=True).start()
    run("ovs-vsctl", "set", "bridge", "s1", "other_config:disable-in-band=true")
    run("ovs-vsctl", "set-controller", "s1", f"tcp:127.0.0.1:{CONTROLLER}")
    deadline = uptime() + SECONDS
    while flow_count() != flows:
        if uptime() > deadline:
            raise RuntimeError("the controller has not installed its flows")
        time.sleep(0.5)


def _relay(listener: socket.socket) -> None:
    """Between the switch's connection and the serial line."""
    line = os.open(LINE, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(line)
    switch, _ = listener.accept()
    threading.Thread(target=_to_line, args=(switch, line), daemon=True).start()
    with contextlib.suppress(OSError):
        while data := os.read(line, 4096):
            switch.sendall(data)


def _to_line(switch: socket.socket, line: int) -> None:
    with contextlib.suppress(OSError):
        while data := switch.recv(4096):
            while data:
                data = data[os.write(line, data) :]


def datapath_flows() -> list[str]:
    """The flows of the kernel's datapath."""
    return run("ovs-appctl", "dpctl/dump-flows").splitlines()


# ---- frames ----------------------------------------------------------------------------------------------------------


class Wires:
    """A packet socket on every far end."""

    def __init__(self) -> None:
        self.sockets: dict[int, socket.socket] = {}
        for port in PORTS:
            with inside(port):
                wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
                wire.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 24)
                wire.bind(("eth0", _ETH_P_ALL))
                wire.setblocking(False)
                self.sockets[port] = wire

    def close(self) -> None:
        """End listening."""
        for wire in self.sockets.values():
            wire.close()

    def exchange(self, frames: list[Frame], batch: int) -> list[Frame]:
        """Send frames into the switch, a batch at a time, and say what came out of it."""
        seen: list[Frame] = []
        for number, (port, frame) in enumerate(frames, 1):
            self.sockets[port].send(frame)
            if number % batch == 0:
                seen += self.arrived(0.02, 1)
        return seen + self.arrived(QUIET, LONGEST)

    def arrived(self, quiet: float, longest: float) -> list[Frame]:
        """What comes out of the switch until nothing does for `quiet` seconds."""
        seen: list[Frame] = []
        ports = {wire: port for port, wire in self.sockets.items()}
        end = time.monotonic() + longest
        while (left := end - time.monotonic()) > 0:
            ready, _, _ = select.select(list(ports), [], [], min(quiet, left))
            for wire in ready:
                frame, where = wire.recvfrom(65536)
                if where[2] != _OUTGOING:
                    seen.append((ports[wire], frame))
            if not ready:
                break
        return seen


# ---- hosts -----------------------------------------------------------------------------------------------------------


def sysctl(name: str, value: int) -> None:
    """Set a sysctl of the namespace this runs in."""
    Path("/proc/sys", name).write_text(str(value))


def offload(port: int, on: bool) -> None:
    """Whether a far end leaves checksums to its card, which is the switch's port."""
    value = ctypes.create_string_buffer(struct.pack("II", _ETHTOOL_STXCSUM, int(on)))
    with inside(port), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCETHTOOL, struct.pack("16sP", b"eth0", ctypes.addressof(value)).ljust(40, b"\0"))


def become_host(port: int, mac: str, addresses: list[str], lo: list[str]) -> None:
    """Give a far end addresses, on its card and on its loopback; duplicates are not looked for."""
    with inside(port):
        sysctl("net/ipv6/conf/all/disable_ipv6", 0)
        sysctl("net/ipv4/conf/eth0/arp_ignore", 1 if lo else 0)
        sysctl("net/ipv4/conf/eth0/arp_announce", 2 if lo else 0)
        sysctl("net/ipv6/conf/eth0/accept_dad", 0)
        sysctl("net/ipv6/conf/eth0/router_solicitations", 0)
        lines = ["link set eth0 down", f"link set eth0 address {mac}", "link set eth0 up"]
        lines += [f"address add {address} dev lo" for address in lo]
        lines += [f"address add {address} dev eth0 nodad" for address in addresses if ":" in address]
        lines += [f"address add {address} dev eth0" for address in addresses if ":" not in address]
        if not any(":" not in address for address in addresses):
            lines += [f"route add 10.0.0.0/24 dev eth0 src {address.split('/')[0]}" for address in lo]
        run("ip", "-batch", "-", text="\n".join(lines))


def be_silent(port: int) -> None:
    """A far end without addresses."""
    with inside(port):
        sysctl("net/ipv6/conf/all/disable_ipv6", 1)
        run("ip", "-batch", "-", text="address flush dev eth0\naddress flush dev lo\naddress add 127.0.0.1/8 dev lo")


def transfer(address: str, port: int, servers: list[tuple[int, str]], size: int) -> dict[str, Any]:
    """Port 1's host sends `size` bytes to an address and reads them back; what it got, and who was the server."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    data = hashlib.shake_128(f"{address} {port}".encode()).digest(size)
    found: list[int] = []
    listeners = []
    for where, own in servers:
        with inside(where):
            listener = socket.create_server((own, port), family=family)
            listener.settimeout(20)
            listeners.append(listener)
            threading.Thread(target=_echo, args=(listener, where, found), daemon=True).start()
    report: dict[str, Any] = {"error": "", "same": False, "server": None, "from": None}
    try:
        with inside(1):
            client = socket.socket(family)
        with client:
            client.settimeout(20)
            client.connect((address, port))
            report["from"] = client.getpeername()[0]
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            back = b""
            while chunk := client.recv(1 << 16):
                back += chunk
            report["same"] = back == data
    except OSError as error:
        report["error"] = repr(error)
    for listener in listeners:
        with contextlib.suppress(OSError):  # whose thread still waits gives it up
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    return report | {"server": found[0] if found else None}


def _echo(listener: socket.socket, where: int, found: list[int]) -> None:
    with contextlib.suppress(OSError):
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(20)
            found.append(where)
            data = b""
            while chunk := connection.recv(1 << 16):
                data += chunk
            connection.sendall(data)


def counters(port: int) -> dict[str, int]:
    """A far end's count of segments that came with a wrong checksum, and of those it repeated."""
    with inside(port):
        names, values = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line[:4] == "Tcp:")
    both = dict(zip(names[1:], map(int, values[1:])))
    return {name: both[name] for name in ("InCsumErrors", "RetransSegs", "InSegs")}


# ---- steps -----------------------------------------------------------------------------------------------------------


def step(wanted: dict[str, Any]) -> dict[str, Any]:
    """Do one step of the plan; the report has what it was asked for."""
    report: dict[str, Any] = {}
    if tables := wanted.get("tables"):
        report["installed"] = install(tables, wanted.get("switch", "s1"))
    if "attach" in wanted:
        attach(wanted["attach"])
    if "meter" in wanted:
        ofctl("mod-meter", wanted["meter"])
    hosts = wanted.get("hosts", [])
    for host in hosts:
        become_host(host["port"], host["mac"], host["addresses"], host.get("lo", []))
    if "transfers" in wanted:
        before = {host["port"]: counters(host["port"]) for host in hosts}
        for host in hosts:
            offload(host["port"], wanted["offload"])
        report["transfers"] = [transfer(**each) for each in wanted["transfers"]]
        after = {host["port"]: counters(host["port"]) for host in hosts}
        report["counters"] = {port: {n: after[port][n] - before[port][n] for n in after[port]} for port in after}
    if "frames" in wanted or "connects" in wanted:
        wires = Wires()
        if "connects" in wanted:
            seen = connects(wires, **wanted["connects"])
        else:
            frames = [(port, bytes.fromhex(frame)) for port, frame in wanted["frames"]]
            seen = wires.exchange(frames, wanted.get("batch", BATCH))
        report["frames"] = [(port, frame.hex()) for port, frame in seen]
        wires.close()
    for host in hosts:
        be_silent(host["port"])
    if "meter" in wanted:
        report["meters"] = ofctl("meter-stats")
    if "slots" in wanted:
        report["datapath"] = len(datapath_flows())
    return report


def connects(wires: Wires, address: str, port: int, count: int, seconds: float, txrehash: int) -> list[Frame]:
    """What arrives while port 1's host opens connections that nobody answers, and so repeats its SYNs."""
    clients = []
    with inside(1):
        sysctl("net/core/txrehash", txrehash)
        for _ in range(count):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex((address, port))
            clients.append(client)
    seen = wires.arrived(seconds, seconds)
    for client in clients:
        client.close()
    return seen


def report(name: str, result: dict[str, Any]) -> None:
    """A line on the console."""
    print("RESULT", json.dumps({"name": name, "uptime": round(uptime(), 1), **result}), flush=True)


def main() -> None:
    """All steps; one that fails says so and the next one is tried."""
    make_links()
    start_switch()
    features = run("ovs-appctl", "dpif/show-dp-features", "s1")
    report("switch", {"kernel": os.uname().release, "features": features.splitlines()})
    for wanted in json.loads((HERE / "plan.json").read_text()):
        try:
            report(wanted["name"], step(wanted))
        except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
            report(wanted["name"], {"failed": str(error)})
    log = Path("/tmp/ovs-vswitchd.log").read_text().splitlines()
    report("log", {"lines": [line for line in log if "|WARN|" in line or "|ERR|" in line]})


if __name__ == "__main__":
    main()
