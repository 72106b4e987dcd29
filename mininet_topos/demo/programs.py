"""What runs all through a demo: nginx, the agents, the controller, and a small program for UDP."""

from __future__ import annotations

import contextlib
import functools
import json
import select
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mininet.node import Node

from portlb_app.config import Config, Link, Server

SECONDS = 15
PORTLB = (sys.executable, "-m", "portlb_app.cli")
DATAGRAMS = (sys.executable, "-m", "mininet_topos.demo.datagrams")
MPTCP = ("mptcpize", "run")
"""Has a program's TCP sockets speak MPTCP."""

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

_NGINX = """
user root;
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_timeout 0;
    server {{
        {listen}
        add_header X-Server {name};
        location / {{ return 200 "server {name} on port $server_port\\n"; }}
        location /slow {{ root {files}; limit_rate 100k; }}
        location /whole {{ root {files}; }}
    }}
}}
"""


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds; RuntimeError that names `what` after `SECONDS`."""
    if not comes_true(condition):
        raise RuntimeError(f"not within {SECONDS} s: {what}")


def comes_true(condition: Callable[[], object]) -> bool:
    """Wait until a condition holds; whether it does within `SECONDS`."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def free_port() -> int:
    """A TCP port of this machine's loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def process(start: Callable[..., Any], words: Sequence[str], log: Path, ready: str = "") -> Iterator[None]:
    """A program in the background, its errors in `log`; waits for the output to begin with `ready`, if given."""
    with open(log, "wb") as errors:
        running = start(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if ready else errors,
            stderr=errors,
        )
    try:
        if ready:
            wait_ready(running, ready, log)
        yield
    finally:
        end(running)


def wait_ready(running: subprocess.Popen[bytes], ready: str, log: Path) -> None:
    """Wait for a line that begins with `ready`; RuntimeError with the program's errors, in `log`, if none comes."""
    assert running.stdout is not None
    found, _, _ = select.select([running.stdout], [], [], SECONDS)
    line = running.stdout.readline() if found else b""
    if not line.decode().startswith(ready):
        raise RuntimeError(f"{running.args!r} did not get ready: {line.decode()!r} {log.read_text(errors='replace')}")


def finish(running: subprocess.Popen[bytes], log: Path, seconds: float = SECONDS) -> str:
    """A program's output, once it has ended; RuntimeError with its errors, in `log`, if it says nothing, or fails."""
    try:
        output, _ = running.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{running.args!r} does not end: {log.read_text(errors='replace')}") from None
    if running.returncode or not output.strip():
        raise RuntimeError(f"{running.args!r}: exit code {running.returncode}: {log.read_text(errors='replace')}")
    return output.decode()


def end(running: subprocess.Popen[bytes]) -> None:
    """End a program that was started here."""
    running.terminate()
    try:
        running.wait(SECONDS)
    except subprocess.TimeoutExpired:
        running.kill()
        running.wait()
    for stream in (running.stdin, running.stdout):
        if stream:
            stream.close()


@contextlib.contextmanager
def web_server(
    host: Node, server: Server, ports: set[int], directory: Path, under: Sequence[str] = ()
) -> Iterator[None]:
    """nginx on a server host: says its name on every port; ``/slow`` is a file in `directory`, at 100 kB a second.

    ``/whole`` is one as fast as it can be; `under`: words before its command line.
    """
    home = directory / f"nginx-{server.name}"
    home.mkdir()
    listen = " ".join(f"listen {port};" for port in sorted(ports))
    (home / "nginx.conf").write_text(_NGINX.format(directory=home, listen=listen, name=server.name, files=directory))
    words = (*under, "nginx", "-p", str(home), "-c", str(home / "nginx.conf"), "-e", str(home / "nginx.log"))
    with process(host.popen, words, home / "out"):
        wait_for(lambda: all(_listens(host, port) for port in ports), f"nginx of {server.name} listens")
        yield


def _listens(host: Node, port: int) -> bool:
    output, _, _ = host.pexec("ss", "-Htln", f"sport = :{port}")
    return bool(output.strip())


