"""A journal: its lines are there whole or not at all, whatever ends the writer."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from portlb_app.store.journal import MAX_LINE, Journal


def written(path: Path, *lines: bytes) -> Journal:
    """A journal with these lines."""
    journal = Journal(path)
    for line in lines:
        journal.append(line)
    return journal


def test_lines_come_back_in_their_order(tmp_path: Path) -> None:
    written(tmp_path / "j", b"one", b"two", b"")
    assert Journal(tmp_path / "j").lines == [b"one", b"two", b""]
    assert Journal(tmp_path / "none").lines == []


def test_room_is_no_line_and_is_used(tmp_path: Path) -> None:
    path = tmp_path / "j"
    Journal(path).append(b"one", room=MAX_LINE)
    assert path.stat().st_size > MAX_LINE
    again = Journal(path)
    assert (again.lines, again.damaged) == ([b"one"], 0)
    again.append(b"two")
    assert Journal(path).lines == [b"one", b"two"]


@pytest.mark.parametrize("kept", range(15))
def test_a_line_that_was_cut_is_not_there(tmp_path: Path, kept: int) -> None:
    """At whatever byte; and what comes next stands after the lines before."""
    path = tmp_path / "j"
    size = written(path, b"one").size
    whole = written(path, b"other").size
    os.truncate(path, min(size + kept, whole - 1))
    cut = Journal(path)
    assert (cut.lines, cut.damaged) == ([b"one"], 0)
    cut.append(b"2")
    assert Journal(path).lines == [b"one", b"2"]


def test_rubbish_behind_the_last_line_does_not_stay(tmp_path: Path) -> None:
    """Else it would come out again behind a shorter line."""
    path = tmp_path / "j"
    written(path, b"one")
    with open(path, "ab") as file:
        file.write(b"rub\nbish" * 9)
    journal = Journal(path)
    assert (journal.lines, journal.damaged) == ([b"one"], 0)
    journal.append(b"2")
    assert Journal(path).lines == [b"one", b"2"]


@pytest.mark.parametrize("at", range(0, 12, 3))
def test_a_line_that_was_altered_is_counted(tmp_path: Path, at: int) -> None:
    path = tmp_path / "j"
    written(path, b"one", b"two")
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    found = Journal(path)
    assert (found.lines, found.damaged) == ([b"two"], 1)


@pytest.mark.parametrize("call", ["pwrite", "fdatasync", "posix_fallocate"])
def test_an_append_that_fails_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "j"
    journal = written(path, b"one")
    before = path.read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(OSError, match="No space"):
            journal.append(b"two", room=MAX_LINE)
    assert path.read_bytes() == before
    journal.append(b"three")
    assert Journal(path).lines == [b"one", b"three"]


def test_one_that_was_removed_is_missed(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = written(path, b"one")
    path.unlink()
    with pytest.raises(FileNotFoundError):
        journal.append(b"two")
    journal.replace([b"one", b"two"], room=MAX_LINE)
    assert Journal(path).lines == [b"one", b"two"]
    assert os.listdir(tmp_path) == ["j"]
