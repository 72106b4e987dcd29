"""The log's thread: nobody waits for what it writes to."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from portlb_app.runtime import log_writer
from portlb_app.runtime.log_writer import LogWriter


@pytest.fixture
def log() -> logging.Logger:
    log = logging.getLogger("test_log_writer")
    log.propagate = False
    return log


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_pipe_that_nobody_reads_stops_nobody(
    log: logging.Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit is lost and counted, the end does not wait for ever, and then it goes on."""
    monkeypatch.setattr(log_writer, "END_SECONDS", 0.05)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    writer = LogWriter(pipe, lines=10)
    log.addHandler(writer)
    try:
        for number in range(200):
            log.warning("%d %s", number, "x" * 4096)
        writer.flush()
        data = b""

        def kept() -> list[bytes]:
            return [line for line in data.split(b"\n") if line.endswith(b"x" * 4096)]

        def are_told() -> bool:
            """Whether all are there or told as lost, at once or in several lines."""
            nonlocal data
            try:
                data += os.read(reader, 1 << 20)
            except BlockingIOError:
                pass
            lost = sum(map(int, re.findall(rb"(\d+) records of this log are lost", data)))
            return len(kept()) + lost == 200

        wait_for(are_told)
        assert kept()[0].startswith(b"0 ") and len(kept()) < 200
    finally:
        log.removeHandler(writer)
        os.close(reader)


def test_a_file_that_is_moved_away_is_made_anew(log: logging.Logger, tmp_path: Path) -> None:
    file = tmp_path / "log"
    writer = LogWriter(file)
    log.addHandler(writer)
    try:
        log.warning("one")
        writer.flush()
        file.rename(tmp_path / "old")
        log.warning("two")
        writer.flush()
        assert ((tmp_path / "old").read_text(), file.read_text()) == ("one\n", "two\n")
    finally:
        log.removeHandler(writer)


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        LogWriter(tmp_path / "nowhere" / "log")


def test_the_journal_is_known_by_the_stream_that_systemd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd.exec(5): device and inode of the stream. A file is no journal, whatever the environment says."""
    with (tmp_path / "stream").open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setattr(log_writer.sys, "__stderr__", stream)
        assert not LogWriter(None).is_journal
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + 1}")
        assert not LogWriter(None).is_journal
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert LogWriter(None).is_journal
        assert not LogWriter(tmp_path / "stream").is_journal
