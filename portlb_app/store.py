"""The configuration file: read once at the start, replaced whole when a new configuration became live.

A replacement is staged before any switch hears of it, so that a directory that can't be written to is found while
nothing has changed yet; after that only a rename is left. Whoever is killed in between leaves the old file or the new
one, never a part.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


class StoreError(Exception):
    """The configuration file can't be replaced; str() says which file and why."""


class ConfigFile:
    """The file given on the command line. A symbolic link stays one: what it points to is replaced."""

    def __init__(self, path: Path) -> None:
        self._given = path.absolute()

    @property
    def path(self) -> Path:
        """Where the file is now: a symbolic link may have been pointed elsewhere since."""
        return self._given.resolve()

    def read(self) -> str:
        """The text of the file; OSError or UnicodeDecodeError if there is none."""
        return self.path.read_text(encoding="utf-8")

    def stage(self, text: str) -> Staged:
        """Write `text` next to the file and to the disk; StoreError if that is impossible."""
        path = self.path
        try:
            known = os.stat(path)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        except OSError as error:
            raise StoreError(f"{path} can't be replaced: {error.strerror}") from None
        staged = Staged(Path(name), path)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                os.fchmod(file.fileno(), known.st_mode & 0o7777)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            staged.discard()
            raise StoreError(f"{path} can't be replaced: {error.strerror}") from None
        return staged


class Staged:
    """A text on disk that is not the configuration file yet: `commit` or `discard` it."""

    def __init__(self, temporary: Path, path: Path) -> None:
        self._temporary = temporary
        self._path = path

    def commit(self) -> None:
        """Make it the configuration file, at once and for good; StoreError if that fails, and the old one stays."""
        try:
            os.replace(self._temporary, self._path)
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            self.discard()
            raise StoreError(f"{self._path} can't be replaced: {error.strerror}") from None

    def discard(self) -> None:
        """Remove it."""
        self._temporary.unlink(missing_ok=True)
