"""What a demo or a test takes from the machine it runs on, and what it does not.

A shell brings variables and files that change what programs do: a proxy, a ``.curlrc``, a shell that is not POSIX's, a
prompt command, another Open vSwitch. Every program that is started here gets an environment without them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_KEPT = ("TERM", "USER", "LOGNAME", "TMPDIR")
_KEPT_PREFIXES = ("PORTLB_", "PYTEST_", "COV_")
_PROGRAMS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_EMPTY = (".curlrc", ".redisclirc")
"""Files of a home directory; curl looks for its own in the user's real one if there is none in ``HOME``."""

INHERITED = tuple(
    f"net.ipv4.conf.{which}.{name}=0"
    for which in ("all", "default")
    for name in ("forwarding", "rp_filter", "arp_ignore", "arp_announce", "arp_filter", "proxy_arp")
)
"""What a new network namespace takes over from the machine, as the kernel has it at first."""


def environment(given: Mapping[str, str], home: Path) -> dict[str, str]:
    """An environment with a home directory of its own, the C locale in UTF-8, and the system's administration programs.

    The machine's own directories come first in ``PATH``, and whatever was given after them.
    """
    kept = {name: value for name, value in given.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
    path = [*_PROGRAMS, *(each for each in given.get("PATH", "").split(":") if each and each not in _PROGRAMS)]
    return {**kept, "HOME": str(home), "LC_ALL": "C.UTF-8", "PATH": ":".join(path), "SHELL": "/bin/sh"}


def leave_behind(home: Path) -> None:
    """Change this process's environment to that, for all programs it starts; `home` is an empty directory."""
    for name in _EMPTY:
        (home / name).touch()
    new = environment(os.environ, home)
    os.environ.clear()
    os.environ.update(new)
    os.umask(0o022)
