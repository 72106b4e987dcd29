"""Programs that many tests share: no test finds what another has left."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import struct

import pytest

from portlb_app.agent import client, hooks, loader, server
from portlb_app.agent.kernel.library import library
from portlb_app.agent.kernel.maps import Map
from portlb_app.agent.loader import Programs
from tests.net.client_cases import client_cases
from tests.net.frames import FAMILIES, MAPPING, VIPS
from tests.net.programs import ARRAY, PER_CPU_ARRAY, QUEUE, RING, Loaded, send
from tests.net.server_cases import server_cases

MADE = {"client": (client.settings(VIPS), client_cases), "server": (server.settings(MAPPING), server_cases)}


def remembered(programs: Programs) -> dict[str, list[bytes]]:
    """What the maps hold beside zeros, by name; a queue is emptied by this."""
    found = {}
    for name in loader.SHARED_MAPS[programs.role]:
        with contextlib.closing(Map.copy_of(programs.map_fd(name))) as each:
            found[name] = sorted(_values(each))
    return found


def _values(each: Map) -> list[bytes]:
    if each.layout.type == QUEUE:
        value, values = ctypes.create_string_buffer(each.layout.value_size), []
        while (result := library.bpf_map_lookup_and_delete_elem(each.fd, None, value)) == 0:
            values.append(value.raw)
        assert result == -errno.ENOENT
        return values
    if each.layout.type == RING:
        return []  # it keeps nothing for a packet: the agent's process reads it
    if each.layout.type == PER_CPU_ARRAY:
        looked_up = (each.lookup(struct.pack("=I", number)) for number in range(each.layout.max_entries))
        return [value for value in looked_up if value and any(value)]
    is_array = each.layout.type == ARRAY  # which always has all its elements
    return [key + value for key, value in each.entries() if not is_array or any(value)]


@pytest.mark.parametrize("role", hooks.ROLES)
def test_nothing_is_left_to_the_next_test(loaded: Loaded, role: str) -> None:
    """Every map that the packets of all cases have filled is as it was, and so are the counters."""
    settings, cases = MADE[role]
    nothing = remembered(loaded(role, settings))
    assert not any(nothing.values())
    programs = loaded(role, settings)
    filled = set()
    for number, case in enumerate(case for family in FAMILIES for case in cases(family)):
        for packet in (*case.before, case.packet):
            send(programs, packet)
        if number % 10 == 0:
            filled |= {name for name, values in remembered(programs).items() if values}
    assert filled >= {"connections", "counters"} | ({"aliases"} if role == "client" else {"half_open", "secret"})
    assert loaded(role, settings) is programs
    assert remembered(programs) == nothing
    assert not any(programs.counters().values())
