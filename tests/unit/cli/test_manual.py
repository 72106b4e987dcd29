"""The man page and the completion are those of the command's parser."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
COMPLETE = """
source packaging/bash-completion/portlb
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_shtab_portlb portlb "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def test_they_are_up_to_date() -> None:
    """`make man` would change nothing."""
    program = (
        "import sys, pathlib; sys.path.insert(0, 'scripts'); import manual\n"
        "print([name for name, text in manual.texts().items() if (manual.TARGET / name).read_text() != text])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n", "run make man"


def test_the_page_can_be_shown() -> None:
    """man has nothing to say about it, and every command is there."""
    done = subprocess.run(
        ["man", "--warnings", "-l", "packaging/portlb.1"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    for command in ("check", "compile", "attach", "controller", "agent client", "agent redirect", "drain", "servers"):
        assert f"'portlb {command}'" in done.stdout


@pytest.mark.parametrize(
    ("words", "some"),
    [
        (["co"], ["compile", "config", "connections", "controller"]),
        (["drain", "--d"], ["--deadline", "--dry-run"]),
        (["agent", "st"], ["stats"]),
        (["agent", "client", "--v"], ["--vip"]),
        (["controller", "--ctl-cert-"], ["--ctl-cert-binds-dpid"]),
        (["check", "READ"], ["README.md"]),
    ],
    ids=str,
)
def test_bash_completes(words: list[str], some: list[str]) -> None:
    """Commands, flags and files."""
    done = subprocess.run(
        ["bash", "-c", COMPLETE, "bash", "portlb", *words], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert some == sorted(set(done.stdout.split())), done.stderr
