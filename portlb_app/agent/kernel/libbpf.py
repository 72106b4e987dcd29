"""The few functions of libbpf.so.1 the agents use, over ctypes: nothing but the library is needed at run time.

Every function raises OSError with the kernel's errno; `messages()` has what libbpf and the verifier said about it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
from collections.abc import Iterator
from ctypes import CFUNCTYPE, POINTER, Structure, c_char, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass

from portlb_app.agent.kernel.btf import Types
from portlb_app.agent.kernel.library import checked, declare, library, messages
from portlb_app.agent.kernel.maps import Layout, types_of

INGRESS = 1
EGRESS = 2
TCX_INGRESS = 46
TCX_EGRESS = 47
_REPLACE = 1
_REPLACE_TCX = 4  # BPF_F_REPLACE
_PROGRAMS_MAX = 64  # on one tcx hook: the kernel's limit


class _Hook(Structure):
    _fields_ = [("size", c_size_t), ("ifindex", c_int), ("attach_point", c_int), ("parent", c_uint32)]


class _TcOptions(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("prog_fd", c_int),
        ("flags", c_uint32),
        ("prog_id", c_uint32),
        ("handle", c_uint32),
        ("priority", c_uint32),
    ]


class _AttachOptions(Structure):
    _fields_ = [("size", c_size_t), ("flags", c_uint32), ("replace_prog_fd", c_int)]


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


for _name in ("bpf_object__find_program_by_name", "bpf_object__find_map_by_name"):
    declare(_name, c_void_p, c_void_p, c_char_p)
for _name in ("bpf_object__next_program", "bpf_object__next_map"):
    declare(_name, c_void_p, c_void_p, c_void_p)
for _name in ("bpf_program__name", "bpf_map__name"):
    declare(_name, c_char_p, c_void_p)
for _name in ("bpf_map__btf_key_type_id", "bpf_map__btf_value_type_id"):
    declare(_name, c_uint32, c_void_p)
declare("bpf_object__btf", c_void_p, c_void_p)
declare("btf__raw_data", c_void_p, c_void_p, POINTER(c_uint32))
for _name in ("bpf_map__type", "bpf_map__key_size", "bpf_map__value_size", "bpf_map__max_entries"):
    declare(_name, c_uint32, c_void_p)
for _name in ("bpf_object__load", "bpf_program__fd", "bpf_map__fd"):
    declare(_name, c_int, c_void_p)
for _name in ("bpf_program__set_autoload", "bpf_map__set_autocreate"):
    declare(_name, c_int, c_void_p, ctypes.c_bool)
declare("bpf_prog_get_fd_by_id", c_int, c_uint32)
declare("bpf_enable_stats", c_int, c_int)
for _name in ("bpf_tc_attach", "bpf_tc_detach", "bpf_tc_query"):
    declare(_name, c_int, POINTER(_Hook), POINTER(_TcOptions))
for _name in ("bpf_tc_hook_create", "bpf_tc_hook_destroy"):
    declare(_name, c_int, POINTER(_Hook))
declare("bpf_prog_attach_opts", c_int, c_int, c_int, c_int, POINTER(_AttachOptions))
declare("bpf_prog_detach2", c_int, c_int, c_int, c_int)
declare("bpf_prog_query", c_int, c_int, c_int, c_uint32, c_void_p, c_void_p, POINTER(c_uint32))
declare("ring_buffer__new", c_void_p, c_int, c_void_p, c_void_p, c_void_p)
declare("ring_buffer__consume", c_int, c_void_p)
declare("ring_buffer__epoll_fd", c_int, c_void_p)
declare("bpf_object__open_file", c_void_p, c_char_p, c_void_p)
declare("bpf_object__close", None, c_void_p)
declare("bpf_map__reuse_fd", c_int, c_void_p, c_int)
declare("bpf_map__set_max_entries", c_int, c_void_p, c_uint32)
declare("bpf_map__set_initial_value", c_int, c_void_p, c_char_p, c_size_t)
declare("bpf_obj_get_info_by_fd", c_int, c_int, c_void_p, POINTER(c_uint32))
declare("bpf_prog_test_run_opts", c_int, c_int, POINTER(_RunOptions))


class Object:
    """An object file: opened, told what to load and which maps to inherit, then loaded."""

    def __init__(self, path: str) -> None:
        self._object = library.bpf_object__open_file(path.encode(), None)
        if not self._object:
            error = ctypes.get_errno()
            raise OSError(error, f"{path}: {os.strerror(error)}")

    def close(self) -> None:
        """Let go of programs and maps; what is attached stays attached."""
        library.bpf_object__close(self._object)

    def _map(self, name: str) -> int:
        found = library.bpf_object__find_map_by_name(self._object, name.encode())
        if not found:
            raise OSError(2, f"no map {name} in the object file")
        return int(found)

    def keep_only(self, programs: set[str], maps: set[str]) -> None:
        """Load these programs and maps and nothing else of the object."""
        each = None
        while each := library.bpf_object__next_program(self._object, each):
            library.bpf_program__set_autoload(each, library.bpf_program__name(each).decode() in programs)
        each = None
        while each := library.bpf_object__next_map(self._object, each):
            library.bpf_map__set_autocreate(each, library.bpf_map__name(each).decode() in maps)

    def map_names(self) -> Iterator[str]:
        """Yield the names of the maps in the object file."""
        each = None
        while each := library.bpf_object__next_map(self._object, each):
            yield library.bpf_map__name(each).decode()

    def layout(self, name: str) -> Layout:
        """Return the layout this object wants a map to have."""
        this = self._map(name)
        ids = library.bpf_map__btf_key_type_id(this), library.bpf_map__btf_value_type_id(this)
        return Layout(
            library.bpf_map__type(this),
            library.bpf_map__key_size(this),
            library.bpf_map__value_size(this),
            library.bpf_map__max_entries(this),
            *(types_of(self.types, each) for each in ids),
        )

    @functools.cached_property
    def types(self) -> Types:
        """Return the types the object describes itself by; OSError if it does not."""
        size = c_uint32()
        found = library.bpf_object__btf(self._object)
        data = library.btf__raw_data(found, ctypes.byref(size)) if found else None
        if not data:
            raise OSError(errno.EINVAL, "the object file does not describe its types")
        return Types(ctypes.string_at(data, size.value))

    def set_max_entries(self, name: str, entries: int) -> None:
        """Give a map another size than the object file says."""
        checked(library.bpf_map__set_max_entries(self._map(name), entries), f"size of map {name}")

    def set_initial_value(self, name: str, value: bytes) -> None:
        """Fill a section of constants."""
        checked(library.bpf_map__set_initial_value(self._map(name), value, len(value)), f"value of {name}")

    def reuse(self, name: str, fd: int) -> None:
        """Use an existing map instead of making one."""
        checked(library.bpf_map__reuse_fd(self._map(name), fd), f"reuse of map {name}")

    def load(self) -> None:
        """Hand everything to the kernel, whose verifier may refuse it."""
        checked(library.bpf_object__load(self._object), "load")

    def program_fd(self, name: str) -> int:
        """Return a loaded program's file descriptor, owned by this object."""
        found = library.bpf_object__find_program_by_name(self._object, name.encode())
        if not found:
            raise OSError(2, f"no program {name} in the object file")
        return checked(library.bpf_program__fd(found), name)

    def map_fd(self, name: str) -> int:
        """Return a loaded map's file descriptor, owned by this object."""
        return checked(library.bpf_map__fd(self._map(name)), name)


