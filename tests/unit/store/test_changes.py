"""``lb.yaml.history``: what was written down is there afterwards, or the change was refused and nothing is."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portlb_app.api.history import KEPT, MAX_SWITCHES, Change, History, SwitchOutcome, found_at_the_start
from portlb_app.store import journal as of_journal
from portlb_app.store.changes import ChangesDirectory, Damaged, hash_of
from portlb_app.store.file import StoreError
from tests.support.programs import Programs

CALLS = ("mkdir", "open", "write", "pwrite", "fsync", "fdatasync", "replace", "chmod", "posix_fallocate")
"""System calls by which a change is written down; chown may fail, where the controller is not the file's owner."""
TEXT, OTHER = "switches: {}\n", "vips: {}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A configuration file."""
    found = tmp_path / "lb.yaml"
    found.write_text(TEXT)
    found.chmod(0o640)
    return found


START = """
import sys
from pathlib import Path
from portlb_app.config.overrides import NONE
from portlb_app.controller import changes
from portlb_app.runtime.files import Files
from portlb_app.store.changes import ChangesDirectory

directory, text, files = ChangesDirectory(Path(sys.argv[1])), sys.argv[2], Files()
history, ended = changes.load(directory, text, NONE, 9.0)
written = changes.Changes(history, directory, files, text, ended)
files.start(lambda: None).wait()
assert written.is_written
for each in history:
    print(each.id, each.outcome)
"""
"""What a controller does with its history when it is started with a text."""


def begun(number: int, text: str = TEXT) -> Change:
    """A configuration that is proposed."""
    return Change(number, "config", "rest", 5.0, by="max", came_from="127.0.0.1", config=hash_of(text))


def ended(change: Change, outcome: str = "live") -> Change:
    """What became of it."""
    return replace(change, outcome=outcome, reason="it is live", seconds=0.5, switches={"s1": SwitchOutcome("synced")})


def test_changes_and_texts_come_back(path: Path) -> None:
    directory = ChangesDirectory(path)
    one, two = begun(1), begun(2, OTHER)
    directory.begin(one, TEXT, [one])
    directory.end(ended(one), [ended(one)])
    directory.begin(two, OTHER, [ended(one), two])
    again = ChangesDirectory(path)
    assert again.load() == [ended(one), two]
    assert (again.text(hash_of(TEXT)), again.text(hash_of(OTHER))) == (TEXT, OTHER)


def test_there_is_none_before_the_first_change(path: Path) -> None:
    assert ChangesDirectory(path).load() == []
    assert os.listdir(path.parent) == ["lb.yaml"]


def test_texts_are_for_zcat_and_for_those_that_may_read_the_file(path: Path) -> None:
    directory = ChangesDirectory(path)
    if os.geteuid() == 0:
        os.chown(path, 1234, 4321)
    directory.begin(begun(1), TEXT, [begun(1)])
    kept = directory.path / f"{hash_of(TEXT)}.yaml.gz"
    assert subprocess.run(["zcat", kept], capture_output=True, text=True, check=True).stdout == TEXT
    known, made = path.stat(), directory.path.stat()
    assert (made.st_uid, made.st_gid, made.st_mode & 0o777) == (known.st_uid, known.st_gid, 0o750)
    assert {each.stat().st_mode & 0o777 for each in directory.path.iterdir()} == {0o640}


def counting(monkeypatch: pytest.MonkeyPatch, fail_at: int, error: int) -> list[str]:
    """From now on the system call with this number fails; the names of those that were made."""
    made: list[str] = []

    def wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            made.append(name)
            if len(made) == fail_at:
                raise OSError(error, os.strerror(error))
            return real(*arguments, **named)

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, wrapped(name, getattr(os, name)))
    return made


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("is_first", [True, False])
def test_whatever_call_fails_nothing_is_written_down(
    path: Path, monkeypatch: pytest.MonkeyPatch, is_first: bool, error: int
) -> None:
    """The change is refused, what was known is known still, and the next one is taken."""
    known: list[Change] = []
    if not is_first:
        known = [ended(begun(1))]
        directory = ChangesDirectory(path)
        directory.begin(begun(1), TEXT, [begun(1)])
        directory.end(known[0], known)
    files = sorted(os.listdir(path.parent))
    change, number = begun(2, OTHER), 0
    while True:
        number += 1
        directory = ChangesDirectory(path)
        directory.load()
        with monkeypatch.context() as patch:
            made = counting(patch, number, error)
            try:
                directory.begin(change, OTHER, [*known, change])
            except StoreError as failed:
                assert os.strerror(error) in str(failed)
            else:
                break
        assert ChangesDirectory(path).load() == known, made
        assert sorted(os.listdir(path.parent)) == files, made
    assert number == len(made) + 1 > 8, made
    assert ChangesDirectory(path).load() == [*known, change]


