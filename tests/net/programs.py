"""An agent's programs, loaded once and used for many tests: before each of them, everything they remember is cleared.

Loading costs half a second, most of it the verifier's. Clearing is the only way in which a test writes to a map: what a
packet meets is still made by the packets before it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import struct
import time
from ctypes import c_char_p, c_int, c_uint64, c_void_p

from portlb_app.agent import loader
from portlb_app.agent.kernel import prog
from portlb_app.agent.kernel.library import checked, declare, library
from portlb_app.agent.kernel.maps import Map
from portlb_app.agent.loader import Programs
from tests.net.frames import Packet

HASH, ARRAY, PER_CPU_ARRAY, LRU_HASH, QUEUE, RING = 1, 2, 6, 9, 22, 27
"""Types of maps (enum bpf_map_type of the kernel's bpf.h)."""

declare("bpf_map_delete_elem", c_int, c_int, c_char_p)
declare("bpf_map_update_elem", c_int, c_int, c_char_p, c_char_p, c_uint64)
declare("bpf_map_lookup_and_delete_elem", c_int, c_int, c_void_p, c_void_p)


class Loaded:
    """Programs by role, settings and size of their tables."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, bytes, int], Programs] = {}

    def __call__(self, role: str, settings: bytes, connections: int = loader.CONNECTIONS) -> Programs:
        """Return such programs, which know nothing; those that were returned before for the same are the same ones."""
        known = self._kept.get((role, settings, connections))
        if known is None:
            known = self._kept[role, settings, connections] = Programs(role, settings, connections)
        clear(known)
        return known

    def close(self) -> None:
        """Let go of them all."""
        for programs in self._kept.values():
            programs.close()


def clear(programs: Programs) -> None:
    """Have the programs know nothing, as if they had just been loaded: no entry, all counters 0, the clock right."""
    for name in loader.SHARED_MAPS[programs.role]:
        with contextlib.closing(Map.copy_of(programs.map_fd(name))) as each:
            _clear(each)
    clock = struct.pack("=II", time.monotonic_ns() >> loader.TICK_SHIFT, 0)
    checked(library.bpf_map_update_elem(programs.map_fd(loader.CLOCK), bytes(4), clock, 0), loader.CLOCK)
    programs._turn = 0
    assert not any(programs.counters().values())


def _clear(each: Map) -> None:
    kind = each.layout.type
    if kind in (HASH, LRU_HASH):
        for key, _ in list(each.entries()):
            checked(library.bpf_map_delete_elem(each.fd, key), each.name)
        assert not list(each.entries()), each.name
    elif kind == ARRAY:
        for key, value in each.entries():
            if any(value):
                checked(library.bpf_map_update_elem(each.fd, key, bytes(len(value)), 0), each.name)
    elif kind == PER_CPU_ARRAY:
        for number in range(each.layout.max_entries):
            key = struct.pack("=I", number)
            value = each.lookup(key)
            assert value is not None
            if any(value):
                checked(library.bpf_map_update_elem(each.fd, key, bytes(len(value)), 0), each.name)
    elif kind == QUEUE:
        value = ctypes.create_string_buffer(each.layout.value_size)
        while (result := library.bpf_map_lookup_and_delete_elem(each.fd, None, value)) == 0:
            pass
        assert result == -errno.ENOENT, each.name
    else:
        assert kind == RING, f"map {each.name}: of a type ({kind}) that is not known here"


def send(programs: Programs, packet: Packet) -> prog.RunResult:
    """Let a program see a frame."""
    return prog.run(programs.fd(packet.hook), packet.frame)
