"""``portlb support``: everything that a report of a fault needs, in files that only their owner can read."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from portlb_app import __version__
from portlb_app.cli.output import FAILED, Commands, Failed, WrongInput
from portlb_app.cli.progress import Progress
from portlb_app.cli.rest_client import Controller, add_flag, controller_of
from portlb_app.config.problems import printable

RESOURCES = {
    "status.json": "/v1/status",
    "config.yaml": "/v1/config",
    "servers.json": "/v1/servers",
    "pools.json": "/v1/pools",
    "vips.json": "/v1/vips",
    "switches.json": "/v1/switches",
    "links.json": "/v1/links",
    "checks.json": "/v1/checks",
    "changes.json": "/v1/changes",
    "events.json": "/v1/events?limit=1000",
    "metrics.txt": "/metrics",
}
"""Files, and where their content comes from. The log of connections, which names clients, is none."""
NOT_THERE = 404
"""A controller of another version may lack a resource."""
_KEY = rb"[\w-]*(?:token|secret|passw|private_key|authorization)[\w-]*"
_IN_JSON = re.compile(rb'(?i)("' + _KEY + rb'"\s*:\s*)(?:"(?:[^"\\]|\\.)*"|[^\s,}\]]+)')
_IN_YAML = re.compile(rb"(?im)^(\s*(?:- )?" + _KEY + rb"\s*:).*$")


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "support",
        help=help_line,
        description="Write what a report of a fault needs into a new directory: status, configuration, servers, "
        "pools, checks, changes, events, metrics, the tables of every switch as wanted and as read. Values of keys "
        "that sound like secrets are left out, and so is the log of connections. Only the owner can read the files; "
        "look at them before you send them. Exit codes: 0 written, 1 something is missing (problems.txt says what), 2 "
        "DIR is there already.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="a directory that is not there yet")
    add_flag(parser)


def run(options: argparse.Namespace) -> int:
    """Ask for everything, and write it."""
    controller, directory, progress = controller_of(options), options.directory, Progress()
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError as error:
        raise WrongInput(f"portlb: {directory} is there already") from error
    problems, absent = list[str](), list[str]()
    wanted = [*RESOURCES.items(), *_tables(controller)]
    for number, (name, path) in enumerate(wanted):
        progress.show(number, len(wanted), name)
        try:
            status, content = controller.text("GET", path, None, {"Accept": "application/json, text/plain, */*;q=0.5"})
        except Failed as error:
            problems.append(str(error))
            continue
        if status == NOT_THERE:
            absent.append(f"the controller has no {path}")
            continue
        if status >= 400:
            problems.append(f"{path}: {status} {printable(content[:500].decode(errors='replace'))}")
        _write(directory / name, without_secrets(content))
    progress.clear()
    _write(directory / "about.txt", "".join(f"{line}\n" for line in (*_about(), *absent)).encode())
    _write(directory / "problems.txt", "".join(f"{line}\n" for line in problems).encode())
    for line in problems:
        print(line, file=sys.stderr)
    print(f"{directory}: {len(wanted) - len(absent) + 2} files; read them before you send them")
    return FAILED if problems else 0


def without_secrets(content: bytes) -> bytes:
    """A text without the values of keys that sound like secrets."""
    return _IN_YAML.sub(rb"\1 left out", _IN_JSON.sub(rb'\1"left out"', content))


def _tables(controller: Controller) -> Iterator[tuple[str, str]]:
    """The tables of every switch."""
    try:
        answer = controller.ask("GET", "/v1/status")
    except Failed:
        return
    for switch in answer.body.get("switches", ()):
        name = str(switch["name"])
        for which in ("wanted", "held"):
            path = f"/v1/switches/{quote(name, safe='')}/tables?which={which}&format=text"
            yield f"tables-{quote(name, safe='')}-{which}.txt", path


def _about() -> Iterator[str]:
    yield f"portlb {__version__}"
    yield f"Python {platform.python_version()}"
    yield platform.platform()


def _write(path: Path, content: bytes) -> None:
    """Write a new file that nobody else can read."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(handle, "wb") as file:
        file.write(content)