@pytest.mark.parametrize("after", [False, True])
def test_whatever_call_it_is_killed_at_all_that_was_acknowledged_is_there(path: Path, after: bool) -> None:
    """Killed before or after each system call, by a process of its own: the change is there or it is not."""
    first = ended(begun(1))
    directory = ChangesDirectory(path)
    directory.begin(begun(1), TEXT, [begun(1)])
    directory.end(first, [first])
    change, number, seen = begun(2, OTHER), 0, set()
    while True:
        number += 1
        child = os.fork()
        if not child:
            _killed_at(path, number, after, change, first)
        _, status = os.waitpid(child, 0)
        found = ChangesDirectory(path).load()
        assert found in ([first], [first, change]), number
        seen.add(len(found))
        if os.waitstatus_to_exitcode(status) == 0:
            break
        assert os.waitstatus_to_exitcode(status) == 9
        assert ChangesDirectory(path).text(first.config) == TEXT
    assert found == [first, change] and ChangesDirectory(path).text(change.config) == OTHER
    assert seen == {1, 2} and number > 5


def _killed_at(path: Path, number: int, after: bool, change: Change, first: Change) -> None:
    """In the child: begin a change, and die at a system call; exit code 0 if there are fewer."""
    made = 0

    def wrapped(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal made
            made += 1
            if made == number and not after:
                os._exit(9)
            result = real(*arguments, **named)
            if made == number:
                os._exit(9)
            return result

        return call

    try:
        directory = ChangesDirectory(path)
        directory.load()
        for name in CALLS:
            setattr(os, name, wrapped(getattr(os, name)))
        directory.begin(change, OTHER, [first, change])
        os._exit(0)
    finally:
        os._exit(1)


def test_a_text_that_is_damaged_is_not_used_and_comes_back_when_it_is_proposed_again(path: Path) -> None:
    directory = ChangesDirectory(path)
    directory.begin(begun(1), TEXT, [begun(1)])
    kept = directory.path / f"{hash_of(TEXT)}.yaml.gz"
    whole = kept.read_bytes()
    directory._save_text(OTHER)
    for damaged in (whole[:-1], b"", b"rubbish", whole[:20] + b"\0" + whole[21:]):
        kept.write_bytes(damaged)
        with pytest.raises(Damaged):
            directory.text(hash_of(TEXT))
    (directory.path / f"{hash_of(OTHER)}.yaml.gz").replace(kept)
    with pytest.raises(Damaged, match="it has another text"):
        directory.text(hash_of(TEXT))
    directory.begin(begun(2), TEXT, [begun(2)])
    assert directory.text(hash_of(TEXT)) == TEXT
    kept.unlink()
    with pytest.raises(Damaged, match="is not there any more"):
        directory.text(hash_of(TEXT))


def test_a_journal_that_is_damaged_is_kept_and_the_rest_of_it_used(path: Path) -> None:
    directory = ChangesDirectory(path)
    for number in (1, 2, 3):
        directory.begin(begun(number), TEXT, [begun(each) for each in range(1, number + 1)])
    written = directory.path / "journal"
    data = written.read_bytes()
    at = data.index(b'"id": 2')
    written.write_bytes(data[:at] + b"#" + data[at + 1 :])
    again = ChangesDirectory(path)
    assert [each.id for each in again.load()] == [1, 3]
    assert b"#id" in (directory.path / "journal.damaged").read_bytes()
    again.begin(begun(4), TEXT, [begun(1), begun(3), begun(4)])
    assert [each.id for each in ChangesDirectory(path).load()] == [1, 3, 4]


def test_it_is_made_anew_where_somebody_removed_it(path: Path) -> None:
    directory = ChangesDirectory(path)
    directory.begin(begun(1), TEXT, [begun(1)])
    for each in directory.path.iterdir():
        each.unlink()
    directory.path.rmdir()
    directory.begin(begun(2, OTHER), OTHER, [ended(begun(1)), begun(2, OTHER)])
    assert [each.id for each in ChangesDirectory(path).load()] == [1, 2]


def test_the_journal_stays_small_and_texts_go_with_their_changes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portlb_app.store.changes.COMPACT_BYTES", 1000)
    directory, history = ChangesDirectory(path), History()
    monkeypatch.setitem(KEPT, "live", 3)  # type: ignore[misc]
    for number in range(1, 9):
        change = history.begin(begun(0, f"# {number}\n"))
        directory.begin(change, f"# {number}\n", tuple(history))
        history.end(ended(change))
        directory.end(ended(change), tuple(history))
    assert len(history) <= 4
    assert (directory.path / "journal").stat().st_size < 1000 + 3 * of_journal.MAX_LINE
    assert len(list(directory.path.glob("*.yaml.gz"))) <= 5
    assert [each.id for each in ChangesDirectory(path).load()][-1] == 8


def test_lines_are_cut_to_what_a_line_may_have(path: Path) -> None:
    """Of switches those that lack it stay."""
    switches = {f"s{number}": SwitchOutcome("synced") for number in range(300)}
    switches["s299"] = SwitchOutcome("error", tuple("x" * 5000 for _ in range(50)))
    change = replace(ended(begun(1)), switches=switches, reason="y" * 9000, subject="z" * 9000)
    directory = ChangesDirectory(path)
    directory.begin(change, TEXT, [change])
    (found,) = ChangesDirectory(path).load()
    assert 0 < len(found.switches) <= MAX_SWITCHES and found.switches["s299"].state == "error"


def test_what_a_killed_controller_left_is_ended_by_what_the_files_have() -> None:
    overrides = [
        replace(begun(number), what="override", overrides=f"o{number}", config="c") for number in (3, 4, 5)
    ]  # fmt: skip
    known = [ended(begun(1)), begun(2, OTHER), *overrides]
    found = {each.id: each.outcome for each in found_at_the_start(known, hash_of(OTHER), "o4")}
    assert found == {2: "live", 3: "saved", 4: "saved", 5: "ended"}
    found = {each.id: each.outcome for each in found_at_the_start(known, hash_of(TEXT), "o5")}
    assert found == {2: "ended", 3: "saved", 4: "saved", 5: "saved"}
    assert {each.before for each in found_at_the_start(known, "", "") if each.what == "config"} == {hash_of(TEXT)}


def test_an_end_that_the_next_start_found_is_written_down(path: Path, ryu_programs: Programs) -> None:
    """The file says what became of a change only until it is another one: a start after that knows it still."""
    directory = ChangesDirectory(path)
    one, two, three = begun(1), begun(2, OTHER), begun(3, TEXT)
    directory.begin(one, TEXT, [one])
    directory.end(ended(one), [ended(one)])
    directory.begin(two, OTHER, [ended(one), two])
    directory.begin(three, TEXT, [ended(one), two, three])
    done = ryu_programs.run(START, path, OTHER)
    assert done.stdout.split() == ["3", "ended", "2", "live", "1", "live"], done.stderr
    known = ChangesDirectory(path).load()
    assert [(each.id, each.outcome) for each in known] == [(1, "live"), (2, "live"), (3, "ended")]
    assert ryu_programs.run(START, path, TEXT).stdout.split()[:6] == ["4", "live", "3", "ended", "2", "live"]
    assert History(ChangesDirectory(path).load()).live == History(ChangesDirectory(path).load()).get(4)


def test_a_history_keeps_what_became_live_longer_than_what_did_not() -> None:
    history = History()
    for _ in range(KEPT["live"] + 7):
        history.end(ended(history.begin(begun(0))))
        for _ in range(3):
            history.end(ended(history.begin(begun(0)), "refused"))
    outcomes = [each.outcome for each in history]
    assert KEPT["live"] <= outcomes.count("live") <= KEPT["live"] + 1
    assert KEPT["other"] <= outcomes.count("refused") <= KEPT["other"] + 1
    assert [each.id for each in history][0] == 4 * (KEPT["live"] + 7)
    assert history.live is not None and history.live.id == 4 * (KEPT["live"] + 6) + 1