@contextlib.contextmanager
def udp_server(host: Node, server: Server, ports: set[int], directory: Path) -> Iterator[None]:
    """A program on a server host that answers every datagram with the server's name."""
    words = (*DATAGRAMS, "serve", server.name, *map(str, sorted(ports)))
    with process(host.popen, words, directory / f"udp-{server.name}.log", ready="ready"):
        yield


class Controller:
    """A running ``portlb controller``: its OpenFlow port, and what its REST interface says."""

    def __init__(self, config: Path, directory: Path, read_back: float) -> None:
        self.openflow, self._rest = free_port(), free_port()
        self._words = (
            *(*PORTLB, "controller", str(config)),
            *("--ofp-tcp-listen-port", str(self.openflow), "--wsapi-port", str(self._rest)),
            *("--resync-interval", str(read_back), "--wsapi-socket", ""),
        )
        self._log = directory / "controller.log"

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The controller, from ready to ended."""
        # An interrupt at the prompt is not for it. (Programs on hosts have sessions of their own by Mininet.)
        start = functools.partial(subprocess.Popen, start_new_session=True)
        with process(start, self._words, self._log, ready="ready"):
            yield

    def status(self) -> dict[str, Any]:
        """``GET /v1/status``."""
        with _DIRECT.open(f"http://127.0.0.1:{self._rest}/v1/status", timeout=SECONDS) as answer:
            status: dict[str, Any] = json.load(answer)
            return status

    def configuration(self) -> str:
        """``GET /v1/config``."""
        with _DIRECT.open(f"http://127.0.0.1:{self._rest}/v1/config", timeout=SECONDS) as answer:
            text: str = answer.read().decode()
            return text

    def put(self, text: str) -> None:
        """``PUT /v1/config``; RuntimeError if it is refused."""
        url, typed = f"http://127.0.0.1:{self._rest}/v1/config", {"Content-Type": "application/yaml"}
        request = urllib.request.Request(url, text.encode(), typed, method="PUT")
        try:
            with _DIRECT.open(request, timeout=SECONDS) as answer:
                answer.read()
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"PUT /v1/config: {error}: {error.read().decode()}") from error

    def is_up(self, link: Link) -> bool:
        """Whether it takes a link to work."""
        ends = [str(end) for end in link]
        up: bool = next(each["up"] for each in self.status()["links"] if each["ends"] == ends)
        return up

    def switch(self, name: str) -> dict[str, Any]:
        """What the status says of a switch."""
        switches = self.status()["switches"]
        return next(switch for switch in switches if switch["name"] == name)


@contextlib.contextmanager
def agents(hosts: Callable[[str], Node], config: Config, file: Path, clients: Sequence[str]) -> Iterator[None]:
    """A server agent on every server and a client agent on the named clients."""
    vips = [word for vip in config.vips for word in ("--vip", str(vip.address))]
    with contextlib.ExitStack() as stack:
        for server in config.servers:
            words = (*PORTLB, "agent", "server", "--interface", "eth0", "--config", str(file), "--server", server.name)
            log = file.parent / f"agent-{server.name}.log"
            stack.enter_context(process(hosts(server.name).popen, words, log, ready="ready"))
        for name in clients:
            words = (*PORTLB, "agent", "client", "--interface", "eth0", *vips)
            log = file.parent / f"agent-{name}.log"
            stack.enter_context(process(hosts(name).popen, words, log, ready="ready"))
        yield


@contextlib.contextmanager
def mptcp_agents(hosts: Callable[[str], Node], config: Config, file: Path, clients: Sequence[str]) -> Iterator[None]:
    """No eBPF: every server's kernel announces the server's port for MPTCP; the named clients follow announcements."""
    with contextlib.ExitStack() as stack:
        for server in config.servers:
            words = (*PORTLB, "agent", "mptcp", "--config", str(file), "--server", server.name)
            log = file.parent / f"agent-{server.name}.log"
            stack.enter_context(process(hosts(server.name).popen, words, log, ready="ready"))
        for name in clients:
            accept = ("ip", "mptcp", "limits", "set", "add_addr_accepted", "2", "subflows", "2")
            _, errors, code = hosts(name).pexec(*accept)
            if code:
                raise RuntimeError(f"{name} cannot follow announcements of MPTCP: {errors}")
        yield


Agents = Callable[[Callable[[str], Node], Config, Path, Sequence[str]], contextlib.AbstractContextManager[None]]
