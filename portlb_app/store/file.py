"""The configuration file: read once at the start, replaced whole when a new configuration became live.

A replacement is staged before any switch hears of it: it lies next to the file, on the disk, with the file's owner,
group, mode and extended attributes (an access control list is one). What makes a replacement impossible is found then,
while nothing has changed yet; after that only a rename is left. Whatever ends the controller in between leaves the old
file or the new one, never a part, and the next start removes what was staged.
"""

from __future__ import annotations

import array
import errno
import fcntl
import logging
import os
import stat
import tempfile
from pathlib import Path
from types import TracebackType

from portlb_app.config.text import MAX_BYTES

STAGED = ".{name}.portlb-"
"""How the names of staged files begin; the rest is random. One that no process has locked is left over."""

_GET_FLAGS = 0x80086601
_IMMUTABLE = 0x10
_APPEND_ONLY = 0x20
"""FS_IOC_GETFLAGS, FS_IMMUTABLE_FL and FS_APPEND_FL (linux/fs.h)."""

_LOG = logging.getLogger("portlb.store")


class StoreError(Exception):
    """The configuration file can't be replaced; str() says which file and why."""


def read_text(path: Path) -> str:
    """The text of a configuration file, cut where no configuration is valid any more; OSError, UnicodeDecodeError."""
    with open(path, "rb") as file:
        return _decoded(file.read(MAX_BYTES + 1))


def _decoded(text: bytes) -> str:
    return text.decode(errors="replace" if len(text) > MAX_BYTES else "strict")


def _open_regular(path: str, flags: int) -> int:
    handle = os.open(path, flags | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise OSError(errno.EINVAL, "it is no regular file")


class ConfigFile:
    """The file given on the command line. A symbolic link stays one: what it points to is replaced.

    With a `model`, a file that is not there yet can be made: it gets that one's owner, mode and attributes.
    """

    def __init__(self, path: Path, model: Path | None = None) -> None:
        self._given = path.absolute()
        self._model = model.absolute() if model else None

    @property
    def path(self) -> Path:
        """Where the file is now: a symbolic link may have been pointed elsewhere since."""
        return Path(os.path.realpath(self._given))

    def read(self) -> str:
        """The text of the file; OSError or UnicodeDecodeError if there is none."""
        return read_text(self._given)

    def read_again(self) -> str:
        """The same while the controller runs. It must be a regular file: a pipe could block the read for ever."""
        with open(self._given, "rb", opener=_open_regular) as file:
            return _decoded(file.read(MAX_BYTES + 1))

    def stage(self, text: str) -> Staged:
        """Write `text` next to the file and to the disk; StoreError if that, or replacing the file, is impossible."""
        path = self.path
        try:
            model = path if self._model is None or os.path.lexists(path) else self._model
            known = os.stat(model)
            if model is path:
                _require_replaceable(path, known)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=STAGED.format(name=path.name))
        except OSError as error:
            raise StoreError(f"{path} can't be replaced: {error.strerror}") from None
        staged = Staged(handle, Path(name), path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write(handle, text.encode())
            _keep_attributes(model, known, handle)
            os.fsync(handle)
        except OSError as error:
            staged.discard()
            raise StoreError(f"{path} can't be replaced: {error.strerror}") from None
        return staged

    def remove_left_over(self) -> None:
        """Remove what a killed controller staged and did not use."""
        path = self.path
        for left in path.parent.glob(f"{_literal(STAGED.format(name=path.name))}*"):
            try:
                handle = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError:
                continue
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # another controller's is locked, and stays
                left.unlink()
                _LOG.info("%s is removed: a controller that was killed left it", left)
            except OSError as error:
                _LOG.debug("%s stays: %s", left, error)
            finally:
                os.close(handle)


class Staged:
    """A text on disk that is not the configuration file yet. In a `with` block it is discarded unless committed."""

    def __init__(self, handle: int, temporary: Path, path: Path) -> None:
        self._handle: int | None = handle
        self._temporary = temporary
        self._path = path

    def __enter__(self) -> Staged:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.discard()

    def commit(self) -> None:
        """Make it the configuration file at once; StoreError if that fails, and then the old one stays.

        After the rename it *is* the file. That the directory cannot be synced then is logged: only a crash of the whole
        machine could bring the old file back.
        """
        try:
            os.replace(self._temporary, self._path)
        except OSError as error:
            self.discard()
            raise StoreError(f"{self._path} can't be replaced: {error.strerror}") from None
        self._close()
        try:
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            _LOG.warning("%s is replaced, but its directory can't be synced: %s", self._path, error)

    def discard(self) -> None:
        """Remove it, unless it has become the file."""
        if self._handle is None:
            return
        try:
            self._temporary.unlink(missing_ok=True)
        except OSError as error:
            _LOG.warning("%s can't be removed: %s", self._temporary, error)
        self._close()

    def _close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _write(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _require_replaceable(path: Path, known: os.stat_result) -> None:
    """OSError for what would only be found by the rename, when the configuration is live."""
    if not stat.S_ISREG(known.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    if _mount(path) != _mount(path.parent):
        raise OSError(errno.EBUSY, "it is mounted by itself; mount its directory instead")
    if _flags(path) & (_IMMUTABLE | _APPEND_ONLY) or _flags(path.parent) & _APPEND_ONLY:
        raise OSError(errno.EPERM, "it or its directory is immutable or append-only (chattr)")
    directory = os.stat(path.parent)
    if directory.st_mode & stat.S_ISVTX and os.geteuid() not in (0, known.st_uid, directory.st_uid):
        raise OSError(errno.EPERM, "it is another user's, in a directory with the sticky bit")


def _mount(path: Path) -> str:
    """The mount a path is on (proc(5), fdinfo): a bind mount of the same file system has another one."""
    handle = os.open(path, os.O_PATH)
    try:
        lines = Path(f"/proc/self/fdinfo/{handle}").read_text().splitlines()
    finally:
        os.close(handle)
    return next((line for line in lines if line.startswith("mnt_id:")), "")


def _flags(path: Path) -> int:
    """A file's inode flags (ioctl_iflags(2)); 0 where they cannot be asked for."""
    flags = array.array("l", [0])
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return 0
    try:
        fcntl.ioctl(handle, _GET_FLAGS, flags)
    except OSError:
        return 0
    finally:
        os.close(handle)
    return flags[0]


def _keep_attributes(path: Path, known: os.stat_result, handle: int) -> None:
    """Give a new file the owner, group, mode and extended attributes of an old one; OSError where one can't be kept."""
    try:
        os.fchown(handle, known.st_uid, known.st_gid)
        os.fchmod(handle, stat.S_IMODE(known.st_mode))
    except OSError as error:
        raise OSError(error.errno, f"its owner, group and mode can't be kept: {error.strerror}") from None
    try:
        kept = {name: os.getxattr(path, name) for name in os.listxattr(path)}
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return
        raise
    for name, value in kept.items():
        try:
            if name not in os.listxattr(handle) or os.getxattr(handle, name) != value:
                os.setxattr(handle, name, value)
        except OSError as error:
            raise OSError(error.errno, f"its attribute {name} can't be kept: {error.strerror}") from None


def _literal(name: str) -> str:
    """A name as a pattern that matches it alone."""
    return "".join(f"[{each}]" if each in "*?[" else each for each in name)
