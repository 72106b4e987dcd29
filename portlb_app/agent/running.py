"""Agents that are attached to an interface of the current network namespace: what they are, and what they know.

Nothing is pinned: an agent is found by asking its interface's hooks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from portlb_app.agent import capabilities, counters, hooks, interface, record, versions
from portlb_app.agent.errors import AgentError
from portlb_app.agent.kernel import prog
from portlb_app.agent.kernel.maps import Map
from portlb_app.agent.loader import SHARED_MAPS
from portlb_app.agent.mapping import Address
from portlb_app.agent.paths import SilentPath, silent
from portlb_app.agent.report import Entries


@dataclass(frozen=True)
class Running:
    """What is attached to an interface in one role: program ids by direction, maps by name.

    `way`: how it is attached, or will be.
    """

    way: hooks.Way
    programs: dict[str, int]
    maps: dict[str, Map]
    vips: frozenset[Address]

    def constants(self, role: str) -> Iterator[bytes]:
        """Yield the constants of the programs, of each that has some of its own; AgentError for another version's."""
        known = set()
        for prog_id in self.programs.values():
            for map_id in prog.describe(prog_id)[1]:
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
        """Return the silent paths; a server knows none."""
        return silent(self.maps["paths"]) if "paths" in self.maps else []

    def entries(self) -> dict[str, Entries]:
        """Count the entries of each map of connections, but for closed ones, which make room for others."""
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
    """Open an agent's maps until the block ends."""
    maps: dict[str, Map] = {}
    try:
        for prog_id in attached.programs.values():
            _, map_ids = prog.describe(prog_id)
            for map_id in map_ids:
                found = Map.by_id(map_id)
                if found.name in SHARED_MAPS[role] and found.name not in maps:
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


def words(vips: Iterable[Address]) -> str:
    """Return addresses in order, with commas."""
    return ", ".join(map(str, sorted(vips, key=lambda vip: (vip.version, vip))))


@contextlib.contextmanager
def agents(name: str, any_version: bool = False) -> Iterator[list[tuple[str, Running]]]:
    """Open the agents attached to the interface `name`, with their roles, until the block ends.

    AgentError if none is, or, unless `any_version`, if one of another version is.
    """
    capabilities.require("looking into an agent")
    index = interface.index_of(name)
    with contextlib.ExitStack() as stack:
        try:
            there = [(role, each) for role in hooks.ROLES for each in hooks.agents(index, role)]
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
    """Remove an agent's programs from the interface `name`, whichever process attached them."""
    hooks.remove(running.way, interface.index_of(name), role, running.programs)
