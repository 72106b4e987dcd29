"""The house rules a program can check: who may import what, and where the numbers live."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "portlb_app"
SHELL = ("ryu_*.py", "launcher.py")
"""The only files that know Ryu and eventlet."""
DOERS = (*SHELL, "cli.py", "log_writer.py", "store.py", "agent/*.py", "agent/kernel/*.py")
"""The only files that touch the world: clock, files, network, processes. All others decide, and are pure."""
WORLD = frozenset(
    "os sys io time random secrets datetime socket ssl select selectors signal subprocess threading multiprocessing "
    "concurrent asyncio queue pathlib tempfile shutil glob logging http urllib ctypes eventlet ryu".split()
)
NUMBERED = (
    *("Goto", "Conntrack", "Flow", "ToGroup", "Group", "ToMeter", "Selection"),
    *("flow", "goto", "cookie", "pool_group"),
)
"""What is made of numbers that only the pipeline knows."""
PURE_NEEDS = (
    *("api", "compiler", "config", "fragments", "openflow", "packets", "pipeline", "plan", "punt", "reconciler"),
    *("selection", "topology"),
)


def files(*patterns: str) -> set[Path]:
    """The files of the package that fit."""
    return {path for pattern in patterns for path in ROOT.glob(pattern)}


ALL = files("**/*.py")
PURE = sorted(ALL - files(*DOERS))


def name(path: Path) -> str:
    """A file's path in the package."""
    return str(path.relative_to(ROOT))


def tree(path: Path) -> ast.Module:
    """A file, parsed."""
    return ast.parse(path.read_text(), str(path))


def imports(path: Path) -> Iterator[str]:
    """Every module a file imports, anywhere in it, by its full name."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name(path)}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a file, with the last part of what is called."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            function = node.func
            yield (function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")), node


def test_the_rules_are_about_something() -> None:
    """The files the rules name are there, and the core is among the pure ones."""
    pure = {name(path).split("/")[0].removesuffix(".py") for path in PURE}
    assert set(PURE_NEEDS) <= pure
    assert all(files(pattern) for pattern in DOERS)


@pytest.mark.parametrize("path", sorted(ALL - files(*SHELL)), ids=name)
def test_only_the_shell_knows_ryu(path: Path) -> None:
    """Ryu and eventlet are imported by ryu_*.py and launcher.py only."""
    for module in imports(path):
        assert module.partition(".")[0] not in ("ryu", "eventlet"), module


@pytest.mark.parametrize("path", PURE, ids=name)
def test_what_decides_is_pure(path: Path) -> None:
    """No clock, file, network, process, thread, log or chance: time and randomness are arguments."""
    for module in imports(path):
        assert module.partition(".")[0] not in WORLD, module
        assert not module.startswith(("portlb_app.ryu_", "portlb_app.launcher", "portlb_app.cli", "portlb_app.store"))
    for called, call in calls(path):
        assert called not in ("open", "print", "input", "eval", "exec", "__import__"), f"line {call.lineno}"


@pytest.mark.parametrize("path", sorted(ALL - files("pipeline.py", "openflow.py")), ids=name)
def test_numbers_live_in_the_pipeline(path: Path) -> None:
    """Everybody else names tables, priorities, cookies and groups; none is made from a literal number."""
    for called, call in calls(path):
        given = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg != "level")]
        if called in NUMBERED:
            literals = [each.value for each in given if isinstance(each, ast.Constant) and type(each.value) is int]
            assert not literals, f"line {call.lineno}: {called}({literals})"
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert "goto_table:" not in node.value, f"line {node.lineno}"


@pytest.mark.parametrize("path", sorted(files("compiler/*.py")), ids=name)
def test_the_compiler_builds_flows_through_the_pipeline(path: Path) -> None:
    """Only `pipeline.flow` checks a flow against its table's declaration, so nobody makes one by hand."""
    assert "Flow" not in {called for called, _ in calls(path)}


def test_layers() -> None:
    """Arrows point one way: values know no compiler, the compiler no plan, the plan no reconciler."""
    layers = (
        ("openflow", "packets", "fragments", "config/values"),
        ("pipeline", "config/text", "config/entries", "config/file"),
        ("config/loading", "selection", "topology", "plan"),
        ("compiler",),
        ("reconciler", "api", "punt"),
    )
    level = {each: number for number, names in enumerate(layers) for each in names}

    def of(path: str) -> int | None:
        return next((rank for each, rank in level.items() if path == each or path.startswith(each + "/")), None)

    checked = 0
    for path in PURE:
        here = of(name(path).removesuffix(".py").removesuffix("/__init__"))
        for module in imports(path):
            parts = module.removeprefix("portlb_app.").replace(".", "/")
            there = of(parts) if module.startswith("portlb_app.") else None
            if here is not None and there is not None:
                assert there <= here, f"{name(path)} imports {module}"
                checked += 1
    assert checked > 20


def test_importing_the_core_imports_no_shell() -> None:
    """As Python sees it, not only as it is written: Ryu would patch the standard library of every user."""
    core = ", ".join(f"portlb_app.{each}" for each in PURE_NEEDS)
    program = f"import sys, {core}; print([m for m in sys.modules if m.split('.')[0] in ('ryu', 'eventlet')])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT.parent, check=True
    )
    assert done.stdout.strip() == "[]"
