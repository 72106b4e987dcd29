"""The ``portlb`` command. Exit codes: 0 done, 1 it could not be done, 2 the input is wrong."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from portlb_app import __version__
from portlb_app.cli import attach
from portlb_app.controller import flags

if TYPE_CHECKING:
    from portlb_app.config import Config

FAILED = 1
WRONG_INPUT = 2
CONTROLLER_LIBRARIES = ("ryu", "eventlet")
"""Not on hosts that only run agents: the extra `controller` brings them."""


class _WrongInput(Exception):
    """The input is wrong; the message says all that is."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is returned, and errors are printed to standard error."""
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        _flush()
        return code
    except BrokenPipeError:
        _drop_output()  # `portlb … | head` has seen enough: no message
        return FAILED
    except _WrongInput as error:
        print(error, file=sys.stderr)
        return WRONG_INPUT
    except (OSError, UnicodeDecodeError) as error:
        _drop_output()
        print(f"portlb: {_sentence(error)}", file=sys.stderr)
        return FAILED
    except ImportError as error:
        if (error.name or "").startswith("portlb_app"):
            raise
        hint = " (pip install 'portlb[controller]')" if error.name in CONTROLLER_LIBRARIES else ""
        print(f"portlb: a library is missing: {error}{hint}", file=sys.stderr)
        return FAILED


def _sentence(error: OSError | UnicodeDecodeError) -> str:
    """What went wrong, and with which file if that is known."""
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}"
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename is not None else reason


def _flush() -> None:
    """Write what is buffered, so that a full disk or a closed pipe is an exit code; OSError."""
    if sys.stdout is not None:  # it is None where the shell closed it
        sys.stdout.flush()


def _drop_output() -> None:
    """Output that could not be written must not be tried again when Python ends."""
    try:
        _flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(words: list[str]) -> int:
    """Do what a command line says. What only one command needs is imported when it is asked for."""
    if words[:1] == ["agent"]:
        return _agent(words)
    options = _parser(agent=False)[0].parse_args(words)
    code: int = options.run(options)
    return code


def whole_parser() -> argparse.ArgumentParser:
    """The parser with all of `portlb agent`, which takes a while to import; the man page and the completion are its."""
    from portlb_app.agent import cli as agent_cli

    parser, commands = _parser(agent=True)
    agent_cli.register(commands)
    return parser


def _parser(agent: bool) -> tuple[argparse.ArgumentParser, argparse._SubParsersAction[argparse.ArgumentParser]]:
    """The parser and its commands; those of `agent` are missing, and also its name if they will be added."""
    parser = argparse.ArgumentParser(prog="portlb", description="A stateless layer-4 load balancer for Open vSwitch.")
    parser.add_argument("--version", action="version", version=f"portlb {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    check = commands.add_parser(
        "check",
        help="report every mistake in a configuration, each with its path",
        description="Report every mistake in a configuration, each with its path, and notices. "
        "Exit codes: 0 no mistakes, 1 a file cannot be read, 2 there are mistakes.",
    )
    check.add_argument("config", type=Path, nargs="+", metavar="lb.yaml", help="a configuration (docs/config.md)")
    check.set_defaults(run=_check)

    tables = commands.add_parser(
        "compile",
        help="write the tables of every switch as ovs-ofctl text",
        description="Write the tables of every switch as ovs-ofctl text: SWITCH.flows, .groups and .meters.",
    )
    tables.add_argument("config", type=Path, metavar="lb.yaml", help="the configuration (docs/config.md)")
    tables.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="directory, made if absent")
    tables.set_defaults(run=_compile)

    bridges = commands.add_parser(
        "attach",
        help="print the ovs-vsctl commands that attach every switch",
        description="Print the ovs-vsctl commands that make a bridge for every switch of a configuration and attach it "
        "to the controller. They may be run again.",
    )
    bridges.add_argument("config", type=Path, metavar="lb.yaml", help="the configuration (docs/config.md)")
    attach.add_flags(bridges)
    bridges.set_defaults(run=_attach)

    controller = commands.add_parser(
        "controller",
        help="run the OpenFlow controller and its REST interface",
        description="Run the OpenFlow controller and its REST interface, in the foreground. SIGHUP reads lb.yaml and "
        "certificates again; SIGTERM ends it, and the switches go on as they are.",
        allow_abbrev=False,
    )
    controller.add_argument("config", type=Path, metavar="lb.yaml", help="the configuration; PUT replaces it")
    flags.add(controller)
    controller.set_defaults(run=_controller)

    if not agent:
        commands.add_parser("agent", help="run or inspect a host agent")
    return parser, commands


def _agent(words: list[str]) -> int:
    """`portlb agent …`."""
    from portlb_app.agent.errors import AgentError

    options = whole_parser().parse_args(words)
    try:
        code: int = options.run(options)
    except AgentError as error:
        print(f"portlb: {error}", file=sys.stderr)
        return FAILED
    return code


def _load(path: Path) -> Config:
    from portlb_app.config import ConfigError, load  # not on hosts that only run agents: it takes a while
    from portlb_app.store.file import read_text

    try:
        config = load(read_text(path))
    except ConfigError as error:
        raise _WrongInput(error) from error
    for notice in config.notices:
        print(f"notice: {notice}", file=sys.stderr)
    return config


def _check(options: argparse.Namespace) -> int:
    """Check every file that is given. With several, each line says which file it is about."""
    from portlb_app.config import ConfigError, load
    from portlb_app.store.file import read_text

    code = 0
    for path in options.config:
        where = f"{path}: " if len(options.config) > 1 else ""
        try:
            config = load(read_text(path))
        except ConfigError as error:
            print("\n".join(f"{where}{problem}" for problem in error.errors), file=sys.stderr)
            code = max(code, WRONG_INPUT)
            continue
        except (OSError, UnicodeDecodeError) as error:
            where = "" if isinstance(error, OSError) and error.filename is not None else f"{path}: "
            print(f"portlb: {where}{_sentence(error)}", file=sys.stderr)
            code = max(code, FAILED)
            continue
        for notice in config.notices:
            print(f"{where}notice: {notice}", file=sys.stderr)
        print(
            f"{path}: no mistakes; VIPs: {len(config.vips)}, servers: {len(config.servers)}, "
            f"switches: {len(config.switches)}"
        )
    return code


def _compile(options: argparse.Namespace) -> int:
    from portlb_app.compiler import compile, flows_text, groups_text, meters_text

    states = compile(_load(options.config))
    options.output.mkdir(parents=True, exist_ok=True)
    for name, state in states.items():
        (options.output / f"{name}.meters").write_text(meters_text(name, state), encoding="utf-8")
        (options.output / f"{name}.groups").write_text(groups_text(name, state), encoding="utf-8")
        (options.output / f"{name}.flows").write_text(flows_text(name, state), encoding="utf-8")
        print(f"{name}: {len(state.flows)} flows, {len(state.groups)} groups, {len(state.meters)} meters")
    return 0


def _attach(options: argparse.Namespace) -> int:
    if options.ssl and not options.controller.startswith("ssl:"):
        raise _WrongInput("portlb: --ssl needs a --controller that begins with ssl:")
    print(*attach.lines(_load(options.config), options.controller, options.ssl), sep="\n")
    return 0


def _controller(options: argparse.Namespace) -> int:
    from portlb_app.config import ConfigError
    from portlb_app.controller.launcher import run  # imports Ryu, which patches the standard library

    try:
        return run(options.config, options)
    except ConfigError as error:
        raise _WrongInput(error) from error
