"""``portlb weight``: servers' shares of new connections."""

from __future__ import annotations

import argparse

from portlb_app.cli import wishing
from portlb_app.cli.output import Commands, WrongInput
from portlb_app.cli.rest_client import controller_of
from portlb_app.config.values import MAX_WEIGHT


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "weight",
        help=help_line,
        description="Give servers other shares of new connections than lb.yaml says: NAME N, or NAME=N for several, "
        f"which are one change. {wishing.EXIT_CODES}",
    )
    parser.add_argument(
        "words", nargs="+", metavar="NAME[=N]", help=f"servers; N is a weight from 0 (drain) to {MAX_WEIGHT}"
    )
    parser.add_argument("--unset", action="store_true", help="the weights of lb.yaml again")
    wishing.add_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Ask for it."""
    wanted = _wanted(options)
    controller, (name, *others) = controller_of(options), wanted
    if others:
        wish = {"servers": {each: {"weight": weight} for each, weight in wanted.items()}, **wishing.said(options)}
        return wishing.ask(controller, "PATCH", wishing.SERVERS, wish, options).code
    path = wishing.server_path(name, "weight")
    if options.unset:
        return wishing.ask(controller, "DELETE", path, None, options, by=wishing.user()).code
    return wishing.ask(controller, "PUT", path, {"weight": wanted[name], **wishing.said(options)}, options).code


def _wanted(options: argparse.Namespace) -> dict[str, int | None]:
    """The weights by server; None is the file's. WrongInput."""
    words: list[str] = options.words
    if options.unset:
        pairs = [(name, None if not equals else "") for name, equals, _ in (word.partition("=") for word in words)]
    elif len(words) == 2 and not any("=" in word for word in words):
        pairs = [(words[0], words[1])]
    else:
        pairs = [(name, value) for name, _, value in (word.partition("=") for word in words)]
    wanted: dict[str, int | None] = {}
    for name, text in pairs:
        if text == "":
            raise WrongInput("portlb: say NAME N, NAME=N for each, or --unset and names")
        if wanted.setdefault(name, weight := None if text is None else _weight(text)) != weight:
            raise WrongInput(f"portlb: {name} is given two weights")
    return wanted


def _weight(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 3 or int(text) > MAX_WEIGHT:
        raise WrongInput(f"portlb: {text!r} is no weight from 0 to {MAX_WEIGHT}")
    return int(text)
