"""``portlb resync``: read a switch now, and put right what differs."""

from __future__ import annotations

import argparse
import time
from urllib.parse import quote

from portlb_app.cli.output import NOT_YET, Commands
from portlb_app.cli.rest_client import Controller, add_flag, controller_of
from portlb_app.cli.times import duration
from portlb_app.config.problems import printable

LOOK_SECONDS = 0.2
USUAL_WAIT = 15.0


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "resync",
        help=help_line,
        description="Have switches read now, not at the next --resync-interval, and wait until each has what it shall "
        "have. Exit codes: 0 they have, 1 one is not connected or the controller does not answer, 2 there is no such "
        "switch, 3 not within the time.",
    )
    parser.add_argument("names", nargs="+", metavar="SWITCH", help="switches")
    parser.add_argument(
        "--wait", type=duration, default=USUAL_WAIT, metavar="DURATION",
        help="wait so long (default 15s; 0: not at all)",
    )  # fmt: skip
    add_flag(parser)


def run(options: argparse.Namespace) -> int:
    """Ask for it, and wait."""
    controller, codes = controller_of(options), [0]
    for name in options.names:
        path = f"/v1/switches/{quote(name, safe='')}"
        answer = controller.ask("POST", f"{path}/resync", {})
        answer.complain()
        codes.append(answer.code or (_wait(controller, name, path, options.wait) if options.wait else 0))
    return next((code for code in (2, 1, NOT_YET) if code in codes), 0)


def _wait(controller: Controller, name: str, path: str, seconds: float) -> int:
    """Wait for a read that began after this moment."""
    began = time.monotonic()
    while True:
        answer = controller.get(path)
        if answer.code:
            return answer.code
        switch, waited = answer.body, time.monotonic() - began
        age = switch["read_age_seconds"]
        if switch["state"] == "synced" and age is not None and age < waited:
            print(printable(f"{name}: synced, {switch['flows']} flows and {switch['groups']} groups"))
            return 0
        if waited >= seconds:
            print(printable(f"{name}: {switch['state']}, not synced within {seconds:.0f} s"))
            return NOT_YET
        time.sleep(LOOK_SECONDS)
