"""``portlb slots``: the server of each slot of a pool, as a picture: as it is wanted, and as switches hold it."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from string import ascii_lowercase, ascii_uppercase
from typing import Any
from urllib.parse import quote

from portlb_app.cli.output import Commands, WrongInput
from portlb_app.cli.rest_client import Controller
from portlb_app.cli.table import Column, Style, table
from portlb_app.cli.view import View, add_watch, show
from portlb_app.config.problems import printable

LETTERS = ascii_lowercase + ascii_uppercase
"""One for each server of a picture; a pool with more servers is told in numbers."""
WIDTH = 32
MAX_PICTURE = 1024
"""Slots of a picture; a larger pool is told in numbers."""
DIFFERS = "*"
NO_NAME = "?"


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "slots",
        help=help_line,
        description=f"Show the server of each slot of a pool, a letter for each: as a switch was read, with {DIFFERS} "
        f"behind those that shall be another server's, and {NO_NAME} for one that the configuration does not name. "
        f"A pool of more than {MAX_PICTURE} slots or {len(LETTERS)} servers is told in numbers. Exit codes: 0 shown, 1 "
        "the controller does not answer, 2 there is no such pool or switch.",
    )
    parser.add_argument("pool", metavar="VIP:PORT", help="such as web:80")
    parser.add_argument("--switch", metavar="NAME", help="only as this switch was read")
    add_watch(parser)


def run(options: argparse.Namespace) -> int:
    """Ask the controller, and print."""
    path = pool_path(options.pool) + "/slots" + (f"?switch={quote(options.switch, safe='')}" if options.switch else "")

    def look(controller: Controller) -> View | int:
        answer = controller.get(path)
        return answer.code or View(answer.body, [options.pool], lambda style: _lines(answer.body, style))

    return show(options, look)


def pool_path(name: str) -> str:
    """The path of a pool, from a name such as web:80; WrongInput."""
    vip, colon, port = name.rpartition(":")
    if not colon or not vip or not port.isascii() or not port.isdigit():
        raise WrongInput(f"portlb: {printable(name)} is no pool: say VIP:PORT, such as web:80")
    return f"/v1/vips/{quote(vip, safe='')}/ports/{port}"


def _lines(found: dict[str, Any], style: Style) -> Iterator[str]:
    wanted: list[str | None] = found["wanted"]
    alike: dict[tuple[str | None, ...] | None, list[str]] = {}
    for name, held in found["held"].items():
        alike.setdefault(None if held is None else tuple(held), []).append(name)
    names = sorted({each for table in (wanted, *(held or () for held in alike)) for each in table if each is not None})
    letters = dict(zip(names, LETTERS, strict=False))
    in_picture = len(names) <= len(LETTERS) and len(wanted) <= MAX_PICTURE
    yield from table(LEGEND, _counts(wanted, alike, letters if in_picture else {}), style)
    for held, switches in alike.items():
        yield ""
        if held is None:
            yield printable(f"{', '.join(switches)}: not read, or without this pool")
            continue
        differ = _differing(wanted, held)
        yield printable(f"{', '.join(switches)}: {f'{differ} of {len(held)} differ' if differ else 'as wanted'}")
        if in_picture:
            yield from picture(wanted, held, letters)


def picture(wanted: Sequence[str | None], held: Sequence[str | None], letters: dict[str, str]) -> Iterator[str]:
    """Lines of letters, each with the number of its first slot; a mark behind what shall be another's."""
    for first in range(0, len(held), WIDTH):
        cells = []
        for slot in range(first, min(first + WIDTH, len(held))):
            server = held[slot]
            is_wanted = slot < len(wanted) and wanted[slot] == server
            cells.append((NO_NAME if server is None else letters[server]) + (" " if is_wanted else DIFFERS))
        yield f"{first:5}  {''.join(cells).rstrip()}"


def _differing(wanted: Sequence[str | None], held: Sequence[str | None]) -> int:
    if len(wanted) != len(held):
        return max(len(wanted), len(held))
    return sum(here != there for here, there in zip(wanted, held, strict=True))


def _counts(
    wanted: Sequence[str | None], alike: dict[tuple[str | None, ...] | None, list[str]], letters: dict[str, str]
) -> list[dict[str, Any]]:
    """Slots of each server: those that it shall have, and those that switches hold, the fewest and the most."""
    shall = Counter(wanted)
    held = [Counter(each) for each in alike if each is not None]
    servers = {*shall, *(server for each in held for server in each)}
    return [
        {
            "letter": NO_NAME if server is None else letters.get(server, ""),
            "server": server or "-",
            "wanted": shall[server],
            "held": _span([each[server] for each in held]),
        }
        for server in sorted(servers, key=lambda each: (each is None, each or ""))
    ]


def _span(counts: list[int]) -> str:
    if not counts:
        return "-"
    return str(counts[0]) if min(counts) == max(counts) else f"{min(counts)}-{max(counts)}"


LEGEND = (
    Column("LETTER", lambda each, _: each["letter"]),
    Column("SERVER", lambda each, _: each["server"]),
    Column("WANTED", lambda each, _: each["wanted"]),
    Column("HELD", lambda each, _: each["held"]),
)
