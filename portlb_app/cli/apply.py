"""``portlb apply``: have switches get a configuration, and the controller keep it."""

from __future__ import annotations

import argparse
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from portlb_app.cli import effects
from portlb_app.cli.diff import DRY_RUN, DRY_SECONDS
from portlb_app.cli.output import NOT_YET, Commands, Failed
from portlb_app.cli.progress import Progress
from portlb_app.cli.rest_client import Answer, Controller, add_flag, controller_of
from portlb_app.cli.table import Column, Style, table
from portlb_app.cli.view import View, add_form, write
from portlb_app.config.problems import printable
from portlb_app.store.file import read_text

LOOK_SECONDS = 0.5
"""How often it is looked how far switches are, to show it."""
MOST_TIMEOUT = 300
MOST_SECONDS = 1000.0
"""How long an answer may take: its turn, loading and compiling, and switches that make progress."""
HAS_IT = "has it"
NOT_YET_ON = ("late", "lost")
"""What a switch has made of it: it has it; it was connected, and has it not yet."""


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "apply",
        help=help_line,
        description="Have switches get a configuration. When they have it, it is live, and replaces the controller's "
        "file. If a switch refuses it, all go back. Exit codes: 0 all connected switches have it, 1 refused, or the "
        "controller does not answer, 2 the configuration has mistakes, 3 some switch lacks it yet.",
    )
    parser.add_argument("config", type=Path, metavar="lb.yaml", help="a configuration (docs/config.md)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would change, as portlb diff does")
    parser.add_argument(
        "--if-match", metavar="TAG", help="only if the live one has this entity tag (etag in portlb status -o json)"
    )
    parser.add_argument(
        "--timeout", type=_seconds, metavar="SECONDS", help="how long it may wait for its turn, and then for switches"
    )
    parser.add_argument(
        "--wait", choices=("none", "accepted", "applied"), default="applied",
        help="none: only until it is written down; portlb changes says what became of it. accepted: it also becomes "
        "live if no switch is connected (default %(default)s)",
    )  # fmt: skip
    add_form(parser)
    add_flag(parser)


def run(options: argparse.Namespace) -> int:
    """Send it, and print what comes of it."""
    text, controller = read_text(options.config), controller_of(options)
    headers = {} if options.if_match is None else {"If-Match": options.if_match}
    if options.dry_run:
        answer = controller.ask("PUT", DRY_RUN, text, headers, DRY_SECONDS)
        answer.complain()
        if not answer.code:
            write(options, effects.view(answer.body, 0))
        return answer.code
    path = f"/v1/config?wait={options.wait}" + (f"&timeout={options.timeout}" if options.timeout else "")
    answer = _shown(controller, lambda: controller.ask("PUT", path, text, headers, MOST_SECONDS))
    answer.complain()
    if answer.code:
        return answer.code
    if options.wait == "none":
        write(options, _later(answer.body))
        return 0
    code = NOT_YET if any(word in NOT_YET_ON for word in answer.body["landed"].values()) else 0
    write(options, _view(answer.body, code))
    return code


def _later(found: dict[str, Any]) -> View:
    """It goes on."""
    change = found["change"]
    return View(found, [str(change)], lambda _: [f"change {change} goes on: portlb changes {change}"])


def _view(found: dict[str, Any], code: int) -> View:
    landed = [{"name": name, "landed": word} for name, word in found["landed"].items()]

    def lines(style: Style) -> list[str]:
        words = f"configuration {found['generation']} is live, {found['configuration']}"
        behind = [each for each in landed if each["landed"] != HAS_IT]
        if not behind:
            have = "1 switch has it" if len(landed) == 1 else f"{len(landed)} switches have it"
            return [printable(f"{words}: {have}")]
        return [printable(words), *table(LANDED, behind, style)]

    keys = ("generation", "etag", "configuration", "landed")
    return View({key: found[key] for key in keys}, (each["name"] for each in landed), lines, code)


def _shown(controller: Controller, ask: Any) -> Answer:
    """The answer; until it is there, how far switches are is shown on a terminal."""
    progress, found = Progress(), list[Answer | Failed]()

    def work() -> None:
        try:
            found.append(ask())
        except Failed as error:
            found.append(error)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    while worker.is_alive():
        worker.join(LOOK_SECONDS)
        if worker.is_alive() and progress.is_shown:
            _look(controller, progress)
    progress.clear()
    [answer] = found
    if isinstance(answer, Failed):
        raise answer
    return answer


def _look(controller: Controller, progress: Progress) -> None:
    try:
        answer = controller.ask("GET", "/v1/status")
    except Failed:
        return
    states = Counter(each["state"] for each in answer.body.get("switches", ()))
    words = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    progress.show(states["synced"], states.total(), f"switches: {words}")


LANDED = (
    Column("SWITCH", lambda each, _: each["name"]),
    Column("MADE_OF_IT", lambda each, _: each["landed"]),
)


def _seconds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 3 or not 0 < int(text) <= MOST_TIMEOUT:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 1 to {MOST_TIMEOUT}")
    return int(text)
