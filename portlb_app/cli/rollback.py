"""``portlb rollback``: the configuration of an earlier change is live again."""

from __future__ import annotations

import argparse

from portlb_app.cli.output import Commands
from portlb_app.cli.rest_client import add_flag, controller_of
from portlb_app.config.problems import printable


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "rollback", help=help_line,
        description="Propose the configuration of an earlier change, as a change of its own: it is tried like any "
        "other. Overrides hold as long as this configuration has the values that they replaced. Exit codes: 0 live, "
        "1 refused, 2 there is no such change, 3 not in time.",
    )  # fmt: skip
    parser.add_argument("id", type=int, metavar="ID", help="the change, as portlb changes lists it")
    add_flag(parser)


def run(options: argparse.Namespace) -> int:
    """Ask for it."""
    answer = controller_of(options).ask("POST", f"/v1/changes/{options.id}/rollback", {})
    answer.complain()
    for name, errors in sorted(_switches(answer.body).items()):
        print(printable(f"{name}: {'; '.join(errors)}"))
    if not answer.code:
        print(f"the configuration of change {options.id} is live")
    return answer.code


def _switches(body: dict[str, object]) -> dict[str, list[str]]:
    found = body.get("switches")
    return {name: each for name, each in found.items() if isinstance(each, list)} if isinstance(found, dict) else {}
