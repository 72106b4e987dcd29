"""An eBPF object file: libbpf opens it, then loads the chosen programs and maps into the kernel.

Every function raises OSError with the kernel's errno. `library.messages` has what libbpf and the verifier say about it.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from collections.abc import Iterator
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint32, c_void_p

from portlb_app.agent.kernel.btf import Types
from portlb_app.agent.kernel.library import checked, declare, library
from portlb_app.agent.kernel.maps import Layout, types_of

for _name in ("bpf_object__find_program_by_name", "bpf_object__find_map_by_name"):
    declare(_name, c_void_p, c_void_p, c_char_p)
for _name in ("bpf_object__next_program", "bpf_object__next_map"):
    declare(_name, c_void_p, c_void_p, c_void_p)
for _name in ("bpf_program__name", "bpf_map__name"):
    declare(_name, c_char_p, c_void_p)
for _name in ("bpf_map__btf_key_type_id", "bpf_map__btf_value_type_id"):
    declare(_name, c_uint32, c_void_p)
for _name in ("bpf_map__type", "bpf_map__key_size", "bpf_map__value_size", "bpf_map__max_entries"):
    declare(_name, c_uint32, c_void_p)
for _name in ("bpf_object__load", "bpf_program__fd", "bpf_map__fd"):
    declare(_name, c_int, c_void_p)
for _name in ("bpf_program__set_autoload", "bpf_map__set_autocreate"):
    declare(_name, c_int, c_void_p, ctypes.c_bool)
declare("bpf_object__open_file", c_void_p, c_char_p, c_void_p)
declare("bpf_object__close", None, c_void_p)
declare("bpf_object__btf", c_void_p, c_void_p)
declare("btf__raw_data", c_void_p, c_void_p, POINTER(c_uint32))
declare("bpf_map__reuse_fd", c_int, c_void_p, c_int)
declare("bpf_map__set_max_entries", c_int, c_void_p, c_uint32)
declare("bpf_map__set_initial_value", c_int, c_void_p, c_char_p, c_size_t)


class Object:
    """An object file: opened, told what to load and which maps to inherit, then loaded."""

    def __init__(self, path: str) -> None:
        self._object = library.bpf_object__open_file(path.encode(), None)
        if not self._object:
            error = ctypes.get_errno()
            raise OSError(error, f"{path}: {os.strerror(error)}")

    def close(self) -> None:
        """Close programs and maps; what is attached stays attached."""
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
        """Load everything into the kernel; its verifier may refuse."""
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