def _hook(ifindex: int, direction: int) -> _Hook:
    return _Hook(ctypes.sizeof(_Hook), ifindex, direction, 0)


def create_clsact(ifindex: int) -> None:
    """Make sure that the interface has a clsact qdisc, in the current network namespace."""
    result = library.bpf_tc_hook_create(ctypes.byref(_hook(ifindex, INGRESS | EGRESS)))
    if result != -17:  # EEXIST
        checked(result, "clsact")


def destroy_clsact(ifindex: int) -> None:
    """Remove the clsact qdisc with every filter on it."""
    checked(library.bpf_tc_hook_destroy(ctypes.byref(_hook(ifindex, INGRESS | EGRESS))), "clsact")


def attach(ifindex: int, direction: int, handle: int, priority: int, prog_fd: int) -> int:
    """Attach a program, replacing the filter of that handle and priority atomically; return the program's id."""
    options = _TcOptions(ctypes.sizeof(_TcOptions), prog_fd, _REPLACE, 0, handle, priority)
    checked(library.bpf_tc_attach(ctypes.byref(_hook(ifindex, direction)), ctypes.byref(options)), "attach")
    return int(options.prog_id)


def detach(ifindex: int, direction: int, handle: int, priority: int) -> None:
    """Remove the filter of that handle and priority."""
    options = _TcOptions(ctypes.sizeof(_TcOptions), 0, 0, 0, handle, priority)
    checked(library.bpf_tc_detach(ctypes.byref(_hook(ifindex, direction)), ctypes.byref(options)), "detach")


