"""Loads one role's programs and maps into the kernel, and calls the programs that no packet runs."""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Mapping

from portlb_app.agent import capabilities, counters, hooks, versions
from portlb_app.agent.call_result import CallResult
from portlb_app.agent.errors import AgentError
from portlb_app.agent.kernel import object_file, prog
from portlb_app.agent.kernel.library import messages
from portlb_app.agent.kernel.maps import Map
from portlb_app.agent.paths import SilentPath, silent

CONNECTIONS = 65536

SHARED_MAPS = {
    "client": ("connections", "aliases", "closed", "counters", "paths", "steers", "closures", "scratches"),
    "server": (
        *("connections", "aliases", "closed", "counters"),
        *("half_open", "secret", "orphans", "elsewhere", "scratches"),
    ),
}
_OWN_MAPS: Mapping[str, tuple[str, ...]] = {"client": (), "server": ("cookies",)}
"""Maps that a successor does not inherit: what they know is of use for a moment."""
_CALLED = {"client": {"client_sweep", "client_end"}, "server": {"server_sweep"}}  # programs that the process calls
CLOCK = ".data.clock"
TICK_SHIFT = 30  # as in clock.h


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
            self._object = object_file.Object(str(versions.OBJECT_FILE))
        except OSError as error:
            raise AgentError(f"{versions.OBJECT_FILE} cannot be read, build it again: {error}\n{messages()}") from error
        try:
            section = f".rodata.{role}"
            programs = {f"{role}_{direction}" for direction in hooks.DIRECTIONS}
            self._object.keep_only(programs | _CALLED[role], {*SHARED_MAPS[role], *_OWN_MAPS[role], section, CLOCK})
            self._object.set_initial_value(section, settings)
            self._object.set_initial_value(CLOCK, struct.pack("=II", time.monotonic_ns() >> TICK_SHIFT, 0))
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
        """Remove entries that have aged as of `now` (monotonic ns); return the number of open connections."""
        tick = now >> TICK_SHIFT
        self._turn += 1
        context = struct.pack("=48xII", tick & 0xFFFFFFFF, self._turn)
        return prog.run(self._object.program_fd(f"{self.role}_sweep"), bytes(64), context).verdict

    def silent_paths(self) -> list[SilentPath]:
        """Return the silent paths; a server knows none."""
        if self.role != "client":
            return []
        with contextlib.closing(Map.copy_of(self._object.map_fd("paths"))) as known:
            return silent(known)

    def end(self, frame: bytes, index: int) -> CallResult:
        """Inject a FIN into a client's program, on interface `index`."""
        return CallResult(prog.run(self._object.program_fd("client_end"), frame, struct.pack("=48xI", index)).verdict)

    def close(self) -> None:
        """Let go of programs and maps; what is attached stays attached."""
        self._object.close()
