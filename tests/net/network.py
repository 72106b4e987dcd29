"""Network namespaces, veth links, captures and agents for tests that send real packets.

Nothing here depends on pytest. A `Network` owns everything it makes: leaving its `with` block ends the processes
(by their own pid), and deletes the namespaces with all links in them. Names are unique per test process.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from mininet_topos.demo.surroundings import INHERITED
from portlb_app.agent import cli
from portlb_app.net import packets
from tests.net.inside import on
from tests.support.commands import run
from tests.support.helper import START, Helper

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 10.0  # seconds until a condition that must come true counts as failed

STILL = 0.05
"""Seconds without a packet after which a capture ends: what programs have sent last is on its way meanwhile."""

FIN, SYN, RST, PSH, ACK = 0x001, 0x002, 0x004, 0x008, 0x010
REDIRECT, CONFIRM = 0x800, 0x400


def until(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Wait until the condition holds; AssertionError naming `what` if it does not in time."""
    deadline, pause = time.monotonic() + patience, 0.005
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience} s: {what}")
        time.sleep(pause)  # between two looks
        pause = min(2 * pause, 0.02)


def end(process: subprocess.Popen[Any], number: int = signal.SIGTERM) -> int:
    """End one process that a test started, and return its exit code."""
    if process.poll() is None:
        process.send_signal(number)
    try:
        code = process.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):  # a line that was not heard
                stream.close()
    return code


def complaint(process: subprocess.Popen[Any]) -> str:
    """Which process ended how, and what it said of that; one that is no `Helper` said it to the test's own error."""
    said = process.complaint() if isinstance(process, Helper) else ""
    return f"{' '.join(map(str, process.args))}: exit code {process.poll()}\n{said}"


def wait_ready(process: Helper) -> None:
    """Wait for a line that begins with "ready"; AssertionError with what it complains of if there is none in time."""
    process.wait_ready()


