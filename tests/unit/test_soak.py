"""The long proofs: which there are; and the one that needs nothing but Python, in its short form."""

from __future__ import annotations

import re
from pathlib import Path

from tests.soak import __main__ as soak
from tests.soak import punt

HERE = Path(soak.__file__).parent
TESTING = HERE.parents[1] / "docs" / "testing.md"


def test_every_soak_is_run_and_documented() -> None:
    """``make soak`` runs what docs/testing.md lists; every other module is a part that one of them uses."""
    assert sorted(re.findall(r"^\| `(\w+)` \|", TESTING.read_text(), re.MULTILINE)) == sorted(soak.soaks())
    texts = [(HERE / f"{name}.py").read_text() for name in soak.soaks()]
    parts = {path.stem for path in HERE.glob("*.py")} - {*soak.soaks(), "__init__", "__main__"}
    assert {part for part in parts if not any(f"tests.soak.{part}" in text for text in texts)} == set()


def test_mutated_frames_harm_nothing() -> None:
    """Every one is judged or counted; nothing raises; every kind of answer occurs."""
    figures = punt.run(frames=10_000, seconds=60.0)
    assert figures.frames >= 10_000 and figures.messages > 500
    assert figures.fates.keys() >= {"sent", "dropped", "unknown", "malformed", "absent"}
    assert figures.records[0] > 0 and figures.records[1] > 0
    assert figures.grown < 100_000, "kilobytes"
