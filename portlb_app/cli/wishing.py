"""What ``portlb drain``, ``ready``, ``maint`` and ``weight`` have in common: a request for each server, and its answer.

Servers are asked for one after the other, because each answer says what it means for the pools as they are then.
"""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from portlb_app.cli.rest_client import Answer, Controller, add_flag, controller_of
from portlb_app.cli.times import moment
from portlb_app.config.problems import printable

EXIT_CODES = (
    "Exit codes: 0 all connected switches have it, 1 refused or the controller does not answer, 2 wrong input, such as "
    "an unknown server, 3 some switch lacks it yet; the wish stands."
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that all have."""
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for those who look later")
    parser.add_argument(
        "--until", type=moment, metavar="TIME",
        help="when the file's value holds again: 2026-12-01T06:00:00Z, 06:00, or a duration such as 2h",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="also if a pool is left without a server that serves")
    parser.add_argument("--dry-run", action="store_true", help="only say what would change")
    add_flag(parser)


def body(options: argparse.Namespace, **value: Any) -> dict[str, Any]:
    """The body of a request."""
    said = {"reason": options.reason, "by": user(), "until": options.until, "force": options.force}
    return {**value, **said}


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
    if by and quote(by, safe="") == by:  # the controller undoes no percent-encoding
        query.append(f"by={by}")
    answer = controller.ask(method, f"{path}?{'&'.join(query)}" if query else path, wish)
    answer.complain()
    for sentence in answer.body.get("says", ()):
        print(printable(sentence))
    return answer


def each(options: argparse.Namespace, key: str, wish: Callable[[], dict[str, Any]]) -> int:
    """Ask the same of each server that is named; the worst exit code."""
    controller = controller_of(options)
    codes = [ask(controller, "PUT", server_path(name, key), wish(), options).code for name in options.names]
    return worst(codes)


def server_path(name: str, part: str = "") -> str:
    """The path of a server, or of a part of it, whatever somebody takes for a name."""
    return f"/v1/servers/{quote(name, safe='')}" + (f"/{part}" if part else "")


def worst(codes: list[int]) -> int:
    """Of several exit codes the one that says most: wrong input, then failure, then not yet."""
    return next((code for code in (2, 1, 3) if code in codes), 0)


def user() -> str:
    """Who asks."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "nobody"
