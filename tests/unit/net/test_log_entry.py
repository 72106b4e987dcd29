"""A record of a log as a line of JSON: what it has, and that hostile text stays text."""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from portlb_app.agent.log_lines import _JsonLines
from portlb_app.config import moments
from portlb_app.net.log_entry import log_entry
from portlb_app.runtime.log_lines import JsonLines


def test_a_record_has_its_time_level_logger_and_message() -> None:
    """And what it is about; nothing is there that it is not about."""
    about = {"switch": "s1", "server": "", "other": "x"}
    line = log_entry("2025-11-28T08:53:20.063Z", "WARNING", "portlb", "s1 is gone", about)
    assert json.loads(line) == {
        "time": "2025-11-28T08:53:20.063Z",
        "level": "warning",
        "logger": "portlb",
        "message": "s1 is gone",
        "switch": "s1",
    }


def test_the_sample_of_the_document_is_such_a_line() -> None:
    """What it shows is made again of its parts."""
    text = (Path(__file__).parents[3] / "docs/operations.md").read_text()
    (line,) = re.findall(r"^```\n(\{\"time\".*)\n```$", text, re.MULTILINE)
    shown = json.loads(line)
    made = log_entry(shown["time"], shown["level"], shown["logger"], shown["message"], {"switch": shown["switch"]})
    assert made == line


@given(st.text(), st.text())
def test_hostile_text_stays_text(message: str, name: str) -> None:
    """No character of it ends the line or moves a cursor, and it comes out as it went in."""
    line = log_entry("", "info", "portlb", message, {"server": name})
    assert line.isascii() and line.isprintable()
    entry = json.loads(line)
    assert entry["message"] == message and entry.get("server", "") == name


def test_a_trace_is_in_the_same_line() -> None:
    for formatter in (JsonLines(), _JsonLines()):
        try:
            raise ValueError("no\nvalue")
        except ValueError:
            record = logging.LogRecord("portlb", logging.ERROR, "", 0, "it %s", ("failed",), sys.exc_info())
        record.about = {"change": "7"}
        record.created, record.msecs = 1764320000.0626, 62.6
        (line,) = formatter.format(record).splitlines()
        entry = json.loads(line)
        assert (entry["message"], entry["change"], entry["level"]) == ("it failed", "7", "error")
        assert entry["time"] == "2025-11-28T08:53:20.062Z" and moments.parse(entry["time"]) == 1764320000
        assert "ValueError: no\nvalue" in entry["error"]
