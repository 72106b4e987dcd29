"""``portlb token``: a token for REST, and its line in an access file."""

from __future__ import annotations

import argparse
import os
import secrets
from pathlib import Path

from portlb_app.api import access
from portlb_app.cli.output import Commands, WrongInput

BYTES = 32
"""Random bytes of a token."""


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "token",
        help=help_line,
        description="Make a token and print it, once; its hash is appended to FILE, which `portlb controller "
        "--wsapi-access` reads, and reads again. To take a token back, remove its line.",
        epilog="Roles: read-only is told everything; operator also sets states and weights of servers; admin may do "
        "everything; agent=SERVER is for the agent of that server.",
        allow_abbrev=False,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the access file; it is made if there is none")
    parser.add_argument("name", metavar="NAME", help="who has it, for the log and the history of changes")
    parser.add_argument("role", metavar="ROLE", help="admin, operator, read-only or agent=SERVER")


def run(options: argparse.Namespace) -> int:
    """Append the line, and print the token."""
    token = f"portlb_{secrets.token_urlsafe(BYTES)}"
    handle = os.open(options.file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    with open(handle, "r+b", buffering=0) as file:
        known = file.read(access.MAX_FILE + 1) or b""
        try:
            line = access.line_of(options.name, options.role, token)
            between = "" if not known or known.endswith(b"\n") else "\n"
            access.load(f"{known.decode()}{between}{line}\n")
        except (ValueError, access.WrongAccess) as error:
            raise WrongInput(f"portlb: {options.file}: {error}") from error
        file.write(f"{between}{line}\n".encode())
        os.fsync(file.fileno())
    print(token)
    return 0
