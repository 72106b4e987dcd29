"""client -- router [-- second router] -- server, dual-stack, nginx on the server's ports 20 and 9: no load balancer.

One server that announces is row E8. What is asserted about ports, bits and options is read from the wire, between the
agents.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from portlb_app.net.packets import Segment
from tests.net.content import random_file
from tests.net.network import Namespace, Network, agent_command, agent_json, client_agent, end, server_agent, web_server
from tests.net.transfer import Transfer

VIPS = {4: "10.0.2.100", 6: "fd00:2::100"}
CLIENTS = {4: "10.0.1.1", 6: "fd00:1::1"}
VIP = VIPS[4]
X, Y, OWN, Z = 20, 1, 9, 2
"""A redirect port, the service port announced for it, one that is its application's own, and X's second one."""
SERVICES, REDIRECTS = (f"{Y}={X}", f"{OWN}", f"{Z}={X}"), (f"{X}={Y}",)
MEGABYTE = 1_000_000


class World:
    """The hosts, without agents. `family` is the IP version its methods use."""

    def __init__(self, network: Network, middle_mtu: int | None = None, family: int = 4) -> None:
        self.network, self.family = network, family
        self.vip, self.client_address = VIPS[family], CLIENTS[family]
        self.client, self.router, self.server = (network.host(label) for label in ("client", "router", "server"))
        network.link(self.client, self.router, ("10.0.1.1/24", "10.0.1.254/24"), ("eth0", "left"))
        addresses = [
            (self.client, "eth0", "fd00:1::1"),
            (self.router, "left", "fd00:1::fe"),
            (self.server, "eth0", "fd00:2::100"),
        ]
        far = self.router
        if middle_mtu is not None:
            far = network.host("far")
            network.link(self.router, far, ("10.0.3.1/24", "10.0.3.2/24"), ("middle", "middle"), mtu=middle_mtu)
            self.router.run("ip", "route", "add", "10.0.2.0/24", "via", "10.0.3.2")
            far.run("ip", "route", "add", "10.0.1.0/24", "via", "10.0.3.1")
            addresses += [(self.router, "middle", "fd00:3::1"), (far, "middle", "fd00:3::2")]
        network.link(far, self.server, ("10.0.2.254/24", f"{VIP}/24"), ("right", "eth0"))
        addresses += [(far, "right", "fd00:2::fe")]
        for host, device, address in addresses:
            host.run("ip", "address", "add", f"{address}/64", "dev", device, "nodad")
        for router in {self.router, far}:
            router.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        if far is not self.router:
            self.router.run("ip", "route", "add", "fd00:2::/64", "via", "fd00:3::2")
            far.run("ip", "route", "add", "fd00:1::/64", "via", "fd00:3::1")
        for host, net in ((self.client, 1), (self.server, 2)):
            host.run("ip", "route", "add", "default", "via", f"10.0.{net}.254")
            host.run("ip", "route", "add", "default", "via", f"fd00:{net}::fe")
        (network.directory / "small").write_bytes(b"odd\n")
        self.web = web_server(self.server, network.directory, (X, OWN))

    def agents(self, *client_words: str) -> tuple[subprocess.Popen[str], subprocess.Popen[str]]:
        """Start both agents, side by side."""
        with ThreadPoolExecutor() as aside:
            server = aside.submit(self.server_agent)
            return self.client_agent(*client_words), server.result()

    def client_agent(self, *words: str) -> subprocess.Popen[str]:
        """Start the client's."""
        return client_agent(self.client, list(VIPS.values()), words=words)

    def server_agent(
        self, services: Sequence[str] = SERVICES, redirects: Sequence[str] = REDIRECTS
    ) -> subprocess.Popen[str]:
        """Start the server's."""
        return server_agent(self.server, list(VIPS.values()), services, redirects)

    def url(self, port: int = X, path: str = "small") -> str:
        """The URL of a file on the server."""
        return f"http://{self.vip if self.family == 4 else f'[{self.vip}]'}:{port}/{path}"

    def get(self, port: int = X, *words: str) -> str:
        """Fetch the small file; return its content."""
        return self.client.run("curl", "-sS", "-m", "20", *words, self.url(port)).stdout

    def redirect(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`portlb agent redirect` on the server."""
        return agent_command(self.server, "redirect", "--interface", "eth0", *words)

    def record(self, host: Namespace) -> list[dict[str, object]]:
        """`portlb agent connections` of a host."""
        found: list[dict[str, object]] = agent_json(host, "connections", "--interface", "eth0")
        return found

    def store(self, name: str, size: int) -> str:
        """Put a random file of `size` bytes on the server; return its MD5."""
        return random_file(self.network.directory / name, size, "md5")

    def fetch_digest(self, name: str, *words: str) -> str:
        """Download a file from port X; return the MD5 of what arrived."""
        curl = self.client.popen("curl", "-sS", "-m", "60", *words, self.url(path=name), stdout=subprocess.PIPE)
        assert curl.stdout is not None
        digest = hashlib.md5()
        while chunk := curl.stdout.read(1 << 20):
            digest.update(chunk)
        assert end(curl) == 0
        return digest.hexdigest()

    def download(self, name: str, rate: int, *words: str, **options: Any) -> Transfer:
        """Begin to download a file from port X, so many bytes a second; it lasts until the test says so."""
        size = (self.network.directory / name).stat().st_size
        return Transfer(self.client, self.url(path=name), *words, size=size, rate=rate, **options)

    def slow_upload(self, name: str, rate: int) -> Transfer:
        """Begin to PUT a file to port X, as a download."""
        path = self.network.directory / name
        return Transfer(self.client, self.url(path="stored"), size=path.stat().st_size, rate=rate, upload=path)

    def upload(self, name: str, patience: int = 60) -> int:
        """PUT a file to port X; return curl's exit code."""
        path = self.network.directory / name
        words = ("curl", "-sS", "-f", "-m", str(patience), "-T", str(path), self.url(path="stored"))
        return self.client.run(*words, check=False).returncode

    def lose(self, rule: str) -> None:
        """Have the router do to forwarded packets what a rule of nftables says."""
        self.router.nft("add table inet lose")
        self.router.nft("add chain inet lose forward { type filter hook forward priority 0; }")
        self.router.nft(f"add rule inet lose forward {rule}")

    def keep(self) -> None:
        """Have the router forward everything again."""
        self.router.nft("delete table inet lose")

    def sent(self, segments: list[Segment], to_server: bool) -> list[Segment]:
        """The segments of one direction."""
        return [segment for segment in segments if (str(segment.destination) == self.vip) == to_server]

    def ports(self, segments: list[Segment]) -> list[int]:
        """The server's port of every segment."""
        return [segment.dport if str(segment.destination) == self.vip else segment.sport for segment in segments]


@contextmanager
def world(middle_mtu: int | None = None, family: int = 4) -> Iterator[World]:
    """The hosts, ended with the block."""
    with Network() as network:
        yield World(network, middle_mtu, family)


_SLOW = """
import collections, selectors, socket, sys, time
# forwards frames between two interfaces, some time later
one, other = (socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) for _ in range(2))
one.bind((sys.argv[1], 0)); other.bind((sys.argv[2], 0))
waiting, poll = collections.deque(), selectors.DefaultSelector()
poll.register(one, selectors.EVENT_READ, other); poll.register(other, selectors.EVENT_READ, one)
print("ready", flush=True)
while True:
    for key, _ in poll.select(max(0, waiting[0][0] - time.monotonic()) if waiting else None):
        frame, (_, _, kind, *_) = key.fileobj.recvfrom(65536)
        if kind != socket.PACKET_OUTGOING:
            waiting.append((time.monotonic() + float(sys.argv[3]), key.data, frame))
    while waiting and waiting[0][0] <= time.monotonic():
        _, to, frame = waiting.popleft()
        to.send(frame)
"""


@contextmanager
def slow_path(seconds: float) -> Iterator[tuple[Network, Namespace, Namespace]]:
    """A client and a server (nginx on X) with agents, with a path of `seconds` each way between them, IPv4."""
    with Network() as network:
        client, slow, server = (network.host(label) for label in ("client", "slow", "server"))
        network.link(client, slow, None, ("eth0", "left"))
        network.link(slow, server, None, ("right", "eth0"))
        for host, address in ((client, "10.0.2.1"), (server, VIP)):
            host.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
            host.offloads("eth0", on=False)
        for interface in ("left", "right"):
            slow.offloads(interface, on=False)
        slow.popen_ready(sys.executable, "-c", _SLOW, "left", "right", str(seconds))
        (network.directory / "small").write_bytes(b"odd\n")
        web_server(server, network.directory, (X,))
        client_agent(client, [VIP])
        server_agent(server, [VIP], SERVICES[:1], REDIRECTS)
        yield network, client, server
