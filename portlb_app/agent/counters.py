"""The agents' counters: names and meanings come from the table that the eBPF programs are compiled from."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from portlb_app.agent.kernel.maps import Map

_TABLE = Path(__file__).parent / "bpf/counters.h"
_ROW = re.compile(r'\bCOUNTER\((\w+), "([^"]+)"\)')


@functools.cache
def meanings() -> dict[str, str]:
    """Return what each counter means, in the order of the per-CPU array."""
    return dict(_ROW.findall(_TABLE.read_text(encoding="utf-8")))


def read(array: Map) -> dict[str, int]:
    """Return the value of every counter; OSError if the map is no array of counters."""
    return {name: array.sum(index) for index, name in enumerate(meanings())}
