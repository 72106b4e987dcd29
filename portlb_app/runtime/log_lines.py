"""The lines of the log: text for people, or JSON for programs."""

from __future__ import annotations

import logging
import time

from portlb_app.config.problems import printable
from portlb_app.net.log_entry import log_entry


class TextLines(logging.Formatter):
    """A line of text. What does not print is written as Python writes it."""

    def __init__(self, has_time: bool) -> None:
        super().__init__(f"{'%(asctime)s ' if has_time else ''}%(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The record's text."""
        return "\n".join(map(printable, super().format(record).split("\n")))


class JsonLines(logging.Formatter):
    """One JSON object a line, also for a record with a trace."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's line."""
        error = self.formatException(record.exc_info) if record.exc_info else ""
        about, seconds = getattr(record, "about", {}), int(record.created)
        moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(record.msecs):03}Z"
        return log_entry(moment, record.levelname, record.name, record.getMessage(), about, error)
