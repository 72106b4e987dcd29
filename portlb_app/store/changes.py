"""``lb.yaml.history``, beside the configuration file: every change, and the text of every configuration.

- ``journal``: a line when a change begins, and one when it has ended (`journal`).
- ``HASH.yaml.gz``: the text of a configuration under its hash, for ``zcat``.

A change that begins is on the disk before any switch hears of it, with the room that its end needs: so a full disk
refuses a change, and never the note of what became of it. Texts are compared with their hash when they are read.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import os
import re
import stat
import tempfile
import zlib
from collections.abc import Collection
from dataclasses import asdict, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from portlb_app.api.history import MAX_WORDS, Change, short
from portlb_app.config.etag import etag
from portlb_app.config.text import MAX_BYTES
from portlb_app.store.file import StoreError
from portlb_app.store.journal import MAX_LINE, Journal

SUFFIX = ".history"
COMPACT_BYTES = 4 << 20
"""The journal is written anew when it has more, with the changes that are kept."""
MAX_TEXTS = 64 << 20
"""Bytes of all texts together, compressed; the oldest go first."""
_TEXT = re.compile(r"[0-9a-f]{32}\.yaml\.gz")
_CHANGE = TypeAdapter(Change)

_LOG = logging.getLogger("portlb.store")


class Damaged(Exception):
    """A text is not what its hash says, or is gone; str() says which."""


def hash_of(text: str) -> str:
    """What a text is called: 32 hexadecimal digits, the ones of its entity tag."""
    return etag(text).strip('"')


class ChangesDirectory:
    """The directory of the configuration file `config`. It is made with the first change."""

    def __init__(self, config: Path) -> None:
        self._config = config.absolute()
        self.path = self._config.with_name(config.name + SUFFIX)
        self._journal: Journal | None = None

    @property
    def exists(self) -> bool:
        """Whether anything was written down."""
        return self.path.is_dir()

    def load(self) -> list[Change]:
        """The changes that are written down; nothing if there is no such directory; OSError."""
        if not self.exists:
            return []
        self._remove_left_over()
        self._journal = Journal(self.path / "journal")
        found: dict[int, Change] = {}
        for line in self._journal.lines:
            try:
                change = _CHANGE.validate_json(line)
            except ValidationError:
                self._journal.damaged += 1
                continue
            found[change.id] = change
        self._journal.lines.clear()
        if self._journal.damaged:
            kept = self.path / "journal.damaged"
            kept.unlink(missing_ok=True)
            kept.hardlink_to(self.path / "journal")
            self._journal.replace(map(_line, found.values()))
            _LOG.error("%d lines of %s/journal are damaged; it is kept as %s", self._journal.damaged, self.path, kept)
        return list(found.values())

    def begin(self, change: Change, text: str | None, known: Collection[Change]) -> None:
        """Write down that a change begins, and the text of its configuration; StoreError, and then nothing is.

        `known`: all changes that are kept, this one too. `text`: None where it is there already.
        """
        is_new = not self.exists
        made: Path | None = None
        try:
            if is_new:
                self._make()
            if text is not None:
                made = self._save_text(text)
            room = MAX_LINE * sum(each.has_begun for each in known)
            self._append(change, known, room)
        except OSError as error:
            with contextlib.suppress(OSError):
                if made is not None:
                    made.unlink()
                if is_new:
                    self._unmake()
            raise StoreError(f"{self.path}: the change can't be written down: {error.strerror}") from None

    def end(self, change: Change, known: Collection[Change]) -> None:
        """Write down what became of it; StoreError."""
        try:
            self._append(change, known, room=0)
        except OSError as error:
            raise StoreError(f"{self.path}: what became of a change can't be written down: {error.strerror}") from None

    def text(self, name: str) -> str:
        """The text with this hash; Damaged, OSError."""
        try:
            with gzip.open(self.path / f"{name}.yaml.gz") as file:
                data = file.read(MAX_BYTES + 1)
            text = data.decode()
        except FileNotFoundError:
            raise Damaged(f"{self.path}/{name}.yaml.gz is not there any more") from None
        except (EOFError, zlib.error, UnicodeDecodeError, gzip.BadGzipFile) as error:
            raise Damaged(f"{self.path}/{name}.yaml.gz is damaged: {error}") from None
        if hash_of(text) != name:
            raise Damaged(f"{self.path}/{name}.yaml.gz is damaged: it has another text")
        return text

    # ---- inside ----

    def _append(self, change: Change, known: Collection[Change], room: int) -> None:
        journal = self._journal
        if journal is not None and journal.size < COMPACT_BYTES:
            try:
                journal.append(_line(change), room)
                return
            except FileNotFoundError as error:
                _LOG.warning("%s/journal: %s; it is written anew", self.path, error.strerror)
        if not self.exists:
            self._make()
        self._journal = Journal(self.path / "journal")
        self._journal.replace(map(_line, sorted(known, key=lambda each: each.id)), room)
        self._own(self.path / "journal", 0o640)
        self._sync()
        self._remove_texts({each.config for each in known})

    def _make(self) -> None:
        """Make the directory: its owner and group are those of the configuration file, who may read it as well."""
        mode = stat.S_IMODE(os.stat(self._config).st_mode)
        readers = 0o050 * bool(mode & 0o040) | 0o005 * bool(mode & 0o004)
        os.mkdir(self.path, 0o700)
        self._own(self.path, 0o700 | readers)
        _sync_directory(self.path.parent)

    def _unmake(self) -> None:
        for each in self.path.iterdir():
            each.unlink()
        self.path.rmdir()

    def _own(self, path: Path, mode: int) -> None:
        known = os.stat(self._config)
        os.chmod(path, mode)
        with contextlib.suppress(PermissionError):
            os.chown(path, known.st_uid, known.st_gid)

    def _save_text(self, text: str) -> Path | None:
        """Save a text that is not there yet; its path if it was not."""
        path = self.path / f"{hash_of(text)}.yaml.gz"
        with contextlib.suppress(Damaged):
            self.text(hash_of(text))
            os.utime(path)
            return None
        handle, name = tempfile.mkstemp(dir=self.path, prefix=".text.portlb-")
        try:
            data = gzip.compress(text.encode(), mtime=0)
            while data:
                data = data[os.write(handle, data) :]
            self._own(Path(name), 0o640)
            os.fsync(handle)
            os.replace(name, path)
            name = str(path)
            self._sync()
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        finally:
            os.close(handle)
        return path

    def _remove_texts(self, needed: Collection[str]) -> None:
        """Remove the texts that no change names any more, and the oldest where all together are too large."""
        texts = [path for path in self.path.iterdir() if _TEXT.fullmatch(path.name)]
        room = MAX_TEXTS
        for path in sorted(texts, key=lambda each: -each.stat().st_mtime):
            room -= path.stat().st_size
            if room < 0 or path.name[:32] not in needed:
                path.unlink()

    def _remove_left_over(self) -> None:
        for left in self.path.glob(".*.portlb-*"):
            left.unlink(missing_ok=True)

    def _sync(self) -> None:
        _sync_directory(self.path)


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _line(change: Change) -> bytes:
    """A change as a line of the journal, cut to what a line may have."""
    cut = replace(change, switches=short(change.switches), reason=change.reason[:MAX_WORDS])
    for most in (64, 16, 4, 0):
        some = dict(list(cut.switches.items())[:most])
        data = json.dumps(asdict(replace(cut, switches=some, subject=cut.subject[:MAX_WORDS]))).encode()
        if len(data) + 10 <= MAX_LINE:
            return data
    raise AssertionError("a line that is too long without switches")
