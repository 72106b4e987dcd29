"""The commands that the documents show, with the output they show for them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = (ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
NOT_RUN = {
    "make": "a lane of its own: tests/mininet runs the demo, and this is `make test`",
    "./scripts/prepare.sh": "has run before every test",
    "apt-get": "changes the machine; scripts/prepare.sh installs what a checkout needs",
    "pip": "tests/unit/test_installation.py builds and installs the wheel",
    "/opt/portlb/bin/pip": "the same",
    "python3": "the same",
    "ln": "changes the machine",
    "cp": "the tests of this document begin with that file",
    "useradd": "changes the machine",
    "install": "changes the machine",
    "systemctl": "there is no systemd in a container; tests/unit/test_units.py reads the unit",
    "ethtool": "changes the machine; tests/net does it in every namespace",
    "ip": "changes the machine; tests/net/connectors.py makes such a tunnel",
    "sysctl": "changes the machine",
    "ovs-pki": "takes minutes for parameters of its own; tests/ovs/pki.py makes such certificates",
}
"""Programs that no test runs as the documents show them, and why."""
RUN_BY_OVS = frozenset({"ovs-vsctl", "ovs-ofctl", "ovs-appctl", "curl", "grep"})
"""Programs that tests/ovs/test_documents.py runs."""
ASKS_CONTROLLER = frozenset(
    {
        *("status", "servers", "server", "why", "pools", "switches", "links", "connections"),
        *("vips", "slots", "tables", "resync", "top", "config", "diff", "apply", "support"),
        *("drain", "ready", "maint", "weight", "events", "changes", "rollback"),
    }
)
"""Subcommands of portlb that need a running controller; the same test runs them."""
WITHOUT_FILE = frozenset({"explain"})
"""Those that need one unless they are given a file."""
KNOWN = frozenset({"portlb", *NOT_RUN, *RUN_BY_OVS})

_BLOCK = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Shown:
    """A command line that a document shows; `output` are the lines below it, if it stands behind a prompt."""

    document: str
    line: str
    output: tuple[str, ...] | None

    @property
    def words(self) -> list[str]:
        """The words of the command without sudo and comment."""
        words = shlex.split(self.line, comments=True)
        return words[1:] if words[0] == "sudo" else words

    @property
    def asks_controller(self) -> bool:
        """Whether it is a command of portlb that needs a running controller."""
        words = self.words[1:2]
        return bool(ASKS_CONTROLLER.intersection(words) or WITHOUT_FILE.intersection(words) and "-c" not in self.words)

    @property
    def program(self) -> str:
        """What is run."""
        return program_of(self.line)


def program_of(line: str) -> str:
    """The program that a line of a block runs; empty if it is no command that is known."""
    word = line.removeprefix("$ ").removeprefix("sudo ").split(" ")[0].removeprefix(".venv/bin/")
    return word if word in KNOWN and "─" not in line else ""


def blocks() -> Iterator[tuple[Path, list[str]]]:
    """The blocks of every document that are in no language, each as lines; continued ones are joined."""
    for path in DOCUMENTS:
        for block in _BLOCK.findall(path.read_text()):
            if lines := block.replace("\\\n", "").splitlines():
                yield path, lines


def shown() -> Iterator[Shown]:
    """Every command of every document."""
    for path, lines in blocks():
        if lines[0].startswith("$ "):
            yield Shown(path.name, lines[0].removeprefix("$ "), tuple(lines[1:]))
            continue
        for line in filter(program_of, lines):
            yield Shown(path.name, line, None)
