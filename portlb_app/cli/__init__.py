"""The ``portlb`` command."""

from __future__ import annotations

from portlb_app.cli.main import main

__all__ = ["main"]
