"""Paths to a client's VIPs that let no announced endpoints through."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from portlb_app.agent.kernel.maps import Map
from portlb_app.agent.locator import ADDRESS, LABEL, MAC
from portlb_app.agent.mapping import Address
from portlb_app.agent.record import unpack_address

_KEY, _VALUE = struct.Struct("=16sI"), struct.Struct("=IIIHH")  # struct path_key and struct path in client/paths.h
_WORDS = {ADDRESS: "addresses", MAC: "MAC addresses", LABEL: "labels"}


@dataclass(frozen=True)
class SilentPath:
    """A silent path: nothing has arrived from the announced `what` since it was called silent."""

    vip: Address
    what: str

    def __str__(self) -> str:
        return (
            f"nothing arrives from announced {self.what} of {self.vip}: new connections stay where they open, "
            "and one tries again from time to time"
        )


def silent(paths: Map) -> list[SilentPath]:
    """Return the silent ones in the map behind `paths`, in an order that stays."""
    return sorted(_silent(paths.entries()), key=str)


def _silent(entries: Iterable[tuple[bytes, bytes]]) -> Iterator[SilentPath]:
    for key, value in entries:
        vip, kind = _KEY.unpack(key)
        if _VALUE.unpack(value)[0]:
            yield SilentPath(unpack_address(vip), _WORDS.get(kind, "ports"))
