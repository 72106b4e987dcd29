"""The ``portlb`` command: one file a subcommand, imported when it is asked for."""

from __future__ import annotations

from portlb_app.cli.command import main

__all__ = ["main"]
