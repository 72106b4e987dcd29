"""The documents say what the code does: what they quote, name and configure exists."""

from __future__ import annotations

import ast
import re
from collections import Counter
from configparser import ConfigParser
from functools import cache
from pathlib import Path

import pytest

from portlb_app.compiler import compile as compile_config
from portlb_app.compiler import flows_text, groups_text, meters_text
from portlb_app.config import load
from portlb_app.pipeline import TABLES, Reason, registers

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SCENARIOS = sorted(path.parent for path in ROOT.glob("flows/*/lb.yaml"))
ROWS = frozenset(
    f"{kind}{number}"
    for kind, count in Counter(U=3, E=8, D=10, C=2, L=6, I=3, F=3, N=5, T=3, Q=1, A=1, X=4, B=3).items()
    for number in range(1, count + 1)
)
"""The ids of everything that must work."""

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: str, language: str | None = None) -> list[str]:
    """The fenced blocks of a document, of one language or of all."""
    found = _BLOCK.findall((DOCS / document).read_text())
    return [text for word, text in found if language in (None, word)]


# ---- pipeline.md -----------------------------------------------------------------------------------------------------


def test_every_table_has_a_heading_in_packet_order() -> None:
    """And no heading names a table that is gone."""
    headings = re.findall(r"^## ([A-Z]+)$", (DOCS / "pipeline.md").read_text(), re.MULTILINE)
    assert headings == [table.name for table in TABLES]


def test_quoted_flows_are_the_compilers() -> None:
    """Every one stands literally among the compiled ones, and every table has one."""
    compiled = {line for file in (ROOT / "flows").glob("*/*.flows") for line in file.read_text().splitlines()}
    quoted = [line for text in blocks("pipeline.md") for line in text.splitlines() if line.startswith("cookie=")]
    assert not [line for line in quoted if line not in compiled]
    assert {int(line.split("table=")[1].split(",")[0]) for line in quoted} == {table.number for table in TABLES}


def test_registers_and_reasons_are_the_pipelines() -> None:
    """Every register has its name and number in pipeline.md; every reason has its number there."""
    text = (DOCS / "pipeline.md").read_text()
    table = re.findall(r"^\| (\d) \| ([\w-]+) \| ([A-Z_]+) \|", text, re.MULTILINE)
    found = {name: f"reg{number}" for number, bits, name in table if name != "TOO_LARGE"}
    assert found == {
        name: value for name, value in vars(registers).items() if name.isupper() and str(value).startswith("reg")
    }
    assert ("3", str(registers.TOO_LARGE), "TOO_LARGE") in table
    cookies = text[text.index("## Cookies") : text.index("## Groups")]
    assert sorted(map(int, re.findall(r"\| (\d+) \| ", cookies))) == sorted(Reason)


# ---- config.md, trees.md ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", ["config.md", "trees.md"])
def test_whole_configurations_load(document: str) -> None:
    """A block with switches is a whole configuration; ConfigError if it has a mistake."""
    whole = [text for text in blocks(document, "yaml") if "switches:" in text]
    assert whole
    for text in whole:
        assert compile_config(load(text))


# ---- patent.md -------------------------------------------------------------------------------------------------------


def rows() -> list[list[str]]:
    """The cells of every row of patent.md's table."""
    lines = (DOCS / "patent.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [row for row in cells if row[0] != "id" and set(row[0]) != {"-"}]


@cache
def functions(path: Path) -> frozenset[str]:
    """The functions at the top of a Python file."""
    return frozenset(node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef))


def exists(test: str) -> bool:
    """Whether there is such a test, named ``tests/….py::test_…``."""
    path, _, name = test.partition("::")
    return (ROOT / path).is_file() and name.split("[")[0] in functions(ROOT / path)


def test_every_row_is_there_once() -> None:
    """Neither invented nor forgotten."""
    assert Counter(row[0] for row in rows()) == Counter(ROWS)


def test_what_works_is_tested_and_the_tests_exist() -> None:
    """A row that works names a test; every named test is there; a row has all its cells and a state."""
    for row in rows():
        assert len(row) == 6, row
        named = [test.strip(" `") for test in row[4].split("<br>") if test.strip(" `—-")]
        assert row[5] in ("works", "missing"), row
        assert named or row[5] == "missing", f"{row[0]} works, says who?"
        assert not [test for test in named if not exists(test)], row[0]


def test_modules_that_rows_name_are_there() -> None:
    """Files and packages below portlb_app."""
    for row in rows():
        for name in re.findall(r"[a-z_/]+(?:\.py|\.h|/(?= |,|$))", row[3]):
            assert (ROOT / "portlb_app" / name).exists(), f"{row[0]}: {name}"


# ---- flows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.name)
def test_flows_are_up_to_date(scenario: Path) -> None:
    """``make flows`` would change nothing: no file differs, is missing or is left over."""
    expected = {}
    for name, state in compile_config(load((scenario / "lb.yaml").read_text())).items():
        expected[f"{name}.flows"] = flows_text(name, state)
        expected[f"{name}.groups"] = groups_text(name, state)
        expected[f"{name}.meters"] = meters_text(name, state)
    committed = {path.name: path.read_text() for path in scenario.glob("*.*") if path.suffix != ".yaml"}
    assert committed.keys() == expected.keys()
    for name, text in expected.items():
        assert committed[name] == text, f"{scenario.name}/{name} is stale: run make flows"


def test_there_are_scenarios() -> None:
    """So that the test above has something to look at."""
    assert SCENARIOS


def test_the_lock_pins_all_that_is_required() -> None:
    """What setup.cfg asks for has one version in lock.txt, and one that setup.cfg allows to be there at all."""
    lock = [line for line in (ROOT / "lock.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = dict(line.split("==") for line in lock)
    assert len(pinned) == len(lock)
    metadata = ConfigParser()
    metadata.read(ROOT / "setup.cfg")
    required = "".join(
        (metadata["options"]["install_requires"], *metadata["options.extras_require"].values()),
    )
    names = [re.match(r"[A-Za-z0-9._-]+", line.strip()) for line in required.splitlines() if line.strip()]
    assert len(names) > 10
    assert {found[0].lower() for found in names if found} <= pinned.keys()
    assert tuple(map(int, pinned["eventlet"].split("."))) >= (0, 40, 3), "CVE-2025-58068"


def test_switches_are_attached_out_of_band() -> None:
    """In-band, Open vSwitch adds hidden flows that pass by the tables; Mininet turns that off by itself."""
    commands = [
        line
        for path in sorted(ROOT.glob("**/*.md"))
        if ".venv" not in path.parts
        for line in path.read_text().splitlines()
        if line.startswith("ovs-vsctl set-controller")
    ]
    assert len(commands) >= 2 and all("connection-mode=out-of-band" in line for line in commands), commands


def test_each_decision_has_a_number_of_its_own() -> None:
    """The file's name and its title say it. Numbers are given out before decisions are written, so some may lack."""
    files = sorted((DOCS / "decisions").glob("*.md"))
    numbers = [int(path.name[:4]) for path in files]
    assert len(files) >= 79 and len(set(numbers)) == len(numbers)
    for path in files:
        assert path.read_text().startswith(f"# {int(path.name[:4])}. "), path.name
