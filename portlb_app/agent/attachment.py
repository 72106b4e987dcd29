"""Attaches an agent's programs to an interface of the current network namespace, and keeps them attached.

The interface's hooks hold programs and maps; nothing is pinned. So an agent outlives the process that attached it. A
process started later inherits its maps and replaces its programs, each in one step: open connections notice neither a
crash nor an upgrade. A process also holds the maps, so they outlive the programs on the hooks.
"""

from __future__ import annotations

import contextlib
import enum
import os
from collections.abc import Iterator

from portlb_app.agent import capabilities, hooks, interface, server, versions
from portlb_app.agent.call_result import CallResult
from portlb_app.agent.errors import AgentError
from portlb_app.agent.kernel.library import messages
from portlb_app.agent.loader import CONNECTIONS, SHARED_MAPS, Programs
from portlb_app.agent.mapping import unpacked_vips
from portlb_app.agent.running import Running, opened, words


class Presence(enum.Enum):
    """What an agent finds at its interface."""

    KEPT = enum.auto()
    """Both of its own programs."""
    RESTORED = enum.auto()
    """A program was missing, or a start had ended half-way; both are attached again, with the same connections."""
    TAKEN_OVER = enum.auto()
    """An agent that was started later has taken over."""


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
        self._half: dict[str, int] = {}  # programs of a successor that had replaced only one at the last look
        self.settings, self.vips = settings, unpacked_vips(settings)
        """The constants in force, and the VIPs that they name."""
        with _predecessor(self._index, name, role, settings) as predecessor:
            if difference := versions.this_version().difference(predecessor.maps):
                raise AgentError(
                    f"the running {role} agent is of another version: {difference}. Stop it first (its redirected "
                    "connections will break)"
                )
            self._way = predecessor.way
            self.has_taken_over = bool(predecessor.programs)
            self.programs = Programs(role, settings, connections, predecessor.descriptors())
        self._maps = {shared: os.dup(self.programs.map_fd(shared)) for shared in SHARED_MAPS[role]}
        try:
            self._attach(self.programs)
        except AgentError:
            self.detach()
            raise

    def map_fd(self, name: str) -> int:
        """Return the file descriptor of a map, the same for as long as the agent lives, whatever is reloaded."""
        return self._maps[name]

    def end(self, frame: bytes) -> CallResult:
        """Inject a FIN into the program behind a frame to it."""
        return self.programs.end(interface.mac_of(self._name) + frame[6:], self._index)

    def reload(self, settings: bytes) -> None:
        """Load other constants and keep the connections: each program is replaced in one step.

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
        self.programs, self.settings, self.vips = fresh, settings, vips

    def stay(self) -> Presence:
        """Check that both programs are attached and ours, and attach again what is gone.

        AgentError if the interface is gone, has no room for the programs, or has other programs in their place.
        """
        try:
            index = interface.index_of(self._name)
            if index != self._index:
                self._remove()  # the interface may live on under another name
                self._index, self._ids = index, {}
            way, found = hooks.find(index, self._role, self.vips)
        except OSError as error:
            raise AgentError(f"interface {self._name}: {error}") from error
        others = {direction: prog_id for direction, prog_id in found.items() if self._ids.get(direction) != prog_id}
        half, self._half = self._half, others
        if way is not self._way:
            self._remove()
            self._way = way
        if others and len(others) == len(found):
            return Presence.TAKEN_OVER
        if others and half != others:
            return Presence.KEPT  # a successor is about to replace the other one
        if len(found) == len(hooks.DIRECTIONS) and not others:
            return Presence.KEPT
        self._attach(self.programs)
        return Presence.RESTORED

    def detach(self) -> None:
        """Remove this agent's programs from the interface; all others stay."""
        self._remove()
        self.release()

    def release(self) -> None:
        """Close programs and maps; what is attached stays attached."""
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


@contextlib.contextmanager
def _predecessor(index: int, name: str, role: str, settings: bytes) -> Iterator[Running]:
    """Open the agent that one with these settings takes over from; without programs and maps if there is none.

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
                f"the running {role} agent on {name} also serves {words(others)}; its connections would break: "
                f"start this one for {words(each.vips | vips)}, or end the running one first"
            )
    if len(there) > 1:
        each_for = " and ".join(f"one for {words(each.vips)}" for each in there)
        raise AgentError(
            f"{len(there)} {role} agents run on {name}, {each_for}: a new one can take over from one only. Start one "
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
    """AgentError if an attached agent prevents one with these settings."""
    capabilities.require("attaching an agent")
    with _predecessor(interface.index_of(name), name, role, settings):
        pass


def _check_same_server(name: str, found: Running, settings: bytes) -> None:
    """AgentError unless the running agent and these settings have a service port in common."""
    ports = set(server.service_ports(settings))
    for constants in found.constants("server"):
        there = set(server.service_ports(constants))
        if there and ports and not there & ports:
            raise AgentError(
                f"the server agent running on {name} for {words(found.vips)} has the service ports "
                f"{', '.join(map(str, sorted(there)))}, and this one has none of them: it is for another "
                "server. The connections of the running one would break: end it first"
            )
