"""The ``portlb`` command line. Exit codes: 0 done, 1 it could not be done, 2 the input is wrong, 3 not (yet) so,
4 something needs a person.

A subcommand is a module of this package with two functions: `register(commands, help_line)` adds its parser, and
`run(options)` does what was asked for and returns the exit code.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Sequence
from importlib import import_module
from types import ModuleType

from portlb_app import __version__
from portlb_app.cli.output import FAILED, INTERRUPTED, WRONG_INPUT, Failed, WrongInput, drop_output, flush, sentence

COMMANDS = {
    "check": "report every mistake in a configuration, each with its path",
    "compile": "write the tables of every switch as ovs-ofctl text",
    "attach": "print the ovs-vsctl commands that attach every switch",
    "controller": "run the OpenFlow controller and its REST interface",
    "status": "show what needs a person, then pools and switches",
    "servers": "show what is wanted and seen of servers, and what switches hold of them",
    "server": "show everything about one server",
    "pools": "show the slots of pools",
    "vips": "show VIPs, and how their pools are",
    "slots": "show the server of each slot of a pool",
    "switches": "show switches, and how far each is",
    "links": "show links between switches, and which are used",
    "connections": "show the log of connections",
    "explain": "say where a packet goes, and why",
    "why": "say why a server gets new connections, or gets none",
    "tables": "print what a switch shall hold, or holds",
    "resync": "read switches now, and put right what differs",
    "top": "show what servers and pools have of the traffic",
    "config": "print the live configuration, or every value and where it comes from",
    "diff": "say what a configuration would change",
    "apply": "have switches get a configuration",
    "support": "write what a report of a fault needs",
    "drain": "give servers no new connections; open ones go on",
    "ready": "give servers new connections again",
    "maint": "take servers out of service",
    "weight": "give a server another share of new connections",
    "events": "show what has happened, and what happens",
    "changes": "show who changed what, and what became of it",
    "rollback": "make the configuration of an earlier change live again",
    "token": "make a token for the REST interface",
    "agent": "run or inspect a host agent",
}
"""The subcommands, each with its line of the help."""
CONTROLLER_LIBRARIES = ("ryu", "eventlet")
"""Not on hosts that only run agents: the extra `controller` brings them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is returned, and errors are printed to standard error."""
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        flush()
        return code
    except BrokenPipeError:
        drop_output()  # `portlb … | head` has seen enough: no message
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except WrongInput as error:
        print(error, file=sys.stderr)
        return WRONG_INPUT
    except Failed as error:
        print(error, file=sys.stderr)
        return FAILED
    except (OSError, UnicodeDecodeError) as error:
        drop_output()
        print(f"portlb: {sentence(error)}", file=sys.stderr)
        return FAILED
    except ImportError as error:
        if (error.name or "").startswith("portlb_app"):
            raise
        hint = ""
        if error.name in CONTROLLER_LIBRARIES:
            hint = " (install portlb with its extra: pip install '.[controller]' in a checkout)"
        print(f"portlb: a library is missing: {error}{hint}", file=sys.stderr)
        return FAILED


def _run(words: list[str]) -> int:
    """Run the subcommand that a command line names. No other one is imported."""
    command = _module(words[0]) if words and words[0] in COMMANDS else None
    options = parser(words[:1]).parse_args(words)
    assert command is not None  # the parser has ended the program
    code: int = command.run(options)
    return code


def parser(whole: Collection[str] = COMMANDS) -> argparse.ArgumentParser:
    """The parser, with the flags of these subcommands only; of the others it has the names."""
    found = argparse.ArgumentParser(prog="portlb", description="A stateless layer-4 load balancer for Open vSwitch.")
    found.add_argument("--version", action="version", version=f"portlb {__version__}")
    commands = found.add_subparsers(required=True, metavar="COMMAND")
    for name, help_line in COMMANDS.items():
        if name in whole:
            _module(name).register(commands, help_line)
        else:
            commands.add_parser(name, help=help_line)
    return found


def _module(name: str) -> ModuleType:
    return import_module(f"portlb_app.cli.{name}")
