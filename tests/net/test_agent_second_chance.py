"""A server's agent gives segments back that are for the server their slot had before (docs/second-chance.md).

Packet by packet first; then on a wire, on which every frame of the client comes with a mark, as from a slot that has
moved.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from portlb_app.agent import server
from portlb_app.agent.loader import Programs
from portlb_app.pipeline import NO_MARK, mark
from tests.net.frames import IN, MAPPING, MORE, OUT, OWN, PASS, V4, Family, Packet, Side, X, Y
from tests.net.inside import on
from tests.net.network import ACK, FIN, REDIRECT, RST, SYN, Namespace, Network, agent_stats, server_agent, until
from tests.net.objects import attach, compiled
from tests.net.programs import Loaded, clear, send

REDIRECTED = 7
"""The verdict of a frame that leaves by the interface it came in by."""
ALONE = 21
"""A port on which no program listens."""
MARK = mark(1, ("a", "b"))


def marked(packet: Packet, source: int = MARK) -> Packet:
    """A packet as a slot that has moved sends it."""
    return Packet(packet.hook, packet.frame[:6] + source.to_bytes(6, "big") + packet.frame[12:])


def handed_back(packet: Packet) -> bytes:
    """What the switch gets of a marked packet."""
    return packet.frame[6:12] + packet.frame[:6] + packet.frame[12:]


@pytest.fixture(scope="module")
def listening() -> Iterator[Programs]:
    """The server's programs on a host where a program listens at X."""
    with Network() as network, contextlib.closing(Loaded()) as loaded:
        with on(network.host("server")):
            with socket.create_server(("::", X), family=socket.AF_INET6, dualstack_ipv6=True):
                yield loaded("server", server.settings(MAPPING))


@pytest.mark.parametrize("flags", [ACK, ACK | FIN, RST, RST | ACK, 0, ACK | REDIRECT])
def test_without_a_socket_it_goes_back(listening: Programs, family: Family, flags: int) -> None:
    """Whatever it is, if it opens no connection; with its mark as the destination."""
    clear(listening)
    packet = marked(Side(family, IN, OUT).from_client(X, flags, data=b"odd"))
    result = send(listening, packet)
    assert (result.verdict, result.packet) == (REDIRECTED, handed_back(packet))
    assert {name: value for name, value in listening.counters().items() if value} == {"handed_back": 1}


def kept(side: Side) -> dict[str, tuple[list[Packet], Packet, dict[str, int]]]:
    """By description: packets before, the one that does not go back, and what is counted."""
    segment = side.from_client(X, ACK, data=b"odd")
    opened = [side.syn(X, REDIRECT), side.synack(X)]
    return {
        "not marked": ([], segment, {}),
        "another prefix": ([], marked(segment, MARK ^ 1 << 32), {}),
        "no former server is left": ([], marked(segment, NO_MARK), {"no_former": 1}),
        "a SYN": ([], marked(side.syn(X)), {}),
        "a SYN/ACK": ([], marked(side.from_client(X, SYN | ACK)), {}),
        "no program listens": ([], marked(side.from_client(ALONE, ACK)), {"kept_elsewhere": 1}),
        "a service port": ([], marked(side.from_client(OWN, ACK)), {}),
        "a fragment": ([], marked(side.from_client(X, ACK, fragment=MORE)), {"fragment": 1}),
        "half open": (opened, marked(side.from_client(X, ACK | REDIRECT)), {"stayed": 1}),
        "known": ([*opened, side.from_client(X, ACK | REDIRECT)], marked(side.from_client(X, ACK, data=b"x")), {}),
    }


@pytest.mark.parametrize("what", kept(Side(V4, IN, OUT)))
def test_kept(listening: Programs, family: Family, what: str) -> None:
    """What is this host's, or says nothing of a former server, passes as it came."""
    clear(listening)
    before, packet, counters = kept(Side(family, IN, OUT))[what]
    for each in before:
        send(listening, each)
    counted = listening.counters()
    result = send(listening, packet)
    assert (result.verdict, result.packet) == (PASS, packet.frame)
    changed = {name: value - counted[name] for name, value in listening.counters().items() if value != counted[name]}
    assert changed == counters


def test_a_translated_service_port_names_its_server(listening: Programs, family: Family) -> None:
    """Its packet reaches the application's port, mark or not."""
    clear(listening)
    side = Side(family, IN, OUT)
    result = send(listening, marked(side.from_client(Y, ACK)))
    assert (result.verdict, result.packet) == (PASS, marked(side.from_client(X, ACK)).frame)


# ---- on the wire -----------------------------------------------------------------------------------------------------

