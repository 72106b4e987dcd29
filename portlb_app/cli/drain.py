"""``portlb drain``: servers get no new connections, and open ones go on."""

from __future__ import annotations

import argparse
import time
from typing import Any

from portlb_app.cli import wishing
from portlb_app.cli.output import NOT_YET, Commands, WrongInput
from portlb_app.cli.progress import Progress
from portlb_app.cli.rest_client import Controller, controller_of
from portlb_app.cli.table import span
from portlb_app.cli.times import duration, moment
from portlb_app.config.problems import printable

LOOK_SECONDS = 1.0
"""How often it is looked how many connections are left."""


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "drain",
        help=help_line,
        description="Give servers no new connections; those that are open go on. With --wait, show how many are left "
        f"until there are none. {wishing.EXIT_CODES} With --wait: 0 drained, 3 not drained in time.",
    )
    wishing.add_servers(parser)
    parser.add_argument("--wait", type=duration, metavar="DURATION", help="wait so long for the last connection to end")
    parser.add_argument(
        "--deadline", type=moment, metavar="TIME", help="when the agents end what is left; written like --until"
    )
    parser.add_argument(
        "--move", action="store_true", help="the servers' agents redirect open connections to the pools' other servers"
    )
    wishing.add_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Ask for it, and wait."""
    if options.wait is not None and options.dry_run:
        raise WrongInput("portlb: --dry-run drains nothing that --wait could wait for")
    began = time.monotonic()
    answer = wishing.set_state(options, "drain", deadline=options.deadline, move=options.move)
    if options.wait is None or answer.code not in (0, NOT_YET):
        return answer.code
    controller = controller_of(options)
    return _wait(controller, list(options.names) or _selected(controller, options), began, options.wait)


def _selected(controller: Controller, options: argparse.Namespace) -> list[str]:
    """The servers that --select means."""
    values = {"state": "drain", "deadline": options.deadline, "move": options.move}
    wish = {"select": dict(options.select), "set": values, **wishing.said(options), "force": True}
    answer = controller.ask("PATCH", f"{wishing.SERVERS}?dry_run=1", wish)
    return [str(name) for name in answer.body.get("servers", ())]


def _wait(controller: Controller, names: list[str], began: float, seconds: float) -> int:
    """Print what changes, until all are drained or time is up."""
    said: dict[str, str] = {}
    most: dict[str, int] = {}
    still: dict[str, int] = {}
    left, progress = list(names), Progress()
    while True:
        for name in list(left):
            answer = controller.ask("GET", wishing.server_path(name))
            drain = answer.body.get("drain") if answer.code == 0 else None
            if drain is None:
                progress.clear()
                print(printable(f"{name}: it does not drain any more"))
                return 1
            now = time.monotonic() - began
            line = f"{name}: {_line(drain)}"
            if drain["state"] == "drained":
                line = f"{name}: drained after {span(now)} (by {drain['source']})"
                left.remove(name)
            still[name] = 0 if drain["state"] == "drained" else drain["open"] or 0
            most[name] = max(most.get(name, 0), still[name])
            if said.get(name) != line:
                said[name] = line
                progress.clear()
                print(printable(line), flush=True)
        if not left:
            progress.clear()
            return 0
        total, now = sum(most.values()), time.monotonic() - began
        progress.show(total - sum(still.values()), total, f"{', '.join(left)}: {span(now)} of {span(seconds)}")
        if now >= seconds:
            progress.clear()
            print(f"portlb: not drained within {span(seconds)}: {', '.join(left)}; they go on draining")
            return NOT_YET
        time.sleep(max(0.0, min(LOOK_SECONDS, seconds - now)))


def _line(drain: dict[str, Any]) -> str:
    """How far it is: the number of connections where it is known, else since when no packet came."""
    if drain["open"] is not None:
        most = "at most " if drain["source"] == "log" else ""
        return f"{most}{drain['open']} open (by {drain['source']})"
    return str(drain["reason"])
