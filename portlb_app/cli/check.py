"""``portlb check``: every mistake in a configuration."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from portlb_app.cli.output import FAILED, WRONG_INPUT, Commands, sentence
from portlb_app.config import Config, ConfigError, load
from portlb_app.pipeline import SLOTS
from portlb_app.selection import deviation, quotas
from portlb_app.store.file import read_text

_NAMED = 4
"""Pools that one line names."""


def register(commands: Commands[argparse.ArgumentParser], help_line: str) -> None:
    """Add the subcommand's parser."""
    parser = commands.add_parser(
        "check",
        help=help_line,
        description="Report every mistake in a configuration, each with its path, and notices. "
        "Exit codes: 0 no mistakes, 1 a file cannot be read, 2 there are mistakes.",
    )
    parser.add_argument("config", type=Path, nargs="+", metavar="lb.yaml", help="a configuration (docs/config.md)")


def run(options: argparse.Namespace) -> int:
    """Check every file that is given. With several, each line begins with the name of its file."""
    return max(_check(path, f"{path}: " if len(options.config) > 1 else "") for path in options.config)


def _check(path: Path, prefix: str) -> int:
    try:
        config = load(read_text(path))
    except ConfigError as error:
        print("\n".join(f"{prefix}{problem}" for problem in error.errors), file=sys.stderr)
        return WRONG_INPUT
    except (OSError, UnicodeDecodeError) as error:
        is_named = isinstance(error, OSError) and error.filename is not None
        print(f"portlb: {'' if is_named else f'{path}: '}{sentence(error)}", file=sys.stderr)
        return FAILED
    for notice in config.notices:
        print(f"{prefix}notice: {notice}", file=sys.stderr)
    counts = f"VIPs: {len(config.vips)}, servers: {len(config.servers)}, switches: {len(config.switches)}"
    print(f"{path}: no mistakes; {counts}")
    for line in pool_lines(config):
        print(f"{prefix}{line}")
    return 0


def pool_lines(config: Config) -> Iterator[str]:
    """How many slots pools have, and how even that makes them; one line for all pools that are alike."""
    alike: dict[str, list[str]] = {}
    for vip in config.vips:
        for pool in vip.redirect_ports:
            weights = {name: config.server_by_name[name].weight for name in pool.servers}
            count = SLOTS << pool.group_bits
            if not any(weights.values()):
                what = "no server gets a connection"
            else:
                used = len(quotas(weights, count))
                what = f"{count} slots (k={pool.group_bits}) of {used} server{'s' * (used != 1)}; "
                what += f"the fullest has {100 * deviation(weights, count):.1f} % more than its share"
            alike.setdefault(what, []).append(f"{vip.name}:{pool.port}")
    for what, names in alike.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        yield f"{', '.join(names[:_NAMED])}{more}: {what}"
