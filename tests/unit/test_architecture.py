"""The house rules a program can check: who may import what, and where the numbers live."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sources import ROOT, calls, imports, tree

RANKS = (
    "net",
    "openflow",
    "pipeline",
    "selection",
    "config",
    "topology",
    "backends",
    "compiler",
    "explain",
    "reconcile",
    "punt",
    "health",
    "api",
    "metrics",
    "page",
    "store",
    "runtime",
    "southbound",
    "controller",
    "cli",
)
"""The packages. A package imports those before it and itself; a package that is not here fails."""
AGENT_NEEDS = ("agent", "net", "config")
"""What the host agents import; nothing but the command imports them."""
RYU = ("runtime", "southbound", "controller")
"""The packages that may import Ryu and eventlet."""
PURE = (
    *("net", "openflow", "pipeline", "selection", "config", "topology", "backends", "compiler", "explain"),
    *("reconcile", "punt", "health", "api", "metrics", "page"),
)
"""The packages that decide: no clock, file, network, process, thread, log or chance in them."""
PURE_ELSEWHERE = ("southbound/refusals.py", "southbound/port_table.py", "southbound/sent_steps.py")
WORLD = frozenset(
    "os sys io time random secrets datetime socket ssl select selectors signal subprocess threading multiprocessing "
    "concurrent asyncio queue pathlib tempfile shutil glob logging http urllib ctypes eventlet ryu".split()
)
NUMBERED = (
    *("Goto", "Conntrack", "Flow", "ToGroup", "Group", "ToMeter", "Selection"),
    *("flow", "goto", "make_cookie", "pool_group"),
)
"""What is made of numbers that only the pipeline knows."""

ALL = sorted(ROOT.rglob("*.py"))


def name(path: Path) -> str:
    """A file's path in the package."""
    return str(path.relative_to(ROOT))


def package(path: Path) -> str:
    """The package a file is in; empty for those beside the packages."""
    parts = path.relative_to(ROOT).parts
    return parts[0] if len(parts) > 1 else ""


def is_pure(path: Path) -> bool:
    """Whether a file decides, and touches nothing."""
    return package(path) in PURE or name(path) in PURE_ELSEWHERE


def forbidden(path: Path) -> list[str]:
    """The packages of ours that a file imports and may not."""
    here = package(path)
    allowed = AGENT_NEEDS if here == "agent" else RANKS[: RANKS.index(here) + 1] if here else ()
    used = {module.split(".")[1] for module in imports(path) if module.startswith("portlb_app.")}
    return sorted(used - {*allowed, "__version__"} - ({"agent"} if here == "cli" else set()))


def test_every_package_has_a_rank() -> None:
    """A new package is given its place here; nothing but the version is beside the packages."""
    assert {package(path) for path in ALL} == {"", "agent", *RANKS}
    assert [name(path) for path in ALL if not package(path)] == ["__init__.py"]
    assert all((ROOT / each).exists() for each in PURE_ELSEWHERE)


@pytest.mark.parametrize("path", ALL, ids=name)
def test_packages_import_those_before_them(path: Path) -> None:
    """Arrows point one way."""
    assert forbidden(path) == []


def test_a_forbidden_import_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Upwards, to a package without a rank, and from the agents."""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    for here, module in (("net", "portlb_app.openflow"), ("cli", "portlb_app.utils"), ("agent", "portlb_app.compiler")):
        path = tmp_path / here / "x.py"
        path.parent.mkdir()
        path.write_text(f"def f():\n    from {module} import y\n")
        assert forbidden(path) == [module.split(".")[1]]


@pytest.mark.parametrize("path", [path for path in ALL if package(path) not in RYU], ids=name)
def test_only_the_shell_knows_ryu(path: Path) -> None:
    """Ryu and eventlet are imported by the packages that talk with switches and users only."""
    for module in imports(path):
        assert module.partition(".")[0] not in ("ryu", "eventlet"), module


@pytest.mark.parametrize("path", filter(is_pure, ALL), ids=name)
def test_what_decides_is_pure(path: Path) -> None:
    """No clock, file, network, process, thread, log or chance: time and randomness are arguments."""
    for module in imports(path):
        assert module.partition(".")[0] not in WORLD, module
    for called, call in calls(path):
        assert called not in ("open", "print", "input", "eval", "exec", "__import__"), f"line {call.lineno}"


@pytest.mark.parametrize("path", [path for path in ALL if package(path) not in ("openflow", "pipeline")], ids=name)
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


@pytest.mark.parametrize("path", [path for path in ALL if package(path) != "openflow"], ids=name)
def test_registers_are_named(path: Path) -> None:
    """`pipeline.registers` gives each range of bits a name; no other file has a register's number."""
    if name(path) != "pipeline/registers.py":
        words = {node.arg for node in ast.walk(tree(path)) if isinstance(node, ast.keyword)}
        words |= {node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant)}
        assert not words & {f"reg{number}" for number in range(16)}


@pytest.mark.parametrize("path", [path for path in ALL if package(path) == "compiler"], ids=name)
def test_the_compiler_builds_flows_through_the_pipeline(path: Path) -> None:
    """Only `pipeline.flow` checks a flow against its table's declaration, so nobody makes one by hand."""
    assert "Flow" not in {called for called, _ in calls(path)}


def test_importing_the_core_imports_no_shell() -> None:
    """As Python sees it, not only as it is written: Ryu would patch the standard library of every user."""
    pure = (name(path).removesuffix(".py").replace("/", ".") for path in ALL if is_pure(path))
    core = ", ".join(f"portlb_app.{each.removesuffix('.__init__')}" for each in pure)
    program = f"import sys, {core}; print([m for m in sys.modules if m.split('.')[0] in ('ryu', 'eventlet')])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT.parent, check=True
    )
    assert done.stdout.strip() == "[]"
