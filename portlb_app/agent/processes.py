"""Processes that hold a loaded eBPF program. Open files tell; attached filters do not name the process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple


class Holders(NamedTuple):
    """Processes that hold one of some programs; `complete`: there are no others."""

    pids: list[int]
    complete: bool


def holders(program_ids: Collection[int]) -> Holders:
    """Look for the programs in the open files of every process of this PID namespace (proc_pid_fd(5)).

    A process without access to its files may hold them if it is called portlb.
    """
    found, complete = [], True
    for process in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if any(held in program_ids for held in _held(Path("/proc", process))):
                found.append(int(process))
        except FileNotFoundError:  # it has ended
            continue
        except PermissionError:
            complete = complete and not _is_portlb(Path("/proc", process))
    return Holders(sorted(found), complete)


def _is_portlb(process: Path) -> bool:
    try:
        return b"portlb" in (process / "cmdline").read_bytes()
    except FileNotFoundError:
        return False


def _held(process: Path) -> Iterator[int]:
    """Yield the ids of the programs a process holds."""
    for descriptor in os.listdir(process / "fd"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # closed in between
            if os.readlink(process / "fd" / descriptor) == "anon_inode:bpf-prog":
                text = (process / "fdinfo" / descriptor).read_text(encoding="ascii")
                yield int(text.partition("\nprog_id:")[2].split()[0])
