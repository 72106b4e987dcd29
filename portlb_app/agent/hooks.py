"""Where an agent's programs are attached to an interface of the current network namespace.

Two ways: tcx (Linux 6.6) is a list of programs that the kernel runs in order. The older tc filters of cls_bpf on a
clsact qdisc cost every packet about twice as much. Both hold the programs without a process, replace a program in one
step, and let a program pass packets to those behind it.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple, Protocol

from portlb_app.agent import interface
from portlb_app.agent.errors import AgentError
from portlb_app.agent.kernel import prog, tc
from portlb_app.agent.kernel.btf import WrongTypes
from portlb_app.agent.kernel.library import messages
from portlb_app.agent.kernel.maps import Map
from portlb_app.agent.mapping import Address, unpacked_vips

# Ingress first: a client must handle answers before it asks for them.
DIRECTIONS = ("ingress", "egress")
_PRIORITY = 20560
_HANDLES = {"client": 1, "server": 2}
_AGENTS_MAX = 16  # of a role on one interface, by clsact; tcx takes 64 programs on each hook
_NAME_LENGTH = 15  # of a program, in the kernel
_GONE = (errno.ENODEV, errno.ENOENT, errno.EINVAL)  # interface, program, or qdisc

ROLES = tuple(_HANDLES)


class Program(NamedTuple):
    """A program of an agent's, found on a hook."""

    direction: str
    prog_id: int
    vips: frozenset[Address]
    """The addresses it is for."""
    family: int
    """A number that the programs of one agent share, whichever of them have been replaced: the id of their counters."""


class Way(Protocol):
    """One way to attach. Programs are told by ids, in mappings by direction; every function raises OSError."""

    def attached(self, index: int, role: str) -> list[Program]:
        """Return what agents have attached to an interface in a role, in the order in which it runs."""

    def attach(self, index: int, role: str, direction: str, prog_fd: int, own: int | None) -> int:
        """Attach a program in the place of `own`, or of one for some of its VIPs if there is one; return its id.

        AgentError if another program has the place.
        """

    def remove(self, index: int, role: str, ids: Mapping[str, int]) -> None:
        """Remove these programs where they are still attached."""


_ATTEMPTS = 10
"""How often a program's neighbour in the list may vanish while the program is attached."""


