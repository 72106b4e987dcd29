"""The lock files: what users and tests install is the same, and users' files have a hash for each version."""

from __future__ import annotations

import re
from configparser import ConfigParser

import pytest

from tests.support.sources import ROOT

TOP = ROOT.parent
NAME = re.compile(r"[A-Za-z][\w.-]*")
PINNED = re.compile(r"^([a-zA-Z0-9_.-]+)==(\S+)(?: \\)?$")


def versions(text: str) -> dict[str, str]:
    """The version of each distribution, by its normalized name (PEP 503)."""
    found = [PINNED.match(line) for line in text.splitlines()]
    return {re.sub(r"[-_.]+", "-", each[1]).lower(): each[2] for each in found if each}


@pytest.mark.parametrize("name", ["agent", "controller"])
def test_every_version_has_a_hash_and_is_the_one_tested(name: str) -> None:
    """`ovs` is not in lock.txt: the tests use the one that comes with Open vSwitch."""
    text = (TOP / f"packaging/{name}.lock").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?", line) or (
            PINNED.match(line) and after.startswith("    --hash")
        ), line
    tested, locked = versions((TOP / "lock.txt").read_text()), versions(text)
    assert {each: tested.get(each) for each in locked if each != "ovs"} == {
        each: version for each, version in locked.items() if each != "ovs"
    }
    assert ("ryu" in locked) == (name == "controller")


@pytest.mark.parametrize("name", ["agent", "controller"])
def test_all_that_is_needed_is_there(name: str) -> None:
    """What setup.cfg asks for, by each distribution's normalized name."""
    parser = ConfigParser()
    parser.read(TOP / "setup.cfg")
    asked = parser["options"]["install_requires"]
    if name == "controller":
        asked += parser["options.extras_require"]["controller"]
    needed = {re.sub(r"[-_.]+", "-", each[0]).lower() for each in map(NAME.match, asked.split()) if each}
    assert "pydantic" in needed and needed <= versions((TOP / f"packaging/{name}.lock").read_text()).keys()


def test_eventlet_is_one_without_the_known_hole() -> None:
    """CVE-2025-58068: request smuggling by trailers, mended in 0.40.3."""
    version = versions((TOP / "packaging/controller.lock").read_text())["eventlet"]
    assert tuple(map(int, version.split("."))) >= (0, 40, 3)
