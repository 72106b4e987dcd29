"""``lb.yaml.overrides``: made with the owner and mode of ``lb.yaml``, replaced whole, and never used in part."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from portlb_app.config import ConfigError, Wanted
from portlb_app.config.overrides import NONE, Override, Overrides
from portlb_app.store.file import StoreError
from portlb_app.store.overrides import OverridesFile

IS_ROOT = os.geteuid() == 0
ONE = Overrides({("b", "state"): Override(Wanted.DRAIN, Wanted.READY, "kernel", "root", 5.0)})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A configuration file."""
    found = tmp_path / "lb.yaml"
    found.write_text("old")
    found.chmod(0o604)
    return found


def test_there_need_be_none(path: Path) -> None:
    assert OverridesFile(path).read() == NONE


def test_a_new_one_has_the_mode_and_owner_of_the_configuration(path: Path) -> None:
    if IS_ROOT:
        os.chown(path, 1234, 4321)
    file = OverridesFile(path)
    staged = file.stage(ONE)
    assert file.read() == NONE and not file.path.exists()
    staged.commit()
    assert file.path == path.with_name("lb.yaml.overrides")
    assert file.read() == ONE
    known, ours = path.stat(), file.path.stat()
    assert (ours.st_uid, ours.st_gid, ours.st_mode) == (known.st_uid, known.st_gid, known.st_mode)
    assert path.read_text() == "old"


def test_one_that_is_there_keeps_its_own(path: Path) -> None:
    file = OverridesFile(path)
    file.stage(ONE).commit()
    file.path.chmod(0o640)
    file.stage(NONE).commit()
    assert file.read() == NONE
    assert file.path.stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(path.parent)) == ["lb.yaml", "lb.yaml.overrides"]


def test_what_is_not_committed_leaves_nothing(path: Path) -> None:
    OverridesFile(path).stage(ONE).discard()
    assert os.listdir(path.parent) == ["lb.yaml"]


def test_what_cannot_be_written_is_found_when_staging(path: Path) -> None:
    file = OverridesFile(path)
    file.path.mkdir()
    with pytest.raises(StoreError, match=r"lb\.yaml\.overrides can't be replaced: it is no regular file"):
        file.stage(ONE)
    file.path.rmdir()
    path.unlink()
    with pytest.raises(StoreError, match="No such file or directory"):
        file.stage(ONE)


def test_what_a_killed_controller_staged_is_removed(path: Path) -> None:
    file = OverridesFile(path)
    left = path.with_name(".lb.yaml.overrides.portlb-x")
    left.write_text("{")
    file.remove_left_over()
    assert not left.exists() and path.exists()


def test_a_part_is_not_used(path: Path) -> None:
    """Nor what is no text at all."""
    file = OverridesFile(path)
    file.stage(ONE).commit()
    whole = file.path.read_bytes()
    for part in (b"", whole[:40], whole.rstrip()[:-1], b"\0" * len(whole)):
        file.path.write_bytes(part)
        with pytest.raises(ConfigError):
            file.read()
    file.path.write_bytes(b"\xff" + whole)
    with pytest.raises(UnicodeDecodeError):
        file.read()


def test_it_is_beside_the_name_that_was_given(path: Path) -> None:
    """A link that is pointed at another version of the configuration has the same overrides."""
    link = path.with_name("current.yaml")
    link.symlink_to("lb.yaml")
    file = OverridesFile(link)
    file.stage(ONE).commit()
    assert file.path == path.with_name("current.yaml.overrides") and file.read() == ONE
