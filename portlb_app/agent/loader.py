"""Loads an agent's programs and attaches them to an interface of the current network namespace.

The interface's hooks hold programs and maps; nothing is pinned. So an agent is found by asking its interface, it
outlives the process that attached it, and a process started later inherits its maps and replaces its programs, each in
one step: established connections notice neither a crash nor an upgrade. While the process lives it holds the maps, too,
so they also outlive what is attached.
"""

from __future__ import annotations

import contextlib
import enum
import os
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from portlb_app.agent import capabilities, counters, hooks, interface, record, server, versions
from portlb_app.agent.call_result import CallResult
from portlb_app.agent.errors import AgentError
from portlb_app.agent.kernel import libbpf
from portlb_app.agent.kernel.library import messages
from portlb_app.agent.kernel.maps import Map
from portlb_app.agent.mapping import Address, unpacked_vips
from portlb_app.agent.paths import SilentPath, silent
from portlb_app.agent.report import Entries

CONNECTIONS = 65536

_SHARED_MAPS = {
    "client": ("connections", "aliases", "closed", "counters", "paths", "steers", "closures", "scratches"),
    "server": ("connections", "aliases", "closed", "counters", "half_open", "secret", "orphans", "scratches"),
}
_CALLED = {"client": {"client_sweep", "client_end"}, "server": {"server_sweep"}}  # by the process, not by packets
CLOCK = ".data.clock"
_TICK_SHIFT = 30  # as in clock.h

ROLES = hooks.ROLES


