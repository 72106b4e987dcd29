"""``portlb explain``: where a packet goes, and why: through the tables that switches hold, or those of a file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from portlb_app import compiler
from portlb_app.backends import Backends
from portlb_app.cli import logged, slot
from portlb_app.cli.configuration import load_file
from portlb_app.cli.output import Commands, WrongInput
from portlb_app.cli.rest_client import Answer, Controller, add_flag, controller_of
from portlb_app.config.problems import printable
from portlb_app.explain import PacketError, explain, read, words
from portlb_app.topology.conditions import Conditions

_WIDE = 200
"""Characters of a text that is shown with an arrow below it."""
_SPOKEN = {"words": words.answer, "tables": words.by_tables, "flows": words.by_flows}


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "explain",
        help=help_line,
        description="Follow one packet through the tables of every switch on its way, and say where it goes and why. "
        "docs/explain.md has the packet language. Exit codes: 0 said, 1 the controller does not answer, 2 the text "
        "means no packet.",
    )
    parser.add_argument("packet", nargs="+", metavar="PACKET", help="such as 'tcp 192.0.2.7:4000 > web:21 syn'")
    parser.add_argument(
        "-c", "--config", type=Path, metavar="lb.yaml",
        help="through the tables that this configuration compiles to, without a controller (default: through those "
        "that the switches were read to hold)",
    )  # fmt: skip
    _add_style(parser)
    logged.add_connection(parser)
    add_flag(parser)


def _add_style(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how much is said, and how."""
    style = parser.add_mutually_exclusive_group()
    style.add_argument(
        "--tables", dest="style", action="store_const", const="tables", help="every table that it passes"
    )
    style.add_argument("--flows", dest="style", action="store_const", const="flows", help="every flow that it finds")
    parser.set_defaults(style="words")
    known = parser.add_mutually_exclusive_group()
    known.add_argument("--slot", type=_slot, metavar="N", help="as if it had this slot (0 to 255)")
    known.add_argument("--ask", action="store_true", help="with the slot that the switches' data path gives it")
    parser.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="how to print (default %(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Follow the packet, and print."""
    if options.packet[0] == "connection":
        return _connection(options)
    text = " ".join(options.packet)
    if options.ask and options.config:
        raise WrongInput("portlb: --ask asks switches, and -c needs none: say one of them")
    try:
        read(text)
        explained = _from_file(text, options) if options.config else _from_controller(text, options)
    except PacketError as error:
        raise WrongInput(_mistake(text, error)) from error
    if isinstance(explained, int):
        return explained
    if options.output == "json":
        print(json.dumps(explained, indent=2))
    else:
        print(*_SPOKEN[options.style](explained), sep="\n")
    return 0


def _connection(options: argparse.Namespace) -> int:
    """Say where a client's connections are."""
    if len(options.packet) != 2 or options.config or options.slot is not None or options.ask:
        raise WrongInput("portlb: say explain connection ADDRESS:PORT, and nothing else")
    found, code = logged.explain(controller_of(options), options.packet[1])
    if code:
        return code
    for line in [json.dumps(found, indent=2)] if options.output == "json" else map(printable, logged.lines(found)):
        print(line)
    return 0


def _from_controller(text: str, options: argparse.Namespace) -> dict[str, Any] | int:
    """What a controller says, or the exit code."""
    controller = controller_of(options)
    answer = _follow(controller, text, options.slot)
    if options.ask and not answer.code:
        found = slot.ask(controller, answer.body)
        if found is not None:
            answer = _follow(controller, text, found)
    return answer.code or answer.body


def _follow(controller: Controller, text: str, number: int | None) -> Answer:
    body: dict[str, Any] = {"packet": text} if number is None else {"packet": text, "slot": number}
    answer = controller.ask("POST", "/v1/explain", body)
    answer.complain()
    return answer


def _from_file(text: str, options: argparse.Namespace) -> dict[str, Any]:
    config = load_file(options.config)
    slots, closed = Backends(config).conditions(config)
    states = compiler.compile(config, Conditions(slots=slots, closed=closed))
    return explain(text, config, states, states, slot=options.slot)


def _mistake(text: str, error: PacketError) -> str:
    """What is wrong with a text, and an arrow to where."""
    if not text.isprintable() or len(text) > _WIDE:
        return f"portlb: {error}"
    return f"portlb: {error.message}\n  {text}\n  {' ' * (error.position - 1)}^"


def _slot(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 3 or int(text) > 255:
        raise argparse.ArgumentTypeError(f"{text!r} is no slot from 0 to 255")
    return int(text)
