"""Alternatives that are a host of their own, whose both sides are ports of the same bridge."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.alternative import Alternative
from tests.bench.machine import family
from tests.bench.stage import BACK, CONNECTORS, DESCRIPTORS, FRONT, NETWORK, PORT, SERVERS, SHORT, VIP, Stage, write
from tests.net.network import end, until

_HAPROXY = """
global
    maxconn {most}
    nbthread 1
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
listen lb
    bind {vip}:{port} backlog 4096
    balance roundrobin
{servers}
"""
_NGINX = """
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off; user root; worker_processes {workers}; worker_rlimit_nofile {descriptors};
pid {home}/pid; error_log {home}/log;
events {{ worker_connections {descriptors}; }}
stream {{
    upstream pool {{ {servers} }}
    server {{ listen {vip}:{port} backlog=4096{reuse}; proxy_pass pool; proxy_timeout 1h; proxy_connect_timeout 10s; }}
}}
"""


class Proxy(Alternative):
    """A host behind the bridge, which only forwards."""

    workers = 1
    """Processes with connections: one, unless there are more connections than it may have open files."""

    def start(self) -> None:
        """Forward, and start what balances."""
        self.stage.clear()
        self.recover()
        self.home.mkdir(exist_ok=True)
        self.start_program()

    def recover(self) -> None:
        """Wires."""
        flows = [f"priority=100,in_port={NETWORK},ip actions=output:{FRONT}"]
        flows += [f"priority=100,in_port={FRONT},ip actions=output:{NETWORK}"]
        for name, port in CONNECTORS.items():
            flows += [f"priority=100,in_port={BACK},ip,nw_dst={SERVERS[name]} actions=output:{port}"]
            flows += [f"priority=100,in_port={port},ip actions=output:{BACK}"]
        self.stage.install(flows)

    def expect(self, connections: int) -> None:
        """A connection has two sockets."""
        self.workers = 2 * connections // DESCRIPTORS + 1

    def start_program(self) -> None:
        """Start what balances, and wait until it listens."""
        raise NotImplementedError

    @property
    def home(self) -> Path:
        """Where its files are."""
        return self.stage.directory / self.name.replace(" ", "-")


class HAProxy(Proxy):
    """HAProxy in TCP mode."""

    name, about, program = "HAProxy", "HAProxy, `mode tcp`, one thread, on a host behind the same bridge", "HAProxy"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._processes: list[subprocess.Popen[bytes]] = []

    def start_program(self) -> None:
        """As many as there are workers, on one port."""
        self._processes = []
        self._add()
        until(lambda: self.stage.proxy.listens(PORT), "HAProxy listens")

    def _add(self) -> None:
        pool = [(SERVERS[name], name, weight) for name, weight in self.weights.items() if weight]
        servers = "\n".join(f"    server {name} {address}:{PORT} weight {weight}" for address, name, weight in pool)
        text = _HAPROXY.format(vip=VIP, port=PORT, servers=servers, most=DESCRIPTORS // 2 - 50)
        words: tuple[str, ...] = ("haproxy", "-db", "-f", write(self.home / "haproxy.cfg", text))
        old = [str(process.pid) for process in self._processes if process.poll() is None]
        words += ("-sf", *old) if old else ()
        with open(self.home / "out", "ab") as output:
            for _ in range(self.workers):
                self._processes.append(self.stage.proxy.popen(*words, stdout=output, stderr=output))

    def choose(self, weights: Mapping[str, int]) -> None:
        """Reload: the process before serves its connections to their end."""
        self.weights = weights
        self._add()
        pid = self._processes[-1].pid
        until(lambda: f"pid={pid}," in self.stage.proxy.run("ss", "-Htlnp").stdout, "the new HAProxy listens")

    def restart_program(self) -> None:
        """Kill and start."""
        self._kill()
        self.start_program()

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def programs(self) -> Sequence[int]:
        """The old ones, too."""
        return [process.pid for process in self._processes if process.poll() is None]

    def stop(self) -> None:
        """End them."""
        for process in self._processes:
            end(process)


class NginxStream(Proxy):
    """nginx as a proxy of TCP."""

    name, about, program = "nginx stream", "nginx's `stream`, one worker, on a host behind the same bridge", "nginx"
    _process: subprocess.Popen[bytes] | None = None

    def _write(self) -> str:
        servers = " ".join(
            f"server {SERVERS[name]}:{PORT} weight={weight};" for name, weight in self.weights.items() if weight
        )
        text = _NGINX.format(
            **{"home": self.home, "vip": VIP, "port": PORT, "servers": servers, "workers": self.workers},
            **{"descriptors": DESCRIPTORS, "reuse": " reuseport" if self.workers > 1 else ""},
        )
        return write(self.home / "nginx.conf", text)

    def start_program(self) -> None:
        """A master and its worker."""
        words = ("nginx", "-p", str(self.home), "-c", self._write(), "-e", str(self.home / "log"))
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = self.stage.proxy.popen(*words, **quiet)
        until(lambda: self.stage.proxy.listens(PORT), "nginx listens")

    def choose(self, weights: Mapping[str, int]) -> None:
        """Reload: the worker before serves its connections to their end."""
        assert self._process is not None
        before = set(self.programs())
        self.weights = weights
        self._write()
        self._process.send_signal(signal.SIGHUP)
        until(lambda: set(self.programs()) - before, "a new worker is there")

    def restart_program(self) -> None:
        """Kill and start."""
        assert self._process is not None
        for pid in reversed(self.programs()):
            os.kill(pid, signal.SIGKILL)
        self._process.wait()
        until(lambda: not self.stage.proxy.listens(PORT), "nobody listens")
        self.start_program()

    def programs(self) -> Sequence[int]:
        """Master and workers."""
        return family(self._process.pid) if self._process is not None else ()

    def stop(self) -> None:
        """End master and workers."""
        if self._process is not None:
            end(self._process)


class Nftables(Proxy):
    """A router that translates addresses."""

    name, about, program = "nftables", "a router behind the same bridge: nftables, `dnat to numgen inc mod …`", "router"

    def start_program(self) -> None:
        """The rules; entries of connections that have ended go soon, or the table of this machine is full."""
        self.choose(self.weights)
        settings = [f"net.netfilter.nf_conntrack_tcp_timeout_{each}" for each in SHORT]
        self.stage.proxy.run("sysctl", "-qw", *settings, "net.netfilter.nf_conntrack_checksum=0")

    def choose(self, weights: Mapping[str, int]) -> None:
        """Replace the map in one transaction."""
        self.weights = weights
        slots = [SERVERS[name] for name, weight in weights.items() for _ in range(weight)]
        entries = ", ".join(f"{number} : {address}" for number, address in enumerate(slots))
        self.stage.proxy.nft(
            "table ip lb\ndelete table ip lb\ntable ip lb {\nchain before {\n"
            "type nat hook prerouting priority dstnat;\n"
            f"ip daddr {VIP} tcp dport {PORT} dnat to numgen inc mod {len(slots)} map {{ {entries} }}\n}}\n}}\n"
        )

    def restart_program(self) -> None:
        """What a router forgets that boots."""
        self.stage.proxy.run("conntrack", "-F", check=False)

    def stop(self) -> None:
        """Neither rules nor entries."""
        self.stage.proxy.nft("table ip lb\ndelete table ip lb\n")
        self.stage.proxy.run("conntrack", "-F", check=False)
