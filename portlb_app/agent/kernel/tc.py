"""The hooks of an interface: tcx lists (Linux 6.6), and the older tc filters of cls_bpf on a clsact qdisc.

All in the current network namespace. Every function raises OSError with the kernel's errno.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_int, c_size_t, c_uint32, c_void_p

from portlb_app.agent.kernel import prog
from portlb_app.agent.kernel.library import checked, declare, library, messages

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


for _name in ("bpf_tc_attach", "bpf_tc_detach", "bpf_tc_query"):
    declare(_name, c_int, POINTER(_Hook), POINTER(_TcOptions))
for _name in ("bpf_tc_hook_create", "bpf_tc_hook_destroy"):
    declare(_name, c_int, POINTER(_Hook))
declare("bpf_prog_attach_opts", c_int, c_int, c_int, c_int, POINTER(_AttachOptions))
declare("bpf_prog_detach2", c_int, c_int, c_int, c_int)
declare("bpf_prog_query", c_int, c_int, c_int, c_uint32, c_void_p, c_void_p, POINTER(c_uint32))


def _hook(ifindex: int, direction: int) -> _Hook:
    return _Hook(ctypes.sizeof(_Hook), ifindex, direction, 0)


def create_clsact(ifindex: int) -> None:
    """Make sure that the interface has a clsact qdisc."""
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
    with prog.opened(instead_of) as replaced:
        options = _AttachOptions(ctypes.sizeof(_AttachOptions), _REPLACE_TCX, replaced)
        checked(library.bpf_prog_attach_opts(prog_fd, ifindex, kind, ctypes.byref(options)), "attach")


def detach_tcx(ifindex: int, kind: int, prog_id: int) -> None:
    """Remove a program from a tcx hook; ENOENT if it is not there."""
    with prog.opened(prog_id) as fd:
        checked(library.bpf_prog_detach2(fd, ifindex, kind), "detach")