PROGRAM = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("tc") int mark(struct __sk_buff *skb)
{{
    unsigned char source[6] = {{{source}}};
    return bpf_skb_store_bytes(skb, 6, source, sizeof(source), 0) ? 2 : -1;
}}
char LICENSE[] SEC("license") = "GPL";
"""
CLIENT, VIP = ("10.0.0.1", "fd00::1"), ("10.0.0.100", "fd00::100")
PORT = 80
ECHO = f"""
import socket, threading
def serve(one):
    with one:
        while data := one.recv(100):
            one.sendall(data)
with socket.create_server(("::", {PORT}), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1000) as listener:
    print("ready", flush=True)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


class Wire:
    """A client all of whose frames are marked, and a server with an agent; no switch between them."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.client, self.server = network.host("client"), network.host("server")
        network.link(self.client, self.server, ("10.0.0.1/24", "10.0.0.100/24"))
        for host, address in ((self.client, CLIENT[1]), (self.server, VIP[1])):
            host.run("ip", "address", "add", f"{address}/64", "dev", "eth0", "nodad")
            host.offloads("eth0", False)
        source = ", ".join(map(str, MARK.to_bytes(6, "big")))
        attach(self.client, compiled(network.directory, "mark", PROGRAM.format(source=source)), egress="mark")
        server_agent(self.server, VIP)

    def serve(self, host: Namespace | None = None) -> None:
        """A program that echoes, on the server or on another host."""
        (host or self.server).popen_ready(sys.executable, "-c", ECHO)

    @contextlib.contextmanager
    def connected(self, vip: str, port: int = PORT) -> Iterator[socket.socket]:
        """A connection of the client."""
        with on(self.client), socket.create_connection((vip, port), 10) as one:
            yield one

    def works(self, vip: str) -> None:
        """A new connection echoes."""
        with self.connected(vip) as one:
            one.sendall(b"odd")
            assert one.recv(100) == b"odd"

    def counted(self) -> dict[str, int]:
        """The agent's counters of this subject."""
        stats = agent_stats(self.server)
        return {name: stats[name] for name in ("handed_back", "kept_cookie", "kept_elsewhere", "no_former")}


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Network() as network:
        yield Wire(network)


@pytest.mark.parametrize("vip", VIP)
def test_connections_of_this_server_stay(wire: Wire, vip: str) -> None:
    """From the SYN to TIME-WAIT, and whatever the socket is meanwhile."""
    wire.serve()
    for _ in range(20):
        wire.works(vip)
    assert set(wire.counted().values()) == {0}


@pytest.mark.parametrize("vip", VIP)
def test_syn_cookies(wire: Wire, vip: str) -> None:
    """The third segment of a handshake finds only a listener if the kernel keeps nothing of half-open connections."""
    wire.serve()
    wire.server.run("sysctl", "-qw", "net.ipv4.tcp_syncookies=2")
    for _ in range(20):
        wire.works(vip)
    counted = wire.counted()
    assert counted["kept_cookie"] >= 20 and counted["handed_back"] == 0


def test_a_program_elsewhere(wire: Wire) -> None:
    """A container's socket cannot be looked up from here: nothing goes back, though a proxy listens on the port."""
    container = wire.network.host("container")
    wire.network.link(wire.server, container, ("10.9.0.1/24", "10.9.0.2/24"), ("inner", "eth0"))
    container.run("ip", "route", "add", "default", "via", "10.9.0.1")
    wire.server.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    wire.server.nft(
        f"table ip nat {{ chain in {{ type nat hook prerouting priority -100;\n"
        f"tcp dport {PORT} dnat to 10.9.0.2\n}}\n}}"
    )
    wire.serve(container)
    wire.works(VIP[0])
    counted = wire.counted()
    assert counted["kept_elsewhere"] > 0 and counted["handed_back"] == 0
    wire.serve()  # such as docker-proxy
    for _ in range(5):
        wire.works(VIP[0])
    assert wire.counted()["handed_back"] == 0


def test_a_segment_leaves_as_it_came(wire: Wire) -> None:
    """On the wire: the mark is its destination, the server its source; headers and data are as they were."""
    wire.serve()
    segment = Side(V4._replace(client=ip_address(CLIENT[0]), vip=ip_address(VIP[0])), IN, OUT)
    frame = marked(segment.from_client(PORT, ACK, data=b"odd")).frame
    mac = (wire.server.run("cat", "/sys/class/net/eth0/address").stdout.strip()).replace(":", "")
    frame = bytes.fromhex(mac) + frame[6:]
    with on(wire.client), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as raw:
        raw.bind(("eth0", 3))
        raw.settimeout(10)
        raw.send(frame)
        while (got := raw.recv(2000))[:6] != MARK.to_bytes(6, "big"):
            pass
    assert got == handed_back(Packet(IN, frame))
    until(lambda: wire.counted()["handed_back"] == 1, "it is counted")
