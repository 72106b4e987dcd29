"""Commands and agents must agree on the layout of map entries and on the meaning of their numbers.

Both are read, for this version from the object file and for a running agent from its maps.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from portlb_app.agent.errors import AgentError
from portlb_app.agent.kernel import object_file
from portlb_app.agent.kernel.btf import Types, WrongTypes
from portlb_app.agent.kernel.library import messages
from portlb_app.agent.kernel.maps import Layout, Map

OBJECT_FILE = Path(__file__).parent / "bpf/redirect.bpf.o"
_MEANINGS = ("state", "flag")  # enumerations whose values are in maps


@dataclass(frozen=True)
class Version:
    """What an object file says of its maps: layouts by name, and the types they are made of."""

    layouts: Mapping[str, Layout]
    types: Types

    def difference(self, maps: Mapping[str, Map]) -> str:
        """Describe what this version would misread in a running agent's maps, "" if nothing."""
        for name, running in maps.items():
            wanted = self.layouts.get(name)
            if wanted is None or not wanted.is_read_alike(running.layout):
                return f"its map '{name}' has another layout"
            for meaning in _MEANINGS:
                there, here = running.types.values(meaning) if running.types else {}, self.types.values(meaning)
                if any(here.get(each) != value for each, value in there.items()):
                    return f"the numbers in its map '{name}' mean something else"
        return ""


def check_object_file() -> None:
    """Raise AgentError if there is no object file."""
    if not OBJECT_FILE.exists():
        raise AgentError(f"{OBJECT_FILE} is missing: `make -C {OBJECT_FILE.parent}` builds it in a checkout")


def this_version() -> Version:
    """Return what the object file says; AgentError if it is missing or cannot be read."""
    check_object_file()
    return _version(str(OBJECT_FILE), OBJECT_FILE.stat().st_mtime_ns)


@functools.lru_cache(maxsize=1)
def _version(path: str, _: int) -> Version:
    messages()
    try:
        with contextlib.closing(object_file.Object(path)) as opened:
            return Version({name: opened.layout(name) for name in opened.map_names()}, opened.types)
    except (OSError, WrongTypes) as error:
        raise AgentError(f"{path} cannot be read, build it again: {error}\n{messages()}") from error
