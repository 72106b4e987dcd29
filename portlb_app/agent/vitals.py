"""How loaded this host is, as its kernel says in /proc: of the current network namespace, where it tells them apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from portlb_app.net.heartbeat import UNKNOWN

_TCP, _TCP_MORE = Path("/proc/thread-self/net/snmp"), Path("/proc/thread-self/net/netstat")
_PRESSURE = Path("/proc/pressure")
_AVERAGE = re.compile(r"^some avg10=(\d{1,3})\.(\d)", re.MULTILINE)


@dataclass(frozen=True)
class Counts:
    """What has happened to this host's TCP since it started.

    `openings`: connections that came in; `resets`: resets sent, also by a kernel without a program at the port;
    `overflow`: connections that found the program's queue full.
    """

    openings: int = 0
    resets: int = 0
    overflow: int = 0


def counts() -> Counts:
    """What the kernel has counted; OSError if it does not tell."""
    return parse_counts(_TCP.read_text(encoding="ascii"), _TCP_MORE.read_text(encoding="ascii"))


def parse_counts(snmp: str, netstat: str) -> Counts:
    """The counts in the texts of /proc/net/snmp and /proc/net/netstat (proc(5)); one that is not there is 0."""
    tcp, more = _values(snmp, "Tcp:"), _values(netstat, "TcpExt:")
    return Counts(tcp.get("PassiveOpens", 0), tcp.get("OutRsts", 0), more.get("ListenOverflows", 0))


def _values(text: str, title: str) -> dict[str, int]:
    """The numbers of a pair of lines: their names, and below them they themselves."""
    lines = [line.split()[1:] for line in text.splitlines() if line.startswith(f"{title} ")]
    return dict(zip(lines[0], map(int, lines[1]), strict=False)) if len(lines) == 2 else {}


def pressure(of: str) -> int:
    """Per mille of the last ten seconds in which work waited for "cpu" or "io"; UNKNOWN if the kernel does not tell."""
    try:
        return parse_pressure((_PRESSURE / of).read_text(encoding="ascii"))
    except OSError:  # built without CONFIG_PSI, or booted with psi=0
        return UNKNOWN


def parse_pressure(text: str) -> int:
    """The same, by the text of such a file."""
    found = _AVERAGE.search(text)
    return UNKNOWN if found is None else min(int(found[1]) * 10 + int(found[2]), 1000)
