"""QUIC servers behind a load balancer, and stock clients of two makes (row B2).

On `EXAMPLE` every server runs the example (`mininet_topos.demo.quic_server`, aioquic), on `NGTCP2` Debian's gtlsserver.
Both have from ``portlb agent quic-parameters`` what they announce; gtlsserver sends a Retry first. Clients are aioquic
(`tests.net.quic_client`) and Debian's gtlsclient: two QUIC libraries that share no code.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from portlb_app.agent.mapping import mapping_of
from portlb_app.agent.quic import QuicPort, quic_port_of
from portlb_app.config import Rewrite, Server
from portlb_app.net.packets.pcap import frames
from tests.net.balancer import Balancer, changed
from tests.net.network import ROOT, tcpdump, until
from tests.net.quic_noise import ROUND
from tests.net.quic_wire import Datagram, parse, received
from tests.ovs.pki import Pki
from tests.support.helper import Helper

EXAMPLE, NGTCP2 = 443, 444
"""The redirect ports: one for each make of server."""
SERVERS = "abcd"
POOL, OTHERS = ["a", "b"], ["c", "d"]
"""The pool of both ports, and what replaces it."""
HALT = "quota over 20000 bytes counter drop"
"""Bytes of acknowledgements, with their headers, that pass before a transfer is halted: those of some 4 MB."""
HALTED = """
table inet halted {
    chain forward {
        type filter hook forward priority 0
        %s
    }
}
"""
PYTHON = str(ROOT / ".venv/quic/bin/python")
"""What has aioquic (`scripts/prepare.sh`)."""
SHORT = 1000
"""Bytes of the other file."""
MANY_NAMES = 120
"""Names of protocols of ten bytes that make a client's hello too long for one datagram."""
PATIENCE = 120.0
SILENCE = 20
"""Seconds without a packet after which clients give up, unless it is said otherwise."""


def one_switch(rewrite: str = "nothing") -> str:
    """The configuration of four servers on one switch."""
    vip = {
        "address": ["10.0.0.100", "fd00::100"],
        "mac": "02:00:00:00:00:64",
        "rewrite": rewrite,
        "redirect_ports": {port: {"servers": [*POOL]} for port in (EXAMPLE, NGTCP2)},
    }
    servers: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(SERVERS):
        servers[name] = {"vip": "web", "connector": f"s1:{number + 2}"}
        servers[name]["service_ports"] = [
            {"port": 8001 + number, "application": EXAMPLE}, {"port": 8101 + number, "application": NGTCP2},
        ]  # fmt: skip
        if rewrite != "nothing":
            servers[name]["mac"] = f"02:00:00:00:01:{number + 10:02x}"
        if rewrite == "address":
            servers[name]["address"] = [f"10.0.0.{number + 10}", f"fd00::1:{number + 10:x}"]
    return yaml.safe_dump({"switches": {"s1": {"dpid": 1, "network": 1}}, "vips": {"web": vip}, "servers": servers})


@dataclass(frozen=True)
class Fetched:
    """What a client got: whether it is all whole, and the server's port at the end, if the client says so."""

    whole: bool
    ports: tuple[int, ...]
    said: str


@dataclass
class Transfer:
    """A client at work."""

    process: Helper
    result: Callable[[str], Fetched]

    def end(self) -> Fetched:
        """Wait until the client has ended; what it got."""
        said, _ = self.process.communicate(timeout=PATIENCE)
        return self.result(said + self.process.complaint())


