"""The states and flags that docs/protocol.md explains are those of the eBPF object."""

from __future__ import annotations

import re
from pathlib import Path

from portlb_app.agent import versions

DOCUMENT = Path(__file__).parents[3] / "docs/protocol.md"
SECTION = DOCUMENT.read_text(encoding="utf-8").partition("\n## States\n")[2].partition("\n## ")[0]


def rows(first: str) -> list[list[str]]:
    """The cells of the table that begins with a heading, without its head."""
    table = SECTION[SECTION.index(f"| {first} |") :].partition("\n\n")[0].strip()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n")[2:]]


def test_every_flag_is_documented_once() -> None:
    """A flag that is renamed, added or removed in connection.h changes the table, too."""
    documented = [row[1] for row in rows("question")]
    assert sorted(documented) == sorted(versions.this_version().types.values("flag"))
    assert {row[2] for row in rows("question")} == {"client", "server", "both"}


def test_every_state_is_documented() -> None:
    """The table of transitions has each state as an origin and as a result, and no other."""
    states = set(versions.this_version().types.values("state"))
    table = rows("state")
    origins = {name for row in table for name in row[0].split(", ")}
    results = {name for row in table for cell in row[2:] for name in re.findall(r"\b[A-Z]{5,}\b", cell)}
    assert origins == states | {"none", "any"}
    assert results == states


def test_the_diagram_has_every_state() -> None:
    diagram = SECTION.partition("```\n")[2].partition("```")[0]
    assert {name for name in re.findall(r"\b[A-Z]{5,}\b", diagram)} - {"CONFIRM", "REDIRECT"} == set(
        versions.this_version().types.values("state")
    )
