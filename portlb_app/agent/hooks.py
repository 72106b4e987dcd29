"""Where an agent's programs are attached to an interface of the current network namespace.

Two ways: tcx (Linux 6.6), a list of programs that the kernel runs one after the other, and the older tc filters of
cls_bpf on a clsact qdisc, which cost every packet about twice as much. Both hold the programs without a process, both
replace a program in one step, and a program of either passes packets on to those behind it.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Mapping
from typing import Protocol

from portlb_app.agent import interface, libbpf
from portlb_app.agent.errors import AgentError
from portlb_app.agent.kernel.btf import WrongTypes
from portlb_app.agent.kernel.library import messages
from portlb_app.agent.kernel.maps import Map

# A client must be able to read answers before it asks for them.
DIRECTIONS = ("ingress", "egress")
_PRIORITY = 20560
_HANDLES = {"client": 1, "server": 2}
_NAME_LENGTH = 15  # of a program, in the kernel
_GONE = (errno.ENODEV, errno.ENOENT, errno.EINVAL)  # interface, program, or qdisc

ROLES = tuple(_HANDLES)


class Way(Protocol):
    """One way to attach. Programs are told by ids, in mappings by direction; every function raises OSError."""

    def attached(self, index: int, role: str) -> dict[str, int]:
        """Return what is attached to an interface in a role."""

    def attach(self, index: int, role: str, direction: str, prog_fd: int) -> int:
        """Attach a program in the place of the one that is there, if any; return its id.

        AgentError if the place is somebody else's.
        """

    def remove(self, index: int, role: str, ids: Mapping[str, int]) -> None:
        """Remove these programs where they are still attached."""


class _Tcx:
    """An agent's programs are known by their names and maps: a list has no places that could be reserved."""

    _TYPES = {"ingress": libbpf.TCX_INGRESS, "egress": libbpf.TCX_EGRESS}

    def attached(self, index: int, role: str) -> dict[str, int]:
        found = {direction: self._ours(index, role, direction) for direction in DIRECTIONS}
        return {direction: ids[-1] for direction, ids in found.items() if ids}

    def attach(self, index: int, role: str, direction: str, prog_fd: int) -> int:
        kind, prog_id = self._TYPES[direction], libbpf.program_id(prog_fd)
        there = self._ours(index, role, direction)
        if prog_id not in there:
            libbpf.attach_tcx(index, kind, prog_fd, there[-1] if there else None)
        for other in self._ours(index, role, direction):  # of an agent that was started at the same time
            if other != prog_id:
                self._detach(index, kind, other)
        return prog_id

    def remove(self, index: int, role: str, ids: Mapping[str, int]) -> None:
        for direction, prog_id in ids.items():
            self._detach(index, self._TYPES[direction], prog_id)

    def _detach(self, index: int, kind: int, prog_id: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            libbpf.detach_tcx(index, kind, prog_id)

    def _ours(self, index: int, role: str, direction: str) -> list[int]:
        return [
            prog_id
            for prog_id in libbpf.query_tcx(index, self._TYPES[direction])
            if _is_ours(prog_id, role, direction)
        ]


class _Clsact:
    """An agent's programs are known by their place: priority and handle of the filter."""

    _HOOKS = {"ingress": libbpf.INGRESS, "egress": libbpf.EGRESS}

    def attached(self, index: int, role: str) -> dict[str, int]:
        found = {direction: self._there(index, role, direction) for direction in DIRECTIONS}
        return {
            direction: prog_id
            for direction, prog_id in found.items()
            if prog_id is not None and _is_ours(prog_id, role, direction)
        }

    def attach(self, index: int, role: str, direction: str, prog_fd: int) -> int:
        there = self._there(index, role, direction)
        if there is not None and not _is_ours(there, role, direction):
            raise AgentError(
                f"another program ('{_name(there)}') has tc priority {_PRIORITY}, handle {_HANDLES[role]} on this "
                "interface: move it to another priority"
            )
        libbpf.create_clsact(index)
        return libbpf.attach(index, self._HOOKS[direction], _HANDLES[role], _PRIORITY, prog_fd)

    def remove(self, index: int, role: str, ids: Mapping[str, int]) -> None:
        """And the clsact qdisc if no other filter is on it."""
        for direction, prog_id in ids.items():
            if self._there(index, role, direction) == prog_id:
                libbpf.detach(index, self._HOOKS[direction], _HANDLES[role], _PRIORITY)
        if ids and not interface.has_filters(index):
            libbpf.destroy_clsact(index)

    def _there(self, index: int, role: str, direction: str) -> int | None:
        return libbpf.query(index, self._HOOKS[direction], _HANDLES[role], _PRIORITY)


TCX, CLSACT = _Tcx(), _Clsact()


def has_tcx(index: int) -> bool:
    """Tell whether the kernel attaches programs by tcx."""
    try:
        libbpf.query_tcx(index, libbpf.TCX_INGRESS)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        messages()
        return False
    return True


def find(index: int, role: str) -> tuple[Way, dict[str, int]]:
    """Return what is attached in a role, and which way; if nothing is, the way to attach.

    So an agent takes over from one that was attached by clsact in its place, in one step.
    """
    if not has_tcx(index):
        return CLSACT, CLSACT.attached(index, role)
    by_filter = CLSACT.attached(index, role)
    return (CLSACT, by_filter) if by_filter else (TCX, TCX.attached(index, role))


def remove(way: Way, index: int, role: str, ids: Mapping[str, int]) -> None:
    """Remove an agent's programs if they are still there; AgentError if the kernel refuses."""
    try:
        way.remove(index, role, ids)
    except OSError as error:
        if error.errno not in _GONE:
            raise AgentError(f"cannot detach the {role} agent: {error}\n{messages()}") from error


def _name(prog_id: int) -> str:
    """Return a program's name, empty if it is gone."""
    try:
        return libbpf.program(prog_id)[0]
    except FileNotFoundError:
        return ""


def _is_ours(prog_id: int, role: str, direction: str) -> bool:
    """Tell whether a program is an agent's, of whatever version: by its name, and by its constants' name and types."""
    try:
        name, map_ids = libbpf.program(prog_id)
        return name == f"{role}_{direction}"[:_NAME_LENGTH] and any(_are_constants(each, role) for each in map_ids)
    except FileNotFoundError:
        return False


def _are_constants(map_id: int, role: str) -> bool:
    with contextlib.closing(Map.by_id(map_id)) as opened, contextlib.suppress(WrongTypes):
        return opened.name == f".rodata.{role}" and "vips" in opened.fields()
    return False