class Quic:
    """QUIC servers on all hosts of a load balancer, and two files that they serve."""

    def __init__(self, made: Balancer, size: int) -> None:
        """Start them; the files are `path`, of `size` bytes, and `short`.

        `ports` are those with servers: gtlsserver binds a socket to the preferred address, which has to be its host's.
        """
        self.made = made
        self.ports = (EXAMPLE,) if made.config.vips[0].rewrite is Rewrite.ADDRESS else (EXAMPLE, NGTCP2)
        addresses = [f"IP:{address}" for address in made.config.vips[0].addresses]
        self.certificate, self.key = Pki(made.network.directory / "pki").sign("vip", *addresses)
        self.path, self.short = "/long", "/short"
        self._digests = {f"/{name}": made.random_file(name, each) for name, each in (("long", size), ("short", SHORT))}
        self._numbers = itertools.count()
        self.example: dict[str, Helper] = {}
        for server in made.config.servers:
            self.example[server.name] = self._example(server)
            if NGTCP2 in self.ports:
                self._ngtcp2(server)
        for helper in self.example.values():
            helper.wait_ready()

    def parameters(self, server: Server, port: int) -> QuicPort:
        """What ``portlb agent quic-parameters`` prints for a server."""
        return quic_port_of(mapping_of(self.made.config, server.name), port)

    def _example(self, server: Server) -> Helper:
        """Start the example on a host; it is not ready yet."""
        program = (PYTHON, "mininet_topos/demo/quic_server.py", server.name)
        files = (str(self.certificate), str(self.key), str(self.made.files))
        process = self.made.servers[server.name].popen_piped(*program, *files, cwd=ROOT)
        assert process.stdin is not None
        process.stdin.write(self.parameters(server, EXAMPLE).as_json())
        process.stdin.close()
        return process

    def counted(self) -> dict[str, int]:
        """End the examples; what they have counted, added up."""
        totals: dict[str, int] = {}
        for process in self.example.values():
            process.send_signal(signal.SIGTERM)
            assert process.stdout is not None
            for name, value in json.loads(process.stdout.read()).items():
                totals[name] = totals.get(name, 0) + value
        return totals

    def _ngtcp2(self, server: Server) -> None:
        host, parameters = self.made.servers[server.name], self.parameters(server, NGTCP2)
        words = [f"--preferred-ipv4-addr={parameters.vip[0]}:{parameters.service_port}"]
        words += [f"--preferred-ipv6-addr=[{parameters.vip[1]}]:{parameters.service_port}", "--validate-addr"]
        where = ("*", str(NGTCP2), str(self.key), str(self.certificate))
        with open(self.made.network.directory / f"gtlsserver-{server.name}", "wb") as log:
            host.popen("gtlsserver", "-q", f"--htdocs={self.made.files}", *words, *where, stdout=log, stderr=log)
        listens = f":{parameters.service_port} "
        until(lambda: listens in host.run("ss", "-Hlun").stdout, "gtlsserver listens")

    # ---- clients ----

    def aioquic(self, port: int, path: str = "", *words: str) -> Transfer:
        """Have aioquic fetch a file, the long one if none is named."""
        program = (PYTHON, "tests/net/quic_client.py", str(self.made.address), str(port))
        wanted = self._digests[path or self.path]
        words = (path or self.path, f"--silence={SILENCE}", *words)
        process = self.made.client.popen_piped(*program, *words, cwd=ROOT)

        def result(said: str) -> Fetched:
            got = json.loads(said.splitlines()[0]) if said.startswith("[") else []
            ports = tuple(each["port"] for each in got)
            return Fetched(bool(got) and all(each["digest"] == wanted for each in got), ports, said)

        return Transfer(process, result)

    def ngtcp2(self, port: int, path: str = "", *words: str) -> Transfer:
        """Have gtlsclient fetch a file, the long one if none is named."""
        path = path or self.path
        into = self.new("got")
        into.mkdir()
        host = f"[{self.made.address}]" if self.made.family == 6 else str(self.made.address)
        options = ("-q", "--exit-on-all-streams-close", f"--timeout={SILENCE}s", f"--download={into}", *words)
        where = (str(self.made.address), str(port), f"https://{host}:{port}{path}")
        process = self.made.client.popen_piped("gtlsclient", *options, *where)

        def result(said: str) -> Fetched:
            file = into / path[1:]
            content = file.read_bytes() if file.exists() else b""
            return Fetched(hashlib.sha256(content).hexdigest() == self._digests[path], (), said)

        return Transfer(process, result)

    def new(self, name: str) -> Path:
        """A path that nothing has."""
        return self.made.network.directory / f"{name}-{next(self._numbers)}"

    # ---- in the middle ----

    def service_ports(self, port: int) -> list[int]:
        """The servers' own ports for a redirect port."""
        return [
            owned.port
            for server in self.made.config.servers
            for owned in server.service_ports
            if owned.application == port
        ]

    def halt(self, *targets: tuple[int, Sequence[int]]) -> None:
        """Have the router drop what clients send to ports of the VIP by a version of IP, beyond a quota (`HALT`).

        A server without acknowledgements waits. So a transfer is in its middle when something changes, however fast it
        is, and nothing is lost that would make it slow afterwards.
        """
        rules = [
            f"meta nfproto ipv{version} udp dport {{ {', '.join(map(str, ports))} }} {HALT}"
            for version, ports in targets
        ]
        self.made.router.nft(HALTED % "\n".join(rules))

    def wait_halted(self, number: int) -> None:
        """Wait until transfers from the first so many of these targets are in their middle."""

        def halted() -> bool:
            table = self.made.router.run("nft", "list", "table", "inet", "halted").stdout
            counted = re.findall(r"counter packets (\d+)", table)
            return all(count != "0" for count in counted[:number])

        until(halted, "transfers are in their middle", PATIENCE)

    def go_on(self) -> None:
        """Let everything pass again."""
        self.made.router.nft("delete table inet halted")

    def replace_pools(self, by: Sequence[str] = OTHERS) -> None:
        """Replace both pools."""
        self.made.put(changed(self.made.text, {EXAMPLE: [*by], NGTCP2: [*by]}))

    @contextlib.contextmanager
    def datagrams(self, *filter_words: str, most: int = 2000) -> Iterator[list[Datagram]]:
        """Record datagrams at the client's interface, `most` bytes of each; the list is filled when the block ends."""
        path = self.new("pcap")
        seen: list[Datagram] = []
        words = ("udp", "and", *filter_words) if filter_words else ("udp",)
        with tcpdump(self.made.client, "eth0", "-U", "-s", str(most), "-w", str(path), *words):
            yield seen
        ports = {EXAMPLE, NGTCP2, *self.service_ports(EXAMPLE), *self.service_ports(NGTCP2)}
        seen.extend(parse(frame, ports) for frame in frames(path.read_bytes()))

    def noise(self, count: int, *ports: int) -> dict[str, int]:
        """Send so much that no client means to each of these ports; how many datagrams each server's kernel got.

        `count` times the number of ports is a multiple of `ROUND`, and no one else sends datagrams to these servers.
        """
        before = {name: received(host) for name, host in self.made.servers.items()}
        words = (str(self.made.address), str(count), *map(str, ports))
        program = self.made.plain.popen_piped(sys.executable, "-m", "tests.net.quic_noise", *words, cwd=ROOT)

        def got() -> dict[str, int]:
            return {name: received(host) - before[name] for name, host in self.made.servers.items()}

        for sent in range(ROUND, count * len(ports) + 1, ROUND):
            assert program.line() == "sent"
            until(lambda sent=sent: sum(got().values()) >= sent, "all have arrived")
            program.say()
        assert program.wait(PATIENCE) == 0
        return got()
