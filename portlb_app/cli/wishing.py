"""What ``portlb drain``, ``ready``, ``maint`` and ``weight`` have in common: one request, and its answer.

Several servers are one request, and one change: all of them, or none.
"""

from __future__ import annotations

import argparse
import getpass
from typing import Any
from urllib.parse import quote

from portlb_app.cli.output import WrongInput
from portlb_app.cli.rest_client import SECONDS, Answer, Controller, add_flag, controller_of
from portlb_app.cli.times import moment
from portlb_app.config.problems import printable

EXIT_CODES = (
    "Exit codes: 0 all connected switches have it, 1 refused or the controller does not answer, 2 wrong input, such as "
    "an unknown server, 3 some switch lacks it yet; the wish stands."
)
SERVERS = "/v1/servers"
SELECTORS = ("vip", "pool", "switch", "connector")
MOST_SECONDS = 300


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that all have."""
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for those who look later")
    parser.add_argument(
        "--until", type=moment, metavar="TIME",
        help="when the file's value holds again: 2026-12-01T06:00:00Z, 06:00, or a duration such as 2h",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="also if a pool is left without a server that serves")
    parser.add_argument("--dry-run", action="store_true", help="only say what would change")
    parser.add_argument(
        "--timeout", type=_seconds, metavar="SECONDS", help=f"how long switches have for it (1 to {MOST_SECONDS})"
    )
    add_flag(parser)


def add_servers(parser: argparse.ArgumentParser) -> None:
    """Add what says which servers: names, or what they have in common."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="servers")
    parser.add_argument(
        "--select", action="append", default=[], metavar="KEY=VALUE", type=_selector,
        help="in place of names: those with this vip=NAME, pool=VIP:PORT, switch=NAME or connector=SWITCH:PORT; said "
        "more than once, those with all of it",
    )  # fmt: skip


def said(options: argparse.Namespace) -> dict[str, Any]:
    """What is said about a wish."""
    return {"reason": options.reason, "by": user(), "until": options.until, "force": options.force}


def ask(
    controller: Controller,
    method: str,
    path: str,
    wish: dict[str, Any] | None,
    options: argparse.Namespace,
    by: str = "",
) -> Answer:
    """Send it, and print what comes of it; `by` is who asks where there is no body that says so."""
    query = ["dry_run=1"] * options.dry_run
    if options.timeout:
        query.append(f"timeout={options.timeout}")
    if by and quote(by, safe="") == by:  # the controller undoes no percent-encoding
        query.append(f"by={by}")
    seconds = SECONDS + (options.timeout or 0)
    answer = controller.ask(method, f"{path}?{'&'.join(query)}" if query else path, wish, seconds=seconds)
    answer.complain()
    for sentence in answer.body.get("says", ()):
        print(printable(sentence))
    return answer


def set_state(options: argparse.Namespace, state: str, **more: Any) -> Answer:
    """Ask the same of all servers that are named, or selected."""
    controller, names, values = controller_of(options), list(dict.fromkeys(options.names)), {"state": state, **more}
    if bool(names) is bool(options.select):
        raise WrongInput("portlb: say names of servers, or --select")
    if options.select:
        wish = {"select": dict(options.select), "set": values, **said(options)}
        return ask(controller, "PATCH", SERVERS, wish, options)
    if len(names) == 1:
        return ask(controller, "PUT", server_path(names[0], "state"), {**values, **said(options)}, options)
    return ask(controller, "PATCH", SERVERS, {"servers": {name: values for name in names}, **said(options)}, options)


def server_path(name: str, part: str = "") -> str:
    """The path of a server, or of a part of it, whatever somebody takes for a name."""
    return f"/v1/servers/{quote(name, safe='')}" + (f"/{part}" if part else "")


def _selector(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if key not in SELECTORS or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not {', '.join(f'{each}=…' for each in SELECTORS)}")
    return key, value


def _seconds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 3 or not 0 < int(text) <= MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 1 to {MOST_SECONDS}")
    return int(text)


def user() -> str:
    """Who asks."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "nobody"
