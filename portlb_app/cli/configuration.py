"""The configuration that a subcommand is given."""

from __future__ import annotations

import sys
from pathlib import Path

from portlb_app.cli.output import WrongInput
from portlb_app.config import Config, ConfigError, load
from portlb_app.store.file import read_text


def load_file(path: Path) -> Config:
    """Load a file and print its notices; WrongInput with its mistakes."""
    try:
        config = load(read_text(path))
    except ConfigError as error:
        raise WrongInput(error) from error
    for notice in config.notices:
        print(f"notice: {notice}", file=sys.stderr)
    return config
