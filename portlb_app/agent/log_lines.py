"""The log of an agent's process: to standard error, as text for people or as JSON for programs."""

from __future__ import annotations

import argparse
import logging
import time

from portlb_app.net.log_entry import log_entry


def add_format(parser: argparse.ArgumentParser) -> None:
    """Add the flag that chooses."""
    parser.add_argument(
        "--log-format", choices=("text", "json"), default="text",
        help="how to log: lines for people, or one JSON object a line (default %(default)s)",
    )  # fmt: skip


def log_to_stderr(log_format: str) -> None:
    """Send the log of this process to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines() if log_format == "json" else logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class _JsonLines(logging.Formatter):
    """One JSON object a line, also for a record with a trace."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's line."""
        error = self.formatException(record.exc_info) if record.exc_info else ""
        about, seconds = getattr(record, "about", {}), int(record.created)
        moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(record.msecs):03}Z"
        return log_entry(moment, record.levelname, record.name, record.getMessage(), about, error)
