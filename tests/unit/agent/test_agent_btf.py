"""The types an eBPF object describes itself by: what is read of ours, and that no bytes do harm."""

from __future__ import annotations

import contextlib
import ctypes
import random
import re
import struct

import pytest

from portlb_app.agent import versions
from portlb_app.agent.call_result import CallResult
from portlb_app.agent.kernel import object_file
from portlb_app.agent.kernel.btf import Types, WrongTypes
from portlb_app.agent.kernel.library import library
from portlb_app.agent.record import KEY_SIZE, Reader

SOURCE = versions.OBJECT_FILE.parent


def own_types() -> bytes:
    """The BTF of this version's object."""
    with contextlib.closing(object_file.Object(str(versions.OBJECT_FILE))) as opened:
        size = ctypes.c_uint32()
        data = library.btf__raw_data(library.bpf_object__btf(opened._object), ctypes.byref(size))
        return ctypes.string_at(data, size.value)


def test_enumerations_are_those_of_the_source() -> None:
    """Names and numbers of states, flags and results come out of the object file."""
    types = versions.this_version().types
    text = (SOURCE / "connection.h").read_text(encoding="utf-8")
    (flags,) = re.findall(r"^enum flag \{(.*?)^\};", text, re.S | re.M)
    written = {name: 1 << int(bit) for name, bit in re.findall(r"(\w+) = 1 << (\d+)", flags)}
    assert len(written) > 10 and types.values("flag") == written
    assert types.values("state")["OPENING"] == 1
    results = types.values("call_result")
    assert len(results) > 5 and {name: int(CallResult[name]) for name in results} == results
    assert types.values("no such one") == {}


def test_what_is_read_of_an_entry_is_there() -> None:
    """Each member the record is made of, within the value."""
    layout = versions.this_version().layouts["connections"]
    assert layout.key_size == KEY_SIZE and "connection[" in layout.values and "client@0" in layout.keys
    with contextlib.closing(object_file.Object(str(versions.OBJECT_FILE))) as opened:
        value_type = library.bpf_map__btf_value_type_id(opened._map("connections"))
        reader = Reader(opened.types, opened.types.fields(value_type))
    assert reader.size == layout.value_size
    record = reader.read(bytes(32) + struct.pack("!HH", 40000, 20), bytes(layout.value_size), 7.0)
    assert record and (record.client_port, record.port, record.idle, record.state) == (40000, 20, 7.0, "0")


def test_bytes_that_are_no_types() -> None:
    for data in (b"", b"x" * 7, bytes(24), b"x" * 100):
        with pytest.raises(WrongTypes):
            Types(data)


def test_no_bytes_do_harm() -> None:
    """Cut, turned and mixed up: WrongTypes, or something is read; never another error, never without end."""
    whole, noise = own_types(), random.Random(1)
    layouts = [struct.unpack_from("=I", whole, 0)]
    assert layouts
    read = 0
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(noise.randrange(1, 40)):
            data[noise.randrange(24, len(data))] = noise.randrange(256)
        if noise.random() < 0.3:
            del data[noise.randrange(len(data)) :]
        with contextlib.suppress(WrongTypes):
            types = Types(bytes(data))
            for type_id in range(0, 200, noise.randrange(1, 9)):
                for look in (types.text, types.fields):
                    with contextlib.suppress(WrongTypes):
                        look(type_id)
                        read += 1
            types.values("flag")
    assert read > 100