class _Tcx:
    """Programs are identified by name and constants: a list has no places to reserve."""

    TYPES = {"ingress": tc.TCX_INGRESS, "egress": tc.TCX_EGRESS}

    def attached(self, index: int, role: str) -> list[Program]:
        return [
            found
            for direction in DIRECTIONS
            for prog_id in tc.query_tcx(index, self.TYPES[direction])
            if (found := _program(prog_id, role, direction))
        ]

    def attach(self, index: int, role: str, direction: str, prog_fd: int, own: int | None) -> int:
        kind, prog_id = self.TYPES[direction], prog.id_of(prog_fd)
        for attempt in range(_ATTEMPTS):
            if prog_id in tc.query_tcx(index, kind):
                break
            there = self._same(index, role, direction, prog_id, own)
            try:
                tc.attach_tcx(index, kind, prog_fd, there[-1] if there else None)
            except FileNotFoundError:  # what it was to follow has just been replaced by another agent
                if not there or attempt == _ATTEMPTS - 1:
                    raise
        for other in self._same(index, role, direction, prog_id, own):  # of an agent that was started at the same time
            self._detach(index, kind, other)
        return prog_id

    def remove(self, index: int, role: str, ids: Mapping[str, int]) -> None:
        for direction, prog_id in ids.items():
            self._detach(index, self.TYPES[direction], prog_id)

    def _same(self, index: int, role: str, direction: str, prog_id: int, own: int | None) -> list[int]:
        """Return the programs that one is to replace: its agent's own before, and those for some of its VIPs."""
        vips = _vips(prog_id, role, direction)
        return [
            each.prog_id
            for each in self.attached(index, role)
            if each.direction == direction and (each.vips & vips or each.prog_id == own) and each.prog_id != prog_id
        ]

    def _detach(self, index: int, kind: int, prog_id: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            tc.detach_tcx(index, kind, prog_id)


class _Clsact:
    """Programs are identified by their place, too: priority and handle of the filter."""

    _HOOKS = {"ingress": tc.INGRESS, "egress": tc.EGRESS}

    def attached(self, index: int, role: str) -> list[Program]:
        return [
            found
            for direction in DIRECTIONS
            for handle in _handles(role)
            if (there := self._there(index, handle, direction)) and (found := _program(there, role, direction))
        ]

    def attach(self, index: int, role: str, direction: str, prog_fd: int, own: int | None) -> int:
        vips = _vips(prog.id_of(prog_fd), role, direction)
        free = None
        for handle in _handles(role):
            there = self._there(index, handle, direction)
            found = _program(there, role, direction) if there else None
            if found and (found.vips & vips or there == own):
                free = handle
                break
            if there and not found:
                raise AgentError(
                    f"another program ('{name_of(there)}') has tc priority {_PRIORITY}, handle {handle} on this "
                    "interface: move it to another priority"
                )
            if not there and free is None:
                free = handle
        if free is None:
            raise AgentError(f"{_AGENTS_MAX} {role} agents are attached by tc filters, which is the most")
        tc.create_clsact(index)
        return tc.attach(index, self._HOOKS[direction], free, _PRIORITY, prog_fd)

    def remove(self, index: int, role: str, ids: Mapping[str, int]) -> None:
        """And the clsact qdisc if no other filter is on it."""
        for direction, prog_id in ids.items():
            for handle in _handles(role):
                if self._there(index, handle, direction) == prog_id:
                    tc.detach(index, self._HOOKS[direction], handle, _PRIORITY)
        if ids and not interface.has_filters(index):
            tc.destroy_clsact(index)

    def _there(self, index: int, handle: int, direction: str) -> int | None:
        return tc.query(index, self._HOOKS[direction], handle, _PRIORITY)


def _handles(role: str) -> Iterator[int]:
    return (_HANDLES[role] + len(_HANDLES) * number for number in range(_AGENTS_MAX))


TCX, CLSACT = _Tcx(), _Clsact()


def has_tcx(index: int) -> bool:
    """Tell whether the kernel attaches programs by tcx."""
    try:
        tc.query_tcx(index, tc.TCX_INGRESS)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        messages()
        return False
    return True


class Attached(NamedTuple):
    """The programs of one agent: ids by direction, the VIPs they are for, and which way they are attached."""

    way: Way
    programs: dict[str, int]
    vips: frozenset[Address]


def agents(index: int, role: str) -> list[Attached]:
    """Return the agents of a role on an interface."""
    found: list[Attached] = []
    for way in (CLSACT, TCX) if has_tcx(index) else (CLSACT,):
        families: dict[int, Attached] = {}
        for each in way.attached(index, role):
            its = families.get(each.family, Attached(way, {}, frozenset()))
            families[each.family] = Attached(way, its.programs | {each.direction: each.prog_id}, its.vips | each.vips)
        found += families.values()
    return found


def find(index: int, role: str, vips: Collection[Address]) -> tuple[Way, dict[str, int]]:
    """Return what is attached in a role for some of these VIPs, and by which way; if nothing is, the way to attach.

    So an agent replaces one that was attached by clsact in its place, in one step.
    """
    its = {
        way: {each.direction: each.prog_id for each in way.attached(index, role) if each.vips & frozenset(vips)}
        for way in ((CLSACT, TCX) if has_tcx(index) else (CLSACT,))
    }
    way = CLSACT if its[CLSACT] or TCX not in its else TCX
    return way, its[way]


def tcx_programs(index: int, direction: str) -> list[int]:
    """Return the ids of the programs on a tcx hook, in the order in which they run; none before Linux 6.6."""
    return tc.query_tcx(index, _Tcx.TYPES[direction]) if has_tcx(index) else []


def foreign_filters(index: int, direction: str) -> list[tuple[bool, str]]:
    """Return the tc filters that are no agent's: whether each runs before an agent, and its description."""
    places = {handle for role in ROLES for handle in _handles(role)}
    found: dict[tuple[int, str], bool] = {}
    for each in interface.filters(index, direction):
        if each.handle and not (each.priority == _PRIORITY and each.kind == "bpf" and each.handle in places):
            found[each.priority, each.kind] = each.priority < _PRIORITY
    return [(before, f"tc filter {kind} of priority {priority}") for (priority, kind), before in sorted(found.items())]


def remove(way: Way, index: int, role: str, ids: Mapping[str, int]) -> None:
    """Remove an agent's programs if they are still there; AgentError if the kernel refuses."""
    try:
        way.remove(index, role, ids)
    except OSError as error:
        if error.errno not in _GONE:
            raise AgentError(f"cannot detach the {role} agent: {error}\n{messages()}") from error


def name_of(prog_id: int) -> str:
    """Return a program's name, empty if it is gone."""
    try:
        return prog.describe(prog_id)[0]
    except FileNotFoundError:
        return ""


def _program(prog_id: int, role: str, direction: str) -> Program | None:
    """Return an agent's program, of any version, identified by its name and its constants' name and types."""
    vips: frozenset[Address] | None = None
    family = 0
    try:
        name, map_ids = prog.describe(prog_id)
        if name != f"{role}_{direction}"[:_NAME_LENGTH]:
            return None
        for map_id in map_ids:
            with contextlib.closing(Map.by_id(map_id)) as opened:
                if opened.name == f".rodata.{role}":
                    vips = _vips_in(opened)
                elif opened.name == "counters":
                    family = map_id
    except FileNotFoundError:
        return None
    return None if vips is None else Program(direction, prog_id, vips, family)


def _vips(prog_id: int, role: str, direction: str) -> frozenset[Address]:
    found = _program(prog_id, role, direction)
    return found.vips if found else frozenset()


def _vips_in(constants: Map) -> frozenset[Address] | None:
    """Return the addresses in an agent's constants; None if these are none of an agent's."""
    try:
        field = constants.fields().get("vips")
    except WrongTypes:
        return None
    value = constants.lookup(bytes(4)) if field else None
    if not field or not value:
        return None
    return unpacked_vips(value[field.offset : field.offset + field.size], (field.size - 8) // 20)
