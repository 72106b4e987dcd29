"""Writes the man page and the bash completion into packaging/, from the command's own parser (`make man`)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import shtab
from argparse_manpage.manpage import Manpage

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "packaging"
FILES = ("FILE", "LB.YAML", "lb.yaml")
"""How the help calls an argument that is a file."""


def texts() -> dict[str, str]:
    """What belongs into packaging/, by the name of the file."""
    sys.path.insert(0, str(ROOT))
    from portlb_app.cli import command

    surroundings = {"COLUMNS": "100", "SOURCE_DATE_EPOCH": "0"}
    with mock.patch.dict(os.environ, surroundings), mock.patch.object(sys, "argv", ["portlb"]):
        page = Manpage(command.parser())
        page.description = "stateless layer-4 load balancer for Open vSwitch"
        page.manual = "portlb"
        parser = command.parser()
        for action in actions(parser):
            if action.metavar in FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            elif action.metavar == "DIR":
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        lines = [line.rstrip() for line in str(page).splitlines()]
        completion = shtab.complete(parser, shell="bash").rstrip()
        return {"portlb.1": "\n".join(lines) + "\n", "bash-completion/portlb": completion + "\n"}


def actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The arguments of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from actions(each)


if __name__ == "__main__":
    for name, text in texts().items():
        (TARGET / name).write_text(text, encoding="utf-8")
