"""The configuration file: replaced whole, with all it has, or refused before anything changes."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import signal
import stat
from pathlib import Path

import pytest

from portlb_app.config.text import MAX_BYTES
from portlb_app.store.file import ConfigFile, StoreError, read_text
from tests.support.programs import Programs

IS_ROOT = os.geteuid() == 0


def test_a_file_is_replaced_whole_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text("old")
    path.chmod(0o604)
    staged = ConfigFile(path).stage("new\r\n€")
    assert path.read_text() == "old"
    staged.commit()
    assert path.read_bytes() == "new\r\n€".encode()
    assert path.stat().st_mode & 0o777 == 0o604
    assert os.listdir(tmp_path) == ["lb.yaml"]


def test_a_discarded_text_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text("old")
    ConfigFile(path).stage("new").discard()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["lb.yaml"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/lb.yaml").write_text("old")
    link = tmp_path / "lb.yaml"
    link.symlink_to("real/lb.yaml")
    ConfigFile(link).stage("new").commit()
    assert link.is_symlink()
    assert (tmp_path / "real/lb.yaml").read_text() == "new"


def test_a_directory_that_cannot_be_written_to_is_found_when_staging(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "lb.yaml"
    path.parent.mkdir()
    path.write_text("old")
    file = ConfigFile(path)
    path.unlink()
    path.parent.rmdir()
    with pytest.raises(StoreError, match="lb.yaml can't be replaced: No such file or directory"):
        file.stage("new")


def test_a_commit_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text("old")
    staged = ConfigFile(path).stage("new")
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match="Is a directory"):
        staged.commit()
    assert os.listdir(tmp_path) == ["lb.yaml"]


def test_what_is_discarded_twice_or_committed_is_gone(tmp_path: Path) -> None:
    """A `with` block discards what no path through it has committed, also when it ends by an exception."""
    path = tmp_path / "lb.yaml"
    path.write_text("old")
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(KeyError), ConfigFile(path).stage("new"):
        raise KeyError
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["lb.yaml"])
    with ConfigFile(path).stage("new") as staged:
        staged.commit()
    assert (path.read_text(), os.listdir(tmp_path)) == ("new", ["lb.yaml"])
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_after_the_rename_nothing_reports_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text("old")
    staged = ConfigFile(path).stage("new")
    failing = OSError(errno.EIO, "Input/output error")

    def fsync(handle: int) -> None:
        raise failing

    monkeypatch.setattr(os, "fsync", fsync)
    with caplog.at_level(logging.WARNING, "portlb.store"):
        staged.commit()
    assert path.read_text() == "new"
    assert "is replaced, but its directory can't be synced" in caplog.text
    with pytest.raises(StoreError, match="Input/output error"):
        ConfigFile(path).stage("newer")
    assert (path.read_text(), os.listdir(tmp_path)) == ("new", ["lb.yaml"])


def test_owner_group_mode_and_attributes_stay(tmp_path: Path) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text("old")
    path.chmod(0o640)
    os.setxattr(path, "user.note", b"keep me")
    acl = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\x0d\0\0\0\x04\0\x04\0\xff\xff\xff\xff" + (
        b"\x10\0\x04\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff"
    )  # acl(5): user 13 may read, others may not
    try:
        os.setxattr(path, "system.posix_acl_access", acl)
    except OSError:
        acl = b""  # a file system without lists
    if IS_ROOT:
        os.chown(path, 65534, 65534)
    before = path.stat()
    with ConfigFile(path).stage("new") as staged:
        staged.commit()
    after = path.stat()
    assert path.read_text() == "new"
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert os.getxattr(path, "user.note") == b"keep me"
    assert not acl or os.getxattr(path, "system.posix_acl_access") == acl


@pytest.mark.parametrize("call", ["fchown", "fchmod", "setxattr"])
def test_what_cannot_be_kept_is_refused_before_anything_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text("old")
    os.setxattr(path, "user.note", b"keep me")

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(StoreError, match="lb.yaml can't be replaced: its .* can't be kept: Operation not permitted"):
        ConfigFile(path).stage("new")
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["lb.yaml"])


def test_no_regular_file_is_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lb.yaml")
    with pytest.raises(StoreError, match="it is no regular file"):
        ConfigFile(tmp_path / "lb.yaml").stage("new")
    assert stat.S_ISFIFO((tmp_path / "lb.yaml").stat().st_mode)


def test_links_that_lead_nowhere_are_refused(tmp_path: Path) -> None:
    (tmp_path / "lb.yaml").symlink_to("lb.yaml")
    with pytest.raises(StoreError, match="symbolic links"):
        ConfigFile(tmp_path / "lb.yaml").stage("new")


STAGE = "import sys; from portlb_app.store.file import *; ConfigFile(Path(sys.argv[1])).stage('new')"
MOUNTED = """
import ctypes, subprocess, sys
assert ctypes.CDLL(None).unshare(0x20000) == 0  # CLONE_NEWNS: the mounts are gone with the process
subprocess.run(["sh", "-ec", "mount --make-rprivate /; " + sys.argv[2]], check=True)
"""
NOBODY = "import os; os.setgroups([]); os.setresgid(*[65534] * 3); os.setresuid(*[65534] * 3)\n"


def said_when_staged(programs: Programs, path: Path, before: str, *words: str) -> str:
    """What a process of its own says when it stages a new text after it has run `before`."""
    return programs.run(before + STAGE, path, *words).stderr.strip().rpartition("\n")[2]


@pytest.mark.skipif(not IS_ROOT, reason="mounting needs root")
def test_a_file_that_is_mounted_by_itself_is_refused(tmp_path: Path, plain_programs: Programs) -> None:
    """As containers do it: a rename onto it fails, so it is not left to the rename."""
    path, other = tmp_path / "lb.yaml", tmp_path / "other.yaml"
    path.write_text("old")
    other.write_text("other")
    mounted = said_when_staged(plain_programs, path, MOUNTED, f"mount --bind {other} {path}")
    assert "it is mounted by itself; mount its directory instead" in mounted
    assert sorted(os.listdir(tmp_path)) == ["lb.yaml", "other.yaml"]
    read_only = f"mount --bind {tmp_path} {tmp_path} && mount -o remount,ro,bind {tmp_path}"
    assert "Read-only file system" in said_when_staged(plain_programs, path, MOUNTED, read_only)


@pytest.mark.skipif(not IS_ROOT, reason="being another user needs root")
def test_who_may_not_replace_it_hears_so_at_once(tmp_path: Path, plain_programs: Programs) -> None:
    """Its owner cannot be kept, or the directory cannot be written to."""
    for directory in (tmp_path, *(each for each in tmp_path.parents if "pytest-" in str(each))):
        directory.chmod(0o755)
    path = tmp_path / "lb.yaml"
    path.write_text("old")
    assert "Permission denied" in said_when_staged(plain_programs, path, NOBODY)
    tmp_path.chmod(0o777)
    assert "its owner, group and mode can't be kept" in said_when_staged(plain_programs, path, NOBODY)
    tmp_path.chmod(0o1777)
    assert "another user's, in a directory with the sticky bit" in said_when_staged(plain_programs, path, NOBODY)
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["lb.yaml"])


def test_what_a_killed_controller_left_is_removed_and_nothing_else(tmp_path: Path, plain_programs: Programs) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text("old")
    assert plain_programs.run(STAGE + "; import os; os.kill(os.getpid(), 9)", path).returncode == -signal.SIGKILL
    (left,) = tmp_path.glob(".lb.yaml.*")
    others = [tmp_path / name for name in (".lb.yaml.swp", ".lb.yaml.original", ".other.yaml.portlb-abcdefgh")]
    for other in others:
        other.write_text("not ours")
    staged = ConfigFile(path).stage("of a running controller")
    ConfigFile(path).remove_left_over()
    assert not left.exists()
    assert all(other.exists() for other in others)
    staged.commit()
    assert path.read_text() == "of a running controller"


def test_reading_has_an_end(tmp_path: Path) -> None:
    assert len(read_text(Path("/dev/zero"))) == MAX_BYTES + 1
    (tmp_path / "lb.yaml").write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        read_text(tmp_path / "lb.yaml")


def test_a_staged_file_is_locked_while_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text("old")
    with ConfigFile(path).stage("new"):
        (staged,) = tmp_path.glob(".lb.yaml.*")
        with open(staged) as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
