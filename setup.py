"""Builds the agents' eBPF object into the wheel: hosts need no compiler. Everything else is in setup.cfg."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.errors import ExecError

BPF = Path("portlb_app/agent/bpf")
TOOLS = ("make", "clang")


def build_objects(directory: Path) -> None:
    """Build the eBPF objects, or take those that are there if this machine cannot; ExecError if neither is possible."""
    objects = list(directory.glob("*.bpf.o"))
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if not missing:
        subprocess.run(["make", "--directory", str(directory)], check=True)
        return
    need = f"{' and '.join(missing)} must be installed to build it (Debian: make clang libbpf-dev linux-libc-dev)"
    if not objects:
        raise ExecError(f"the agents' eBPF object is not built, and {need}; or take a wheel built elsewhere")
    newest = max(each.stat().st_mtime_ns for each in directory.rglob("*") if each.suffix in (".c", ".h"))
    if min(each.stat().st_mtime_ns for each in objects) < newest:
        raise ExecError(f"the agents' eBPF object is older than its sources, and {need}")


class BuildPy(build_py):
    """`build_py`, with the eBPF object built first. An editable install has it from scripts/prepare.sh."""

    def run(self) -> None:
        """Build the object, then copy the package's files, and none that an earlier build left."""
        if not self.editable_mode:
            build_objects(BPF)
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


setup(cmdclass={"build_py": BuildPy})