class Programs:
    """One role's programs and maps, loaded into the kernel but attached to nothing."""

    def __init__(
        self, role: str, settings: bytes, connections: int = CONNECTIONS, inherited: Mapping[str, int] | None = None
    ) -> None:
        """Load `role` ("client" or "server") with its constants; `inherited` has map file descriptors by name."""
        capabilities.require("loading an agent's eBPF programs")
        versions.check_object_file()
        self.role = role
        self._turn = 0
        messages()
        try:
            self._object = libbpf.Object(str(versions.OBJECT_FILE))
        except OSError as error:
            raise AgentError(f"{versions.OBJECT_FILE} cannot be read, build it again: {error}\n{messages()}") from error
        try:
            section = f".rodata.{role}"
            programs = {f"{role}_{direction}" for direction in hooks.DIRECTIONS}
            self._object.keep_only(programs | _CALLED[role], {*_SHARED_MAPS[role], section, CLOCK})
            self._object.set_initial_value(section, settings)
            self._object.set_initial_value(CLOCK, struct.pack("=II", time.monotonic_ns() >> _TICK_SHIFT, 0))
            self._object.set_max_entries("connections", connections)
            self._object.set_max_entries("aliases", connections)
            self._object.set_max_entries("closed", max(1, connections // 4))
            for name, fd in (inherited or {}).items():
                self._inherit(name, fd)
            self._object.load()
        except OSError as error:
            self._object.close()
            raise AgentError(f"the kernel refused the {role} agent: {error}\n{messages()}") from error
        except AgentError:
            self._object.close()
            raise
        messages()

    def _inherit(self, name: str, fd: int) -> None:
        wanted = self._object.layout(name)
        with contextlib.closing(Map.copy_of(fd)) as opened:
            running = opened.layout
        if not running.is_read_alike(wanted) or running.max_entries != wanted.max_entries:
            raise AgentError(
                f"the running {self.role} agent's map '{name}' has {running}, this one needs {wanted}: start it with "
                "the same --connections, or stop the running agent first (its redirected connections will break)"
            )
        self._object.reuse(name, fd)

    def fd(self, direction: str) -> int:
        """Return the file descriptor of the program for "ingress" or "egress"."""
        return self._object.program_fd(f"{self.role}_{direction}")

    def map_fd(self, name: str) -> int:
        """Return the file descriptor of a map, open until `close`."""
        return self._object.map_fd(name)

    def counters(self) -> dict[str, int]:
        """Return every counter."""
        with contextlib.closing(Map.copy_of(self._object.map_fd("counters"))) as array:
            return counters.read(array)

    def sweep(self, now: int) -> int:
        """Remove what has aged as of `now`, monotonic ns. Return how many connections are open."""
        tick = now >> _TICK_SHIFT
        self._turn += 1
        context = struct.pack("=48xII", tick & 0xFFFFFFFF, self._turn)
        return libbpf.run(self._object.program_fd(f"{self.role}_sweep"), bytes(64), context).verdict

    def silent_paths(self) -> list[SilentPath]:
        """Return the paths that let nothing announced through; a server knows of none."""
        if self.role != "client":
            return []
        with contextlib.closing(Map.copy_of(self._object.map_fd("paths"))) as known:
            return silent(known)

    def end(self, frame: bytes, index: int) -> CallResult:
        """Tell a client's program, on interface `index`, that the server has closed."""
        return CallResult(libbpf.run(self._object.program_fd("client_end"), frame, struct.pack("=48xI", index)).verdict)

    def close(self) -> None:
        """Let go of programs and maps; what is attached stays attached."""
        self._object.close()


class Presence(enum.Enum):
    """What an agent found at its interface."""

    KEPT = enum.auto()
    """Both programs, and they are its own."""
    RESTORED = enum.auto()
    """Some were gone, or those of a start that ended half-way; now they are there again, with the same connections."""
    SUCCEEDED = enum.auto()
    """A program of an agent that was started later: the interface is that one's."""


class Agent:
    """One role's programs, attached to an interface."""

    def __init__(self, name: str, role: str, settings: bytes, connections: int = CONNECTIONS) -> None:
        """Attach to the interface `name`, taking over from the agent of the same role and VIPs if one is attached.

        Agents for other VIPs stay beside it. AgentError if one is for some of its VIPs and for others as well.
        """
        capabilities.require("attaching an agent")
        self._name, self._role, self._connections = name, role, connections
        self._index = interface.index_of(name)
        self._ids: dict[str, int] = {}
        self._half: dict[str, int] = {}  # programs of a successor that had replaced only some at the last look
        self._vips = unpacked_vips(settings)
        with _predecessor(self._index, name, role, settings) as predecessor:
            if difference := versions.this_version().difference(predecessor.maps):
                raise AgentError(
                    f"the running {role} agent is of another version: {difference}. Stop it first (its redirected "
                    "connections will break)"
                )
            self._way = predecessor.way
            self.has_taken_over = bool(predecessor.programs)
            self.programs = Programs(role, settings, connections, predecessor.descriptors())
        self._maps = {shared: os.dup(self.programs.map_fd(shared)) for shared in _SHARED_MAPS[role]}
        try:
            self._attach(self.programs)
        except AgentError:
            self.detach()
            raise

    def map_fd(self, name: str) -> int:
        """Return the file descriptor of a map, the same for as long as the agent lives, whatever is reloaded."""
        return self._maps[name]

    def end(self, frame: bytes) -> CallResult:
        """Tell the program behind a frame to it that the server has closed."""
        return self.programs.end(interface.mac_of(self._name) + frame[6:], self._index)

    def reload(self, settings: bytes) -> None:
        """Go on with other constants and the same connections: each program is replaced in one step.

        AgentError if the kernel refuses; the old ones are then live.
        """
        vips = unpacked_vips(settings)
        for other in hooks.agents(self._index, self._role):
            if other.vips & vips and not set(other.programs.values()) & set(self._ids.values()):
                raise AgentError(f"another {self._role} agent on {self._name} is for {words(other.vips & vips)}")
        fresh = Programs(self._role, settings, self._connections, self._maps)
        try:
            self._attach(fresh)
        except AgentError:
            self._attach(self.programs)
            fresh.close()
            raise
        self.programs.close()
        self.programs, self._vips = fresh, vips

    def stay(self) -> Presence:
        """See that both programs are attached and ours, and attach again what is gone.

        AgentError if the interface is gone, has no room for the programs, or has somebody else's in their place.
        """
        try:
            index = interface.index_of(self._name)
            if index != self._index:
                self._remove()  # the interface may live on under another name
                self._index, self._ids = index, {}
            way, found = hooks.find(index, self._role, self._vips)
        except OSError as error:
            raise AgentError(f"interface {self._name}: {error}") from error
        others = {direction: prog_id for direction, prog_id in found.items() if self._ids.get(direction) != prog_id}
        half, self._half = self._half, others
        if way is not self._way:
            self._remove()
            self._way = way
        if others and len(others) == len(found):
            return Presence.SUCCEEDED
        if others and half != others:
            return Presence.KEPT  # a successor is about to replace the other one, too
        if len(found) == len(hooks.DIRECTIONS) and not others:
            return Presence.KEPT
        self._attach(self.programs)
        return Presence.RESTORED

    def detach(self) -> None:
        """Remove what is still ours from the interface: a successor's programs stay, and so do other people's."""
        self._remove()
        self.release()

    def release(self) -> None:
        """Let go of programs and maps; what is attached stays attached."""
        self._ids.clear()
        self.programs.close()
        for fd in self._maps.values():
            os.close(fd)
        self._maps.clear()

    def _attach(self, programs: Programs) -> None:
        messages()
        try:
            for direction in hooks.DIRECTIONS:
                self._ids[direction] = self._way.attach(
                    self._index, self._role, direction, programs.fd(direction), self._ids.get(direction)
                )
        except OSError as error:
            raise AgentError(f"interface {self._name}: cannot attach: {error}\n{messages()}") from error

    def _remove(self) -> None:
        hooks.remove(self._way, self._index, self._role, self._ids)


@dataclass(frozen=True)
class Running:
    """What is attached to an interface in one role: program ids by direction, maps by name.

    `way`: which way it is attached, or is to be if it is not.
    """

    way: hooks.Way
    programs: dict[str, int]
    maps: dict[str, Map]
    vips: frozenset[Address]

    def constants(self, role: str) -> Iterator[bytes]:
        """Yield the constants of the programs, of each that has some of its own; AgentError for another version's."""
        known = set()
        for prog_id in self.programs.values():
            for map_id in libbpf.program(prog_id)[1]:
                if map_id in known:
                    continue
                known.add(map_id)
                with contextlib.closing(Map.by_id(map_id)) as each:
                    if each.name != f".rodata.{role}" or versions.this_version().difference({each.name: each}):
                        continue
                    if (value := each.lookup(bytes(4))) is not None:
                        yield value

    def descriptors(self) -> dict[str, int]:
        """Return the file descriptors of the maps, which stay this object's."""
        return {name: each.fd for name, each in self.maps.items()}

    def counters(self) -> dict[str, int]:
        """Return every counter."""
        return counters.read(self.maps["counters"])

    def connections(self) -> record.Walk:
        """Return the connections, to be walked over once."""
        return record.Walk(versions.this_version(), self.maps)

    def silent_paths(self) -> list[SilentPath]:
        """Return the paths that let nothing announced through; a server knows of none."""
        return silent(self.maps["paths"]) if "paths" in self.maps else []

    def entries(self) -> dict[str, Entries]:
        """Count the entries of each map that has connections, those left out that are closed and give way to others."""
        found = {}
        if "connections" in self.maps:
            table, reader = self.maps["connections"], record.reader(versions.this_version(), self.maps)
            used = sum(1 for _, value in table.entries() if not reader.is_over(value))
            found["connections"] = Entries(used, table.layout.max_entries)
        if "aliases" in self.maps:
            table = self.maps["aliases"]
            found["aliases"] = Entries(sum(1 for _ in table.entries()), table.layout.max_entries)
        if "half_open" in self.maps:
            table, reader = self.maps["half_open"], record.reader(versions.this_version(), self.maps)
            used = sum(1 for _ in record.half_open_entries(table, reader))
            each = table.layout.value_size // (record.KEY_SIZE + reader.size)
            found["half_open"] = Entries(used, table.layout.max_entries * each)
        return found


@contextlib.contextmanager
def opened(role: str, attached: hooks.Attached) -> Iterator[Running]:
    """Look into an agent until the block ends."""
    maps: dict[str, Map] = {}
    try:
        for prog_id in attached.programs.values():
            _, map_ids = libbpf.program(prog_id)
            for map_id in map_ids:
                found = Map.by_id(map_id)
                if found.name in _SHARED_MAPS[role] and found.name not in maps:
                    maps[found.name] = found
                else:
                    found.close()
    except OSError as error:
        raise AgentError(f"cannot look into the running {role} agent: {error}") from error
    else:
        yield Running(attached.way, attached.programs, maps, attached.vips)
    finally:
        for each in maps.values():
            each.close()


@contextlib.contextmanager
def _predecessor(index: int, name: str, role: str, settings: bytes) -> Iterator[Running]:
    """Look into the agent that one with these settings is to take over from; without programs and maps if none is.

    AgentError if connections of another VIP, or of another server of the same one, would break.
    """
    vips = unpacked_vips(settings)
    try:
        there = [each for each in hooks.agents(index, role) if each.vips & vips]
        way, _ = hooks.find(index, role, vips)
    except OSError as error:
        raise AgentError(f"interface {name}: {error}") from error
    for each in there:
        if others := each.vips - vips:
            raise AgentError(
                f"the {role} agent running on {name} is for {words(others)} as well, whose connections would break: "
                f"start this one for {words(each.vips | vips)}, or end that one first"
            )
    if len(there) > 1:
        each_for = " and ".join(f"one for {words(each.vips)}" for each in there)
        raise AgentError(
            f"{len(there)} {role} agents run on {name}, {each_for}: one can take over from one of them only. Start one "
            "for each, or end the others first"
        )
    with contextlib.ExitStack() as stack:
        if not there:
            yield Running(way, {}, {}, frozenset())
            return
        found = stack.enter_context(opened(role, there[0]))
        if role == "server":
            _check_same_server(name, found, settings)
        yield found


def check(name: str, role: str, settings: bytes) -> None:
    """AgentError if an agent with these settings could not be attached because of another that is."""
    capabilities.require("attaching an agent")
    with _predecessor(interface.index_of(name), name, role, settings):
        pass


def _check_same_server(name: str, found: Running, settings: bytes) -> None:
    """AgentError if no service port of the running agent's is one of these settings'."""
    ports = set(server.service_ports(settings))
    for constants in found.constants("server"):
        there = set(server.service_ports(constants))
        if there and ports and not there & ports:
            raise AgentError(
                f"the server agent running on {name} for {words(found.vips)} has the service ports "
                f"{', '.join(map(str, sorted(there)))}, and this one none of them: it is for another server, whose "
                "connections would break. End that one first"
            )


def words(vips: Iterable[Address]) -> str:
    """Return addresses in order, with commas."""
    return ", ".join(map(str, sorted(vips, key=lambda vip: (vip.version, vip))))


@contextlib.contextmanager
def agents(name: str, any_version: bool = False) -> Iterator[list[tuple[str, Running]]]:
    """Look into the agents attached to the interface `name`, with their roles, until the block ends.

    AgentError if none is, or, unless `any_version`, if one of another version is.
    """
    capabilities.require("looking into an agent")
    index = interface.index_of(name)
    with contextlib.ExitStack() as stack:
        try:
            there = [(role, each) for role in ROLES for each in hooks.agents(index, role)]
        except OSError as error:
            raise AgentError(f"interface {name}: {error}") from error
        if not there:
            raise AgentError(f"no agent is attached to {name} in this network namespace")
        found = [(role, stack.enter_context(opened(role, each))) for role, each in there]
        for role, running in found:
            if not any_version and (difference := versions.this_version().difference(running.maps)):
                raise AgentError(
                    f"the {role} agent on {name} is of another version than this command: {difference}. Use the "
                    "command of its version, or start the agent of this one"
                )
        yield found


def detach(name: str, role: str, running: Running) -> None:
    """Remove an agent's programs from the interface `name`, whoever attached them."""
    hooks.remove(running.way, interface.index_of(name), role, running.programs)