class Namespace:
    """One host: a network namespace and the processes started in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._processes: list[subprocess.Popen[Any]] = []
        self._died: list[str] = []
        run("ip", "netns", "add", name)
        # No one else is on these links: IPv6 addresses are usable at once.
        alone = ("net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0")
        self.run("sysctl", "-qw", *alone, *INHERITED)
        self.run("ip", "link", "set", "lo", "up")

    def command(self, *argv: str) -> tuple[str, ...]:
        """Return the command line that runs `argv` on this host; its process is `argv`'s own."""
        return ("ip", "netns", "exec", self.name, *argv)

    def run(self, *argv: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command to its end on this host."""
        return run(*self.command(*argv), check=check, **options)

    def popen(self, *argv: str, **options: Any) -> subprocess.Popen[Any]:
        """Start a process on this host; it is ended with the network at the latest."""
        process = subprocess.Popen(self.command(*argv), **options)
        self._processes.append(process)
        return process

    def popen_ready(self, *argv: str, **options: Any) -> Helper:
        """Start a process that prints a line that begins with "ready", and wait for that line."""
        process = self.popen_piped(*argv, **options)
        process.wait_ready()
        return process

    def popen_piped(self, *argv: str, **options: Any) -> Helper:
        """Start a process that `wait_ready` can wait for, and go on meanwhile."""
        process = Helper(*self.command(*argv), **options)
        self._processes.append(process)
        return process

    def offloads(self, interface: str, on: bool) -> None:
        """Turn checksum and segmentation offloads of an interface on or off, in both directions."""
        state = "on" if on else "off"
        wanted = [word for name in ("rx", "tx", "sg", "tso", "gso", "gro") for word in (name, state)]
        self.run("ethtool", "-K", interface, *wanted)

    def nft(self, rules: str) -> None:
        """Load an nftables ruleset, for example to lose packets."""
        self.run("nft", "-f", "-", input=rules)

    def listens(self, *ports: int) -> bool:
        """Tell whether something listens on each of these TCP ports."""
        listening = self.run("ss", "-Htln").stdout
        return all(f":{port} " in listening for port in ports)

    def stop(self) -> None:
        """Tell this host's processes to end; `close` waits until they have."""
        self._died += [
            complaint(process) for process in self._processes if process.returncode is None and process.poll()
        ]
        for process in self._processes:
            process.terminate()

    def close(self) -> list[str]:
        """End this host's processes and delete it; what has died before, without anybody noticing."""
        for process in self._processes:
            end(process)
        run("ip", "netns", "del", self.name)
        return self._died


class Network:
    """The hosts and links of one test."""

    _numbers = itertools.count()

    def __init__(self) -> None:
        self._prefix = f"plb{os.getpid()}{secrets.token_hex(2)}n{next(self._numbers)}"
        self._hosts: list[Namespace] = []
        self._links = itertools.count(1)
        self._directory = tempfile.TemporaryDirectory(prefix=f"{self._prefix}-")
        self.directory = Path(self._directory.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for host in reversed(self._hosts):
            host.stop()  # all at once: they end side by side
        died = [each for host in reversed(self._hosts) for each in host.close()]
        self._directory.cleanup()
        assert kind is not None or not died, "programs of this test have died:\n" + "\n".join(died)

    def host(self, label: str) -> Namespace:
        """Make a host."""
        host = Namespace(f"{self._prefix}-{label}")
        self._hosts.append(host)
        return host

    def link(
        self,
        one: Namespace,
        other: Namespace,
        addresses: tuple[str, str] | None = None,
        interfaces: tuple[str, str] = ("eth0", "eth0"),
        mtu: int = 1500,
    ) -> None:
        """Join two hosts by a veth pair, with MAC addresses 02:00:00:00:<link>:<end>, and bring it up.

        `addresses` are in the form 10.0.0.1/24, `mtu` is in bytes.
        """
        number = next(self._links)
        macs = [f"02:00:00:00:{number:02x}:{side:02x}" for side in (1, 2)]
        run(
            "ip", "link", "add", interfaces[0], "netns", one.name, "address", macs[0], "mtu", str(mtu),
            "type", "veth",
            "peer", "name", interfaces[1], "netns", other.name, "address", macs[1], "mtu", str(mtu),
        )  # fmt: skip
        for side, host in enumerate((one, other)):
            if addresses is not None:
                host.run("ip", "address", "add", addresses[side], "dev", interfaces[side])
            host.run("ip", "link", "set", interfaces[side], "up")

    @contextlib.contextmanager
    def capture(self, host: Namespace, *filter_words: str, interface: str = "eth0") -> Iterator[list[packets.Segment]]:
        """Record what is on the wire at a host's interface; the yielded list is filled when the block ends."""
        path = self.directory / f"{next(self._links)}.pcap"
        segments: list[packets.Segment] = []
        with tcpdump(host, interface, "-U", "-s", "200", "-w", str(path), *filter_words):
            yield segments
        segments.extend(packets.capture(path.read_bytes()))


_SEEN = re.compile(r"(\d+) packets? captured, (\d+) packets? received by filter, (\d+) packets? dropped by kernel")


@contextlib.contextmanager
def tcpdump(host: Namespace, interface: str, *words: str, stdout: int = subprocess.DEVNULL) -> Iterator[None]:
    """Run tcpdump on an interface while the block runs, and until it has written down all that was on the wire.

    `stdout` is a file that takes what it prints. AssertionError if the kernel had to drop packets.
    """
    options = ("-n", "--immediate-mode", "-B", "16384", "-i", interface)
    process = host.popen_piped("tcpdump", *options, *words, stdout=stdout)

    def listens() -> bool:
        if process.poll() is not None:
            raise process.failure("does not listen")
        return "listening on" in process.complaint()

    until(listens, "tcpdump listens", START)
    try:
        yield
        looks: dict[int | None, float] = {}

        def has_all() -> bool:
            captured, now = _captured(process), time.monotonic()
            return captured is not None and now - looks.setdefault(captured, now) >= STILL

        until(has_all, "tcpdump has written down what was on the wire, and nothing more comes")
    finally:
        end(process, signal.SIGINT)


def _captured(process: Helper) -> int | None:
    """How many packets tcpdump has written down; None if not all that its filter has let through, by its counters."""
    told = len(_SEEN.findall(process.complaint()))
    process.send_signal(signal.SIGUSR1)
    until(lambda: len(_SEEN.findall(process.complaint())) > told, "tcpdump tells how many packets it has")
    captured, received, dropped = _SEEN.findall(process.complaint())[-1]
    assert dropped == "0", process.complaint()
    return int(captured) if captured == received else None


_NGINX = """
daemon off; master_process off; user root;
pid {directory}/nginx.pid; error_log {directory}/nginx.log;
events {{ worker_connections 4096; }}
http {{
    access_log off; root {directory}; sendfile on;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    client_max_body_size 0; client_header_timeout 300; keepalive_requests 1000000;
    server {{ {listen} dav_methods PUT; }}
}}
"""


def web_server(host: Namespace, directory: Path, ports: Sequence[int]) -> subprocess.Popen[Any]:
    """Start nginx on a host, serving a directory (and storing there what is PUT); wait until it listens."""
    configuration = directory / "nginx.conf"
    queue = "backlog=4096"  # what the kernel grants by default; nginx asks for 511
    listen = " ".join(f"listen {port} {queue}; listen [::]:{port} {queue};" for port in ports)
    configuration.write_text(_NGINX.format(directory=directory, listen=listen), encoding="utf-8")
    process = host.popen("nginx", "-c", str(configuration), stderr=subprocess.DEVNULL)
    until(lambda: host.listens(*ports), "nginx listens")
    return process


def _agent(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "portlb_app.agent", *words)


def client_agent(
    host: Namespace, vips: Sequence[str], interface: str = "eth0", words: Sequence[str] = ()
) -> subprocess.Popen[Any]:
    """Start a client agent on a host, with more `words` on its command line, and wait until it is attached."""
    vip_words = [word for vip in vips for word in ("--vip", vip)]
    return host.popen_ready(*_agent("client", "--interface", interface, *vip_words, *words), cwd=ROOT)


def server_agent(
    host: Namespace,
    vips: Sequence[str],
    services: Sequence[str] = (),
    redirects: Sequence[str] = (),
    interface: str = "eth0",
) -> subprocess.Popen[Any]:
    """Start a server agent on a host, `services` like "1=20" or "9", `redirects` like "20=1"; wait until attached."""
    words = [word for vip in vips for word in ("--vip", vip)]
    words += [word for service in services for word in ("--service", service)]
    words += [word for redirect in redirects for word in ("--redirect", redirect)]
    return host.popen_ready(*_agent("server", "--interface", interface, *words), cwd=ROOT)


def agent_command(host: Namespace, *words: str) -> subprocess.CompletedProcess[str]:
    """Run an agent command to its end, whatever its exit code."""
    return host.run(*_agent(*words), check=False, cwd=ROOT)


def agent_here(host: Namespace, *words: str) -> tuple[int, str]:
    """Run an agent command in this process, which takes no time to start; its exit code, and what it prints."""
    parser = argparse.ArgumentParser()
    cli.register(parser.add_subparsers(required=True))
    arguments = parser.parse_args(["agent", *words])
    with on(host), contextlib.redirect_stdout(io.StringIO()) as said:
        code: int = arguments.run(arguments)
    return code, said.getvalue()


def agent_json(host: Namespace, *words: str) -> Any:
    """Return what an agent command says as JSON. It runs in this process: tests look a hundred times, or more."""
    code, said = agent_here(host, *words, "--format", "json")
    assert code == 0, said
    return json.loads(said)


def agent_stats(host: Namespace, interface: str = "eth0") -> dict[str, int]:
    """Return the counters of the agents on an interface, added up over their roles."""
    totals: dict[str, int] = {}
    for counters in agent_json(host, "stats", "--interface", interface).values():
        for name, value in counters.items():
            totals[name] = totals.get(name, 0) + value
    return totals
