"""The types that a compiled eBPF object describes itself by, and the kernel the maps it loaded from it: BTF.

Documentation/bpf/btf.rst of the kernel. Only what the agents' maps are made of is read: integers, arrays, structs,
unions, enumerations, and the names and qualifiers around them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_HEADER = struct.Struct("=HBBIIIII")  # magic, version, flags, length; offset and length of types and of strings
_MAGIC = 0xEB9F
_TYPE = struct.Struct("=III")  # name, kind and number of members, size or another type
_INT, _POINTER, _ARRAY, _STRUCT, _UNION, _ENUM, _FORWARD, _TYPEDEF = range(1, 9)
_VOLATILE, _CONST, _RESTRICT, _FUNCTION, _PROTOTYPE, _VARIABLE, _SECTION, _FLOAT = range(9, 17)
_DECLARATION_TAG, _TYPE_TAG, _ENUM64 = 17, 18, 19
_SAME = (_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG)
_BEHIND = {  # bytes behind a type, and for each of its members
    _INT: (4, 0), _ARRAY: (12, 0), _STRUCT: (0, 12), _UNION: (0, 12), _ENUM: (0, 8), _PROTOTYPE: (0, 8),
    _VARIABLE: (4, 0), _SECTION: (0, 12), _DECLARATION_TAG: (4, 0), _ENUM64: (0, 12),
}  # fmt: skip
_DEEPEST = 8  # types within types


class WrongTypes(Exception):
    """The bytes are not BTF, or describe something that no map of an agent's has."""


@dataclass(frozen=True)
class Field:
    """A member of a struct: bytes from its beginning, and size."""

    offset: int
    size: int


@dataclass(frozen=True)
class _Type:
    name: str
    kind: int
    members: int
    flag: bool
    size: int
    rest: bytes


class Types:
    """The types in some BTF; WrongTypes if the bytes are none."""

    def __init__(self, data: bytes) -> None:
        """Read it."""
        try:
            magic, _, _, length, types_at, types_length, strings_at, strings_length = _HEADER.unpack_from(data)
        except struct.error as error:
            raise WrongTypes(str(error)) from error
        if magic != _MAGIC:
            raise WrongTypes("these bytes do not describe types")
        self._strings = data[length + strings_at :][:strings_length]
        self._types = [_Type("", 0, 0, False, 0, b"")]
        at, end = length + types_at, min(length + types_at + types_length, len(data))
        while at + _TYPE.size <= end:
            name, info, size = _TYPE.unpack_from(data, at)
            kind, members = info >> 24 & 0x1F, info & 0xFFFF
            fixed, each = _BEHIND.get(kind, (0, 0))
            at += _TYPE.size
            rest = data[at : at + fixed + each * members]
            if len(rest) < fixed + each * members:
                raise WrongTypes("the types are cut short")
            self._types.append(_Type(self._text(name), kind, members, bool(info >> 31), size, rest))
            at += len(rest)

    def fields(self, type_id: int, depth: int = 0) -> dict[str, Field]:
        """Return the members of a struct by name, those of a nameless one within it as its own."""
        found: dict[str, Field] = {}
        if depth > _DEEPEST:
            raise WrongTypes("types within types without end")
        this = self._plain(type_id)
        if this.kind not in (_STRUCT, _UNION):
            raise WrongTypes(f"{this.name or 'a type'} has no members")
        for name, member_id, offset in self._members(this):
            if name:
                found[name] = Field(offset, self._size(member_id))
            else:
                inner = self.fields(member_id, depth + 1)
                found |= {each: Field(offset + field.offset, field.size) for each, field in inner.items()}
        return found

    def values(self, name: str) -> dict[str, int]:
        """Return the names and values of an enumeration, none if there is no such one."""
        for each in self._types:
            if each.kind == _ENUM and each.name == name:
                rows = struct.iter_unpack("=Ii", each.rest)
                return {self._text(at): value for at, value in rows}
        return {}

    def text(self, type_id: int, depth: int = 0) -> str:
        """Return all that values of a type depend on, in words: equal for two that can be read alike."""
        this = self._plain(type_id)
        if depth > _DEEPEST:
            raise WrongTypes("types within types without end")
        if this.kind in (_STRUCT, _UNION):
            inner = (f"{name}@{offset}:{self.text(each, depth + 1)}" for name, each, offset in self._members(this))
            return f"{this.name}[{this.size}]{{{', '.join(inner)}}}"
        if this.kind == _ARRAY:
            element, _, number = struct.unpack("=III", this.rest)
            return f"{number} x {self.text(element, depth + 1)}"
        return str(self._size(type_id))

    def _plain(self, type_id: int) -> _Type:
        """Return a type without the names and qualifiers around it."""
        for _ in range(32):
            try:
                this = self._types[type_id]
            except IndexError as error:
                raise WrongTypes(f"there is no type {type_id}") from error
            if this.kind == _VARIABLE or this.kind in _SAME:
                type_id = this.size
            elif this.kind == _SECTION and this.members == 1:
                (type_id,) = struct.unpack_from("=I", this.rest)
            else:
                return this
        raise WrongTypes("types that stand for each other")

    def _members(self, this: _Type) -> Iterator[tuple[str, int, int]]:
        """Yield name, type and offset in bytes of each member."""
        for name, member_id, bits in struct.iter_unpack("=III", this.rest):
            offset = bits & 0xFFFFFF if this.flag else bits
            if offset % 8 or this.flag and bits >> 24:
                raise WrongTypes(f"{this.name} has members smaller than a byte")
            yield self._text(name), member_id, offset // 8

    def _size(self, type_id: int) -> int:
        size = 1
        for _ in range(_DEEPEST):
            this = self._plain(type_id)
            if this.kind == _POINTER:
                return size * 8
            if this.kind != _ARRAY:
                return size * this.size
            type_id, _, number = struct.unpack("=III", this.rest)
            size *= number
        raise WrongTypes("arrays of arrays without end")

    def _text(self, at: int) -> str:
        return self._strings[at : self._strings.find(b"\0", at)].decode(errors="replace")
