"""Maps of the kernel. Every size is asked of the kernel, so no call reads or writes beyond what a map has."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import struct
from collections.abc import Iterator
from ctypes import POINTER, Structure, c_char, c_char_p, c_int, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Self

from portlb_app.agent.kernel.btf import Field, Types, WrongTypes
from portlb_app.agent.kernel.library import checked, declare, library

_BATCH = 4096  # entries asked for at once
_FULLEST = 1 << 16  # entries of one bucket of a hash map: none can have more
_PER_CPU = (5, 6, 10)  # hash, array, LRU hash
_UNDESCRIBED = (22, 23)  # queue, stack: libbpf loads them without their types


class _MapInfo(Structure):
    """The head of struct bpf_map_info."""

    _fields_ = [
        ("type", c_uint32),
        ("id", c_uint32),
        ("key_size", c_uint32),
        ("value_size", c_uint32),
        ("max_entries", c_uint32),
        ("map_flags", c_uint32),
        ("name", c_char * 16),
        ("ifindex", c_uint32),
        ("btf_vmlinux_value_type_id", c_uint32),
        ("netns_dev", c_uint64),
        ("netns_ino", c_uint64),
        ("btf_id", c_uint32),
        ("btf_key_type_id", c_uint32),
        ("btf_value_type_id", c_uint32),
    ]


class _BtfInfo(Structure):
    """The head of struct bpf_btf_info."""

    _fields_ = [("btf", c_uint64), ("btf_size", c_uint32), ("id", c_uint32)]


declare("bpf_map_get_fd_by_id", c_int, c_uint32)
declare("bpf_btf_get_fd_by_id", c_int, c_uint32)
declare("bpf_obj_get_info_by_fd", c_int, c_int, c_void_p, POINTER(c_uint32))
declare("bpf_map_lookup_elem", c_int, c_int, c_char_p, c_void_p)
declare(
    "bpf_map_lookup_batch", c_int, c_int, c_void_p, c_void_p, c_void_p, c_void_p, POINTER(c_uint32), c_void_p
)  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """What two versions of an agent must agree on to share a map; keys and values in the words of `btf.Types.text`."""

    type: int
    key_size: int
    value_size: int
    max_entries: int
    keys: str
    values: str

    def __str__(self) -> str:
        return f"{self.max_entries} entries of {self.key_size} + {self.value_size} bytes"

    def is_read_alike(self, other: Layout) -> bool:
        """Tell whether entries of one are entries of the other, however many there may be."""
        sizes = (self.type, self.key_size, self.value_size) == (other.type, other.key_size, other.value_size)
        described = self.type not in _UNDESCRIBED
        return sizes and (not described or (self.keys, self.values) == (other.keys, other.values))


def types_of(types: Types | None, type_id: int) -> str:
    """Return a type in words, "" if it is not described."""
    try:
        return types.text(type_id) if types and type_id else ""
    except WrongTypes as error:
        return str(error)


class Map:
    """A map of the kernel by a file descriptor of its own."""

    def __init__(self, fd: int) -> None:
        """Take over the descriptor; OSError, and it is closed, if it is no map's."""
        self.fd = fd
        try:
            info = _info(_MapInfo(), fd, "map")
            self.name: str = info.name.decode(errors="replace")
            self.types = _types(info.btf_id) if info.btf_id else None
        except OSError:
            os.close(fd)
            raise
        self._key_type, self._value_type = info.btf_key_type_id, info.btf_value_type_id
        texts = types_of(self.types, self._key_type), types_of(self.types, self._value_type)
        self.layout = Layout(info.type, info.key_size, info.value_size, info.max_entries, *texts)
        self._value_size = info.value_size
        if info.type in _PER_CPU:
            self._value_size = (info.value_size + 7 & ~7) * checked(library.libbpf_num_possible_cpus(), "processors")

    @classmethod
    def by_id(cls, map_id: int) -> Self:
        """Open a map; OSError if it is gone."""
        return cls(checked(library.bpf_map_get_fd_by_id(map_id), "map"))

    @classmethod
    def copy_of(cls, fd: int) -> Self:
        """Open the map of a descriptor that stays its owner's."""
        return cls(os.dup(fd))

    def close(self) -> None:
        """Let go of it."""
        os.close(self.fd)

    def fields(self) -> dict[str, Field]:
        """Return where the members of a value are; WrongTypes if the map does not say."""
        if self.types is None:
            raise WrongTypes(f"the map {self.name} does not describe its values")
        return self.types.fields(self._value_type)

    def lookup(self, key: bytes) -> bytes | None:
        """Return the whole value for a key of the map's size, None if there is none; of each processor, in a row."""
        if len(key) != self.layout.key_size:
            raise OSError(errno.EINVAL, f"map {self.name}: a key has {self.layout.key_size} bytes, not {len(key)}")
        value = ctypes.create_string_buffer(self._value_size)
        return value.raw if library.bpf_map_lookup_elem(self.fd, key, value) == 0 else None

    def sum(self, index: int) -> int:
        """Return the sum over all processors of one element of a per-CPU array of 64-bit numbers."""
        if self.layout.value_size != 8 or self.layout.type not in _PER_CPU:
            raise OSError(errno.EINVAL, f"map {self.name}: no numbers, one for each processor")
        value = self.lookup(struct.pack("=I", index))
        if value is None:
            raise OSError(errno.ENOENT, f"map {self.name}: no element {index}")
        return sum(struct.unpack(f"={len(value) // 8}Q", value))

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys and values of a hash map, each key once, in one walk over its buckets, while it changes.

        What is put in or taken out meanwhile may be missed.
        """
        if self.layout.type in _PER_CPU:
            raise OSError(errno.EINVAL, f"map {self.name}: values of each processor")
        place = ctypes.create_string_buffer(max(self.layout.key_size, 4))
        first, most, more = True, _BATCH, True
        while more:
            number = c_uint32(most)
            keys = ctypes.create_string_buffer(most * self.layout.key_size)
            values = ctypes.create_string_buffer(most * self.layout.value_size)
            result = library.bpf_map_lookup_batch(
                self.fd, None if first else place, place, keys, values, ctypes.byref(number), None
            )
            if result == -errno.ENOSPC and most < _FULLEST:  # a bucket has more than asked for
                most *= 4
                continue
            more = result != -errno.ENOENT
            if more:
                checked(result, f"map {self.name}")
            first = False
            all_keys, all_values = keys.raw, values.raw
            for at in range(number.value):
                yield (
                    all_keys[at * self.layout.key_size : (at + 1) * self.layout.key_size],
                    all_values[at * self.layout.value_size : (at + 1) * self.layout.value_size],
                )


def _info(info: Structure, fd: int, what: str) -> Structure:
    size = c_uint32(ctypes.sizeof(info))
    checked(library.bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size)), what)
    return info


@functools.lru_cache(maxsize=16)  # an agent's maps have the same
def _types(btf_id: int) -> Types | None:
    """Return the types a map was loaded with."""
    fd = checked(library.bpf_btf_get_fd_by_id(btf_id), "types")
    try:
        size = _info(_BtfInfo(), fd, "types").btf_size
        data = ctypes.create_string_buffer(size)
        _info(_BtfInfo(ctypes.addressof(data), size), fd, "types")
    finally:
        os.close(fd)
    try:
        return Types(data.raw)
    except WrongTypes:
        return None
