"""The machine that figures come from: what it is, what its processors did, and whether other programs were at work."""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

FOREIGN_SHARE, IDLE_PATIENCE = 0.05, 60.0
"""The share of all processors from which other programs disturb, and seconds to wait until they do not."""
_TICKS = os.sysconf("SC_CLK_TCK")


def machine() -> dict[str, object]:
    """Return what the figures depend on besides what is measured."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "processor": model[1] if model else "unknown",
        "cores": os.cpu_count(),
        "congestion control": Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text(encoding="ascii").strip(),
    }


def versions(*commands: tuple[str, ...]) -> list[str]:
    """The first line that each command prints about its version."""
    lines = []
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines.append((done.stdout + done.stderr).strip().partition("\n")[0])
    return lines


def on_core(core: int) -> tuple[str, ...]:
    """What binds a command to one core, if there are several."""
    return ("taskset", "-c", str(core)) if (os.cpu_count() or 1) > 1 else ()


def processors() -> tuple[float, float]:
    """Seconds since boot of all processors together: busy, and altogether."""
    first = Path("/proc/stat").read_text(encoding="utf-8").partition("\n")[0]
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, first.split()[1:9])
    busy = user + nice + system + irq + softirq + steal
    return busy / _TICKS, (busy + idle + iowait) / _TICKS


def wait_until_idle(patience: float = IDLE_PATIENCE) -> None:
    """Wait until no other programs take processor time, or patience ends."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        busy, total = processors()
        time.sleep(0.3)
        busy_then, total_then = processors()
        if busy_then - busy <= FOREIGN_SHARE * (total_then - total):
            return


def family(pid: int) -> list[int]:
    """A process and its descendants that live."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            found += map(int, task.read_text(encoding="ascii").split())
    return found


def processor_seconds(pids: Iterable[int]) -> float:
    """Processor time that processes have had, of all their threads that live.

    In nanoseconds from the kernel (Linux, Documentation/scheduler/sched-stats).
    """
    total = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            total += int((thread / "schedstat").read_text(encoding="ascii").split()[0])
    return total / 1e9


def ended_seconds() -> float:
    """Processor time of all programs that this one has started and that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def resident(pids: Iterable[int]) -> int:
    """Bytes of memory that processes have, without what they share."""
    total = 0
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        total += sum(int(each) for each in re.findall(r"^Private_(?:Clean|Dirty): +(\d+) kB$", text, re.MULTILINE))
    return total * 1024


def size_of(kind: str) -> int:
    """Bytes of one of the kernel's objects of a kind (``nf_conntrack``, ``TCP``), as /proc/slabinfo has it."""
    text = Path("/proc/slabinfo").read_text(encoding="ascii")
    found = re.search(rf"^{kind} +\d+ +\d+ +(\d+) ", text, re.MULTILINE)
    return int(found[1]) if found else 0
