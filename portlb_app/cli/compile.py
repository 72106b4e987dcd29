"""``portlb compile``: the tables of every switch as ovs-ofctl text."""

from __future__ import annotations

import argparse
from pathlib import Path

from portlb_app import compiler
from portlb_app.backends import Backends
from portlb_app.cli.configuration import load_file
from portlb_app.cli.output import Commands
from portlb_app.topology.conditions import Conditions


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "compile",
        help=help_line,
        description="Write the tables of every switch as ovs-ofctl text: SWITCH.flows, .groups and .meters.",
    )
    parser.add_argument("config", type=Path, metavar="lb.yaml", help="the configuration (docs/config.md)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="directory, made if absent")


def run(options: argparse.Namespace) -> int:
    """Compile a configuration and write its tables."""
    config = load_file(options.config)
    slots, closed = Backends(config).conditions(config)
    states = compiler.compile(config, Conditions(slots=slots, closed=closed))
    options.output.mkdir(parents=True, exist_ok=True)
    for name, state in states.items():
        (options.output / f"{name}.meters").write_text(compiler.meters_text(name, state), encoding="utf-8")
        (options.output / f"{name}.groups").write_text(compiler.groups_text(name, state), encoding="utf-8")
        (options.output / f"{name}.flows").write_text(compiler.flows_text(name, state), encoding="utf-8")
        print(f"{name}: {len(state.flows)} flows, {len(state.groups)} groups, {len(state.meters)} meters")
    return 0
