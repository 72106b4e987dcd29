"""Programs that the kernel has loaded: what they are, how often they run, and test runs.

Every function raises OSError with the kernel's errno.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from ctypes import POINTER, Structure, c_char, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass

from portlb_app.agent.kernel.library import checked, declare, library

declare("bpf_prog_get_fd_by_id", c_int, c_uint32)
declare("bpf_enable_stats", c_int, c_int)
declare("bpf_obj_get_info_by_fd", c_int, c_int, c_void_p, POINTER(c_uint32))


class _RunOptions(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("data_in", c_char_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_char_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    ]


class _ProgramInfo(Structure):
    """The head of struct bpf_prog_info."""

    _fields_ = [
        ("type", c_uint32),
        ("id", c_uint32),
        ("tag", c_char * 8),
        ("jited_prog_len", c_uint32),
        ("xlated_prog_len", c_uint32),
        ("jited_prog_insns", c_uint64),
        ("xlated_prog_insns", c_uint64),
        ("load_time", c_uint64),
        ("created_by_uid", c_uint32),
        ("nr_map_ids", c_uint32),
        ("map_ids", c_uint64),
        ("name", c_char * 16),
        ("not_asked_for", c_char * 112),  # interface, namespace, symbols, types, lines, tags
        ("run_time_ns", c_uint64),
        ("run_count", c_uint64),
    ]


@dataclass(frozen=True)
class RunResult:
    """What a program returned, the packet it left, and the nanoseconds it took."""

    verdict: int
    packet: bytes
    nanoseconds: int


declare("bpf_prog_test_run_opts", c_int, c_int, POINTER(_RunOptions))


@contextlib.contextmanager
def opened(prog_id: int) -> Iterator[int]:
    """Yield a file descriptor of a program until the block ends."""
    fd = checked(library.bpf_prog_get_fd_by_id(prog_id), "program")
    try:
        yield fd
    finally:
        os.close(fd)


def _info(fd: int, **fields: int) -> _ProgramInfo:
    info = _ProgramInfo(**fields)
    size = c_uint32(ctypes.sizeof(info))
    checked(library.bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size)), "program")
    return info


def id_of(fd: int) -> int:
    """Return a loaded program's id."""
    return int(_info(fd).id)


def run_count(prog_id: int) -> int:
    """Return how often a program has run while runs were counted."""
    with opened(prog_id) as fd:
        return int(_info(fd).run_count)


@contextlib.contextmanager
def counted_runs() -> Iterator[None]:
    """Have the kernel count the runs of all programs until the block ends: BPF_ENABLE_STATS, Linux 5.8."""
    fd = checked(library.bpf_enable_stats(0), "counting runs")
    try:
        yield
    finally:
        os.close(fd)


def describe(prog_id: int) -> tuple[str, list[int]]:
    """Return a loaded program's name and the ids of its maps."""
    with opened(prog_id) as fd:
        ids = (c_uint32 * 64)()
        info = _info(fd, nr_map_ids=len(ids), map_ids=ctypes.addressof(ids))
        return info.name.decode(), list(ids[: info.nr_map_ids])


def run(prog_fd: int, packet: bytes = b"", context: bytes = b"", repeat: int = 1) -> RunResult:
    """Run a program once (or `repeat` times, for its mean duration) outside any hook: BPF_PROG_TEST_RUN."""
    out = ctypes.create_string_buffer(len(packet) + 256) if packet else None
    options = _RunOptions(size=ctypes.sizeof(_RunOptions), repeat=repeat if packet else 0)
    if out is not None:
        options.data_in, options.data_size_in = packet, len(packet)
        options.data_out, options.data_size_out = ctypes.addressof(out), len(out)
    if context:
        options.ctx_in, options.ctx_size_in = context, len(context)
    checked(library.bpf_prog_test_run_opts(prog_fd, ctypes.byref(options)), "run")
    return RunResult(options.retval, out.raw[: options.data_size_out] if out is not None else b"", options.duration)
