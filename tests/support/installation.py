"""A wheel of this checkout, and virtual environments with it and exactly what it requires. No network is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
SECONDS = 120


def copy_checkout(target: Path) -> Path:
    """Copy what git tracks, so without built objects; return the copy."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=SECONDS
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def build_wheel(checkout: Path, target: Path, **environment: str) -> Path:
    """Build the wheel as pip does; CalledProcessError, with pip's words, if it cannot."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*command, "--wheel-dir", str(target), str(checkout)],
        **{"env": os.environ | environment, "capture_output": True, "text": True, "check": True, "timeout": SECONDS},
    )  # type: ignore[call-overload]
    [wheel] = target.glob("portlb-*.whl")
    return wheel


def required(wheel: Path, *extras: str) -> set[str]:
    """The names of the distributions that a wheel asks for, and of those that they ask for."""
    [found] = metadata.distributions(path=[str(wheel)])
    names: set[str] = set()
    waiting = [(found, ("", *extras))]
    while waiting:
        distribution, wanted = waiting.pop()
        for requirement in map(Requirement, distribution.requires or ()):
            if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in wanted):
                continue
            if requirement.name.lower() not in names:
                names.add(requirement.name.lower())
                waiting.append((metadata.distribution(requirement.name), ("", *requirement.extras)))
    return names


def install(wheel: Path, target: Path, *extras: str) -> Path:
    """Make a virtual environment that sees the wheel and what it requires, and nothing else; return its `bin`."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(target)], check=True, timeout=SECONDS)
    pip = [sys.executable, "-m", "pip", "--python", str(target / "bin/python"), "install", "--quiet", "--no-compile"]
    subprocess.run([*pip, "--no-index", "--no-deps", str(wheel)], check=True, timeout=SECONDS)
    [packages] = target.glob("lib/python*/site-packages")
    for name in required(wheel, *extras):
        distribution = metadata.distribution(name)
        for top in {Path(str(file)).parts[0] for file in distribution.files or () if ".." not in file.parts}:
            source = Path(str(distribution.locate_file(top)))
            if source.name != "__pycache__" and not (packages / top).exists():
                (packages / top).symlink_to(source)
    return target / "bin"
