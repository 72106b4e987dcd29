"""Loads an agent's programs and attaches them to an interface of the current network namespace.

The attached tc filters hold programs and maps; nothing is pinned. So an agent is found by asking its interface, it
outlives the process that attached it, and a process started later inherits its maps and replaces its filters, each in
one step: established connections notice neither a crash nor an upgrade.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from portlb_app.agent import counters, interface, libbpf
from portlb_app.agent.errors import AgentError

OBJECT_FILE = Path(__file__).with_name("redirect.bpf.o")
CONNECTIONS = 65536

_SHARED_MAPS = ("connections", "counters")
_PRIORITY = 20560
_HANDLES = {"client": 1, "server": 2}
# A client must be able to read answers before it asks for them.
_DIRECTIONS = {"ingress": libbpf.INGRESS, "egress": libbpf.EGRESS}
_TICK_SHIFT = 30  # as in maps.h


class Programs:
    """One role's programs and maps, loaded into the kernel but attached to nothing."""

    def __init__(
        self, role: str, settings: bytes, connections: int = CONNECTIONS, inherited: dict[str, int] | None = None
    ) -> None:
        """Load `role` ("client" or "server") with its constants; `inherited` has map file descriptors by name."""
        if os.geteuid() != 0:
            raise AgentError("an agent loads eBPF programs: run it as root")
        if not OBJECT_FILE.exists():
            raise AgentError(f"{OBJECT_FILE} is missing: build it first (docs/agents.md, 'Building')")
        self.role = role
        libbpf.messages()
        try:
            self._object = libbpf.Object(str(OBJECT_FILE))
        except OSError as error:
            raise AgentError(f"{OBJECT_FILE} cannot be read, build it again: {error}\n{libbpf.messages()}") from error
        try:
            section = f".rodata.{role}"
            programs = {f"{role}_{direction}" for direction in _DIRECTIONS}
            self._object.keep_only(programs | {"sweep"}, {*_SHARED_MAPS, section})
            self._object.set_initial_value(section, settings)
            self._object.set_max_entries("connections", connections)
            for name, fd in (inherited or {}).items():
                self._inherit(name, fd)
            self._object.load()
        except OSError as error:
            self._object.close()
            raise AgentError(f"the kernel refused the {role} agent: {error}\n{libbpf.messages()}") from error
        except AgentError:
            self._object.close()
            raise

    def _inherit(self, name: str, fd: int) -> None:
        _, running = libbpf.map_info(fd)
        wanted = self._object.layout(name)
        if running != wanted:
            raise AgentError(
                f"the running {self.role} agent's map '{name}' is {running}, this one needs {wanted}: start it with "
                "the same --connections, or stop the running agent first (its redirected connections will break)"
            )
        self._object.reuse(name, fd)

    def fd(self, direction: str) -> int:
        """Return the file descriptor of the program for "ingress" or "egress"."""
        return self._object.program_fd(f"{self.role}_{direction}")

    def counters(self) -> dict[str, int]:
        """Return every counter."""
        return counters.read(self._object.map_fd("counters"))

    def sweep(self, seconds_ahead: float = 0) -> None:
        """Remove what has aged; as it will have `seconds_ahead` of now."""
        now = time.monotonic_ns() + int(seconds_ahead * 1e9) >> _TICK_SHIFT
        libbpf.run(self._object.program_fd("sweep"), context=struct.pack("=I", now))

    def close(self) -> None:
        """Let go of programs and maps; what is attached stays attached."""
        self._object.close()


class Agent:
    """One role's programs, attached to an interface."""

    def __init__(self, name: str, role: str, settings: bytes, connections: int = CONNECTIONS) -> None:
        """Attach to the interface `name`, taking over from an agent of the same role if one is attached."""
        self._index = interface.index_of(name)
        self._ids: dict[str, int] = {}
        with _running_maps(self._index, role) as inherited:
            self.programs = Programs(role, settings, connections, inherited)
        try:
            libbpf.create_clsact(self._index)
        except OSError as error:
            self.programs.close()
            raise AgentError(f"interface {name}: cannot get a clsact qdisc: {error}\n{libbpf.messages()}") from error
        try:
            for direction, number in _DIRECTIONS.items():
                self._ids[direction] = libbpf.attach(
                    self._index, number, _HANDLES[role], _PRIORITY, self.programs.fd(direction)
                )
        except OSError as error:
            self.detach()
            raise AgentError(f"interface {name}: cannot attach: {error}\n{libbpf.messages()}") from error

    def detach(self) -> None:
        """Remove what is still ours from the interface: a successor's filters stay, and so do other people's."""
        role = self.programs.role
        for direction, prog_id in self._ids.items():
            number = _DIRECTIONS[direction]
            if libbpf.query(self._index, number, _HANDLES[role], _PRIORITY) == prog_id:
                libbpf.detach(self._index, number, _HANDLES[role], _PRIORITY)
        self._ids.clear()
        self.programs.close()
        if not interface.has_filters(self._index):
            libbpf.destroy_clsact(self._index)


def stats(name: str) -> dict[str, dict[str, int]]:
    """Return every counter of the agents attached to the interface `name`, by role; empty if there is none."""
    if os.geteuid() != 0:
        raise AgentError("reading an agent's counters needs root")
    index = interface.index_of(name)
    found = {}
    for role in _HANDLES:
        with _running_maps(index, role) as maps:
            if maps:
                found[role] = counters.read(maps["counters"])
    return found


@contextlib.contextmanager
def _running_maps(index: int, role: str) -> Iterator[dict[str, int]]:
    """Yield file descriptors, by name, of the shared maps of the agent attached there; empty if there is none."""
    maps: dict[str, int] = {}
    try:
        for direction, number in _DIRECTIONS.items():
            prog_id = libbpf.query(index, number, _HANDLES[role], _PRIORITY)
            if prog_id is None:
                continue
            program, map_ids = libbpf.program(prog_id)
            if program != f"{role}_{direction}"[:15]:
                raise AgentError(
                    f"another program ('{program}') has tc priority {_PRIORITY}, handle {_HANDLES[role]} on this "
                    "interface: move it to another priority"
                )
            for map_id in map_ids:
                fd = libbpf.map_fd(map_id)
                map_name, _ = libbpf.map_info(fd)
                if map_name in _SHARED_MAPS and map_name not in maps:
                    maps[map_name] = fd
                else:
                    os.close(fd)
    except OSError as error:
        raise AgentError(f"cannot look into the running {role} agent, which needs CAP_SYS_ADMIN: {error}") from error
    else:
        yield maps
    finally:
        for fd in maps.values():
            os.close(fd)
