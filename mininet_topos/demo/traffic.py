"""What a chapter of a demo does with hosts: curl, datagrams, a probe, downloads, and tcpdump to see the wire."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mininet.node import Node

from mininet_topos.demo.programs import DATAGRAMS, end, finish, process, wait_for, wait_ready
from portlb_app.net.packets import Segment, capture, frames

_LATE = 0.3
"""Seconds that the last packets take into tcpdump's file."""


def ask_udp(host: Node, address: object, port: int, count: int = 1) -> list[str]:
    """The names of the servers that answer so many datagrams, each asked up to three times; "-" where none does."""
    output, _, _ = host.pexec(*DATAGRAMS, "ask", str(address), str(port), str(count))
    return str(output).split()


@dataclass
class Outage:
    """What a probe saw that sent every millisecond: packets sent and lost, and its longest time without answers."""

    sent: int = 0
    lost: int = 0
    outage_ms: float = 0

    def __str__(self) -> str:
        if not self.lost:
            return f"{self.sent} sent, none lost"
        return f"{self.sent} sent, {self.lost} lost, the longest gap {self.outage_ms:.0f} ms"


@contextlib.contextmanager
def probe(host: Node, address: object, port: int) -> Iterator[Outage]:
    """A datagram every millisecond meanwhile; what became of them is there when the block ends."""
    words = (*DATAGRAMS, "probe", str(address), str(port))
    seen = Outage()
    with tempfile.NamedTemporaryFile() as errors:
        running = host.popen(list(words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        try:
            wait_ready(running, "ready", Path(errors.name))
            yield seen
            for name, value in json.loads(finish(running, Path(errors.name))).items():
                setattr(seen, name, value)
        finally:
            end(running)


@dataclass(frozen=True)
class Download:
    """One that is over: who it was from, whether it arrived whole."""

    file: str
    server: str
    whole: bool


class Downloads:
    """Downloads of a file at 100 kB a second in the background, each by a connection of its own."""

    def __init__(self, host: Node, url: str, number: int, content: bytes, directory: Path) -> None:
        """Start them, and wait until all run; `url` offers a file `content`."""
        self._into, self._number, self._content = directory / f"downloads-{time.monotonic_ns()}", number, content
        self._into.mkdir()
        at_once = ("--parallel", "--parallel-immediate", "--parallel-max", str(number))
        quiet = ("curl", "--silent", "--show-error", "--fail", "--max-time", "60")
        words = (*quiet, *at_once, "--output", f"{self._into}/#1")
        said = ("--write-out", "%{filename_effective} %header{x-server}\\n", f"{url}?[1-{number}]")
        self._log = self._into.with_suffix(".log")
        with open(self._log, "wb") as errors:
            self._process = host.popen([*words, *said], stdout=subprocess.PIPE, stderr=errors)
        wait_for(lambda: len(self.sizes()) == number and min(self.sizes().values()), f"{number} downloads run")

    def sizes(self) -> dict[str, int]:
        """What has arrived of each, in bytes."""
        return {path.name: path.stat().st_size for path in self._into.iterdir()}

    def running(self) -> bool:
        """Whether none is over yet."""
        sizes = self.sizes()
        return len(sizes) == self._number and max(sizes.values()) < len(self._content)

    def finish(self) -> list[Download]:
        """Wait until all are over."""
        try:
            output, _ = self._process.communicate(timeout=90)
        finally:
            end(self._process)
        lines = [line.split() for line in output.decode().splitlines()]
        if len(lines) != self._number or not all(len(line) == 2 for line in lines):
            raise RuntimeError(f"downloads without an answer: {output.decode()} {self._log.read_text()}")
        return [Download(Path(line[0]).name, line[1], Path(line[0]).read_bytes() == self._content) for line in lines]


def curl(host: Node, url: str, *words: str, seconds: float = 5) -> tuple[int, str]:
    """curl's exit code (28: nothing came in `seconds`) and output on a host, for one or many URLs."""
    output, _, code = host.pexec("curl", "--silent", "--max-time", str(seconds), *words, url)
    return code, str(output)


@contextlib.contextmanager
def wire(host: Node, directory: Path, words: str) -> Iterator[list[Segment]]:
    """What tcpdump sees at a host's interface meanwhile; the list is filled when the block ends."""
    segments: list[Segment] = []
    with _tcpdump(host, "eth0", directory, words) as path:
        yield segments
        time.sleep(_LATE)
    segments.extend(capture(path.read_bytes()))


@contextlib.contextmanager
def wires(host: Node, interfaces: Sequence[str], directory: Path, words: str) -> Iterator[dict[str, list[bytes]]]:
    """The same at several interfaces, as whole frames."""
    found: dict[str, list[bytes]] = {}
    with contextlib.ExitStack() as stack:
        paths = {name: stack.enter_context(_tcpdump(host, name, directory, words)) for name in interfaces}
        yield found
        time.sleep(_LATE)
    found |= {name: list(frames(path.read_bytes())) for name, path in paths.items()}


@contextlib.contextmanager
def _tcpdump(host: Node, interface: str, directory: Path, words: str) -> Iterator[Path]:
    path = directory / f"{interface}-{time.monotonic_ns()}.pcap"
    log = path.with_suffix(".log")
    # A place in tcpdump's buffer is as long as the longest frame it asks for: with its default 8 frames fill it.
    options = ("-i", interface, "-n", "-U", "--immediate-mode", "-s", "2000", "-w", str(path))
    with process(host.popen, ("tcpdump", *options, *words.split()), log):
        wait_for(lambda: "listening on" in log.read_text(), "tcpdump listens")
        yield path
