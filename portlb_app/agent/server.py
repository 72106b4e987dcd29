"""The server agent: announces this host's service ports and translates them for its programs."""

from __future__ import annotations

import sys

from portlb_app.agent.mapping import ServerMapping, packed_vips


def settings(mapping: ServerMapping) -> bytes:
    """Return the server programs' constants: tables indexed by a port as it stands in the packet."""
    answers, applications = bytearray(2 * 65536), bytearray(2 * 65536)
    for opened, announced in mapping.answers.items():
        _set(answers, opened, announced)
    for port, application in mapping.applications.items():
        _set(applications, port, application)
    return packed_vips(mapping.vips) + answers + applications


def _set(table: bytearray, port: int, value: int) -> None:
    index = int.from_bytes(port.to_bytes(2, "big"), sys.byteorder)
    table[2 * index : 2 * index + 2] = value.to_bytes(2, "big")