def query(ifindex: int, direction: int, handle: int, priority: int) -> int | None:
    """Return the id of the program attached there, None if there is none."""
    options = _TcOptions(ctypes.sizeof(_TcOptions), 0, 0, 0, handle, priority)
    result = library.bpf_tc_query(ctypes.byref(_hook(ifindex, direction)), ctypes.byref(options))
    if result in (-2, -22):  # ENOENT: no such filter; EINVAL: no clsact
        messages()
        return None
    checked(result, "query")
    return int(options.prog_id)


def query_tcx(ifindex: int, kind: int) -> list[int]:
    """Return the ids of the programs on a tcx hook, in the order in which they run; EINVAL before Linux 6.6."""
    ids = (c_uint32 * _PROGRAMS_MAX)()
    number = c_uint32(len(ids))
    checked(library.bpf_prog_query(ifindex, kind, 0, None, ids, ctypes.byref(number)), "query tcx")
    return list(ids[: number.value])


def attach_tcx(ifindex: int, kind: int, prog_fd: int, instead_of: int | None) -> None:
    """Attach a program at the end of a tcx hook, or atomically in the place of the one of that id."""
    if instead_of is None:
        options = _AttachOptions(ctypes.sizeof(_AttachOptions), 0, 0)
        checked(library.bpf_prog_attach_opts(prog_fd, ifindex, kind, ctypes.byref(options)), "attach")
        return
    with _program_fd(instead_of) as replaced:
        options = _AttachOptions(ctypes.sizeof(_AttachOptions), _REPLACE_TCX, replaced)
        checked(library.bpf_prog_attach_opts(prog_fd, ifindex, kind, ctypes.byref(options)), "attach")


def detach_tcx(ifindex: int, kind: int, prog_id: int) -> None:
    """Remove a program from a tcx hook; ENOENT if it is not there."""
    with _program_fd(prog_id) as fd:
        checked(library.bpf_prog_detach2(fd, ifindex, kind), "detach")


@contextlib.contextmanager
def _program_fd(prog_id: int) -> Iterator[int]:
    fd = checked(library.bpf_prog_get_fd_by_id(prog_id), "program")
    try:
        yield fd
    finally:
        os.close(fd)


def _program_info(fd: int, **fields: int) -> _ProgramInfo:
    info = _ProgramInfo(**fields)
    size = c_uint32(ctypes.sizeof(info))
    checked(library.bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size)), "program")
    return info


def program_id(fd: int) -> int:
    """Return a loaded program's id."""
    return int(_program_info(fd).id)


def run_count(prog_id: int) -> int:
    """Return how often a program has run while runs were counted."""
    with _program_fd(prog_id) as fd:
        return int(_program_info(fd).run_count)


@contextlib.contextmanager
def counted_runs() -> Iterator[None]:
    """Have the kernel count the runs of all programs until the block ends: BPF_ENABLE_STATS, Linux 5.8."""
    fd = checked(library.bpf_enable_stats(0), "counting runs")
    try:
        yield
    finally:
        os.close(fd)


def program(prog_id: int) -> tuple[str, list[int]]:
    """Return a loaded program's name and the ids of its maps."""
    with _program_fd(prog_id) as fd:
        ids = (c_uint32 * 64)()
        info = _program_info(fd, nr_map_ids=len(ids), map_ids=ctypes.addressof(ids))
        return info.name.decode(), list(ids[: info.nr_map_ids])


class Ring:
    """The reading end of a ring buffer map."""

    def __init__(self, fd: int) -> None:
        """Read the map behind `fd`."""
        self._taken: list[bytes] = []
        self._take_one = CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)(self._append)  # kept: libbpf calls it
        self._ring = library.ring_buffer__new(fd, self._take_one, None, None)
        if not self._ring:
            error = ctypes.get_errno()
            raise OSError(error, f"ring buffer: {os.strerror(error)}")

    def _append(self, _: int, data: int, size: int) -> int:
        self._taken.append(ctypes.string_at(data, size))
        return 0

    def fileno(self) -> int:
        """Return a file descriptor that becomes readable when there is something."""
        return int(library.ring_buffer__epoll_fd(self._ring))

    def take(self) -> list[bytes]:
        """Take out everything there is."""
        checked(library.ring_buffer__consume(self._ring), "ring buffer")
        taken, self._taken[:] = list(self._taken), []
        return taken


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
