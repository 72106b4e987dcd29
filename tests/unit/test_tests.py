"""Rules of the tests themselves."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import conftest

TESTS = Path(__file__).parents[1]
MAY_IMPORT = re.compile(r"^[ \t]*(?:from|import)\b(?:[^()\n\\]|\\\n)*(?:\([^)]*)?\btest_", re.MULTILINE)
"""What no statement that imports from a test module goes without. To parse all files takes a second."""


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module, and every name of one, that is imported, in full."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module or ''}.{alias.name}" for alias in node.names)


def of_test_modules(text: str) -> list[str]:
    """What a file imports from test modules, or of them."""
    if not MAY_IMPORT.search(text):
        return []
    modules = (name.split(".") for name in imported(ast.parse(text)))
    return [".".join(parts) for parts in modules if any(part.startswith("test_") for part in parts)]


def test_nothing_is_imported_from_a_test_module() -> None:
    """What tests share has a module of its own: beside them, or in tests/support."""
    found = {str(path.relative_to(TESTS)): of_test_modules(path.read_text()) for path in TESTS.rglob("*.py")}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "line",
    [
        "from tests.net.test_modes import example",
        "from tests.net import test_modes as modes",
        "import tests.net.test_modes",
        "from .test_modes import example",
        "def late():\n    from tests.net import test_modes",
        "from tests.net import (\n    modes,\n    test_modes,\n)",
        "from tests.net \\\n    import test_modes",
    ],
)
def test_each_way_to_import_one_is_seen(line: str) -> None:
    """Or the rule above would hold for nothing."""
    assert of_test_modules(line)


def test_the_order_names_files_that_there_are() -> None:
    """A file that is renamed must not fall out of the lists of tests/conftest.py unnoticed."""
    named = {*conftest.CLOCK, *conftest.LONGEST} - {"clock"}
    files = {f"{path.parent.name}/{path.stem}" for path in TESTS.rglob("test_*.py")}
    assert named <= files
    assert not {*conftest.CLOCK} & {*conftest.LONGEST}, "these have one place, as the group clock"


def test_programs_that_are_started_by_name_exist() -> None:
    """What stands behind `-m` is no import, which a checker of types would see."""
    sources = [path for top in ("tests", "mininet_topos") for path in (TESTS.parent / top).rglob("*.py")]
    ours = r"""-m(?:", "| )((?:portlb_app|mininet_topos|tests)(?:\.[a-z_]+)+)\b"""
    named = {name: path for path in sources for name in re.findall(ours, path.read_text())}
    assert len(named) > 10
    assert {name: path for name, path in named.items() if not _is_module(name)} == {}


def _is_module(name: str) -> bool:
    path = TESTS.parent / name.replace(".", "/")
    return path.with_suffix(".py").exists() or (path / "__main__.py").exists()
