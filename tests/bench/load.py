"""Load of the client on the VIP, by wrk, and what it cost."""

from __future__ import annotations

import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.bench.alternative import Alternative
from tests.bench.machine import FOREIGN_SHARE, ended_seconds, on_core, processor_seconds, processors, wait_until_idle
from tests.bench.stage import CLIENT_CORE, Stage
from tests.net.network import until

PATIENCE = 5.0
"""Seconds that a sample waits for an idle machine."""
TRIES = 2
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
"""Of times, in milliseconds."""
_BYTES = {"B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3}


@dataclass(frozen=True)
class Done:
    """What wrk says it did: requests, seconds, bytes a second, failures, and latencies in milliseconds by per cent."""

    requests: int
    seconds: float
    bytes_per_second: float
    failed: int
    latencies: dict[int, float]


def command(url: str, connections: int, seconds: float, close: bool) -> tuple[str, ...]:
    """wrk on its core, with that many connections at a time, one a request if they close."""
    words = (*on_core(CLIENT_CORE), "wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "--timeout", "5s")
    return (*words, *(("-H", "Connection: close") if close else ()), url)


def parse(printed: str) -> Done:
    """Read what wrk prints; AssertionError if that is not it. What failed is errors of sockets and of HTTP."""
    count = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m), ", printed)
    transfer = re.search(r"Transfer/sec: +([\d.]+)(KB|MB|GB|B)", printed)
    assert count and transfer, printed
    failed = sum(map(int, re.findall(r"(?:connect|read|write|timeout|responses:) (\d+)", printed)))
    latencies = re.findall(r"^ +(\d+)% +([\d.]+)(us|ms|s|m)$", printed, re.MULTILINE)
    return Done(
        int(count[1]),
        float(count[2]) * _UNITS[count[3]] / 1e3,
        float(transfer[1]) * _BYTES[transfer[2]],
        failed,
        {int(share): float(value) * _UNITS[unit] for share, value, unit in latencies},
    )


@dataclass(frozen=True)
class Cost:
    """Processor seconds: of ovs-vswitchd, and of all programs of the bench; and the share that others had."""

    switch: float
    all: float
    foreign: float


class Meter:
    """Measures processor time between its making and `read`."""

    def __init__(self, stage: Stage, alternative: Alternative) -> None:
        self._switch = [stage.vswitchd]
        self._pids = [*stage.programs(), *alternative.programs(), *alternative.agents()]
        self._began = self._now()

    def _now(self) -> tuple[float, float, float, float]:
        ours = processor_seconds(self._pids) + ended_seconds()
        return (processor_seconds(self._switch), ours, *processors())

    def read(self) -> Cost:
        """What has passed."""
        pairs = zip(self._now(), self._began, strict=True)
        switch, ours, busy, total = (now - before for now, before in pairs)
        return Cost(switch, ours, max(0.0, busy - ours) / total if total else 0.0)


class Sampler:
    """Takes samples while the machine is idle, if it ever is; counts those that were disturbed."""

    def __init__(self, stage: Stage, seconds: float, patience: float = PATIENCE) -> None:
        self.stage, self.seconds, self._patience = stage, seconds, patience
        self.samples = self.disturbed = 0

    def take(self, alternative: Alternative, path: str, connections: int, close: bool) -> tuple[Done, Cost]:
        """One sample of a path of the VIP; again if others were at work."""
        words = command(self.stage.url + path, connections, self.seconds, close)
        for _ in range(TRIES):
            wait_until_idle(self._patience)
            self.stage.reset_counters()
            meter = Meter(self.stage, alternative)
            done = parse(self.stage.client.run(*words).stdout)
            cost = meter.read()
            if cost.foreign <= FOREIGN_SHARE:
                break
        self.samples += 1
        self.disturbed += cost.foreign > FOREIGN_SHARE
        return done, cost


class Background:
    """wrk that runs until it is told to end."""

    def __init__(self, stage: Stage, path: str, connections: int, close: bool) -> None:
        words = command(stage.url + path, connections, 600, close)
        self._process = stage.client.popen(*words, stdout=subprocess.PIPE, text=True)
        until(self._works, "wrk is at work")

    def _works(self) -> bool:
        """Whether it has come to where SIGINT only ends its work."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        caught = re.search(r"^SigCgt:\s+([0-9a-f]+)$", status, re.MULTILINE)
        return caught is not None and bool(int(caught[1], 16) >> (signal.SIGINT - 1) & 1)

    def end(self) -> Done:
        """End it; what it did."""

        def ended() -> bool:
            self._process.send_signal(signal.SIGINT)  # again: one that comes just before it sleeps is not heard
            return self._process.poll() is not None

        until(ended, "wrk ends", 60)
        printed, _ = self._process.communicate()
        return parse(printed)
