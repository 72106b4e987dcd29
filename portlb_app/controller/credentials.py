"""What REST asks of clients, and shows them: the access file, certificates and keys, read again when they change.

A look at the files costs little, so it is done all the time: a token that is taken out of the file ends within seconds,
and a certificate that was renewed is shown, without a signal.
"""

from __future__ import annotations

import logging
import os
import ssl
import stat
from collections.abc import Callable

from ryu.lib import hub

from portlb_app.api import access
from portlb_app.controller.settings import Settings
from portlb_app.runtime.files import Files, Slow
from portlb_app.southbound import tls

LOOK_SECONDS = 5.0
"""How long after a change the files are read again, at most."""

_LOG = logging.getLogger("portlb.rest")


class Unusable(Exception):
    """A file cannot be used; the message says which and why."""


class Credentials:
    """`access`: what the access file says, None if there is none: then all of loopback may do everything. `tls`: how
    connections of the network are encrypted, None if they are not.
    """

    def __init__(self, settings: Settings) -> None:
        """Read the files; Unusable."""
        self._settings = settings
        self._read_as = self._marks()
        self.access, self.tls = self._read()
        self.on_change: Callable[[], None] = lambda: None
        """Called when something was read again."""

    def watch(self, files: Files) -> None:
        """Look at the files for ever, and read them again when one has changed. What cannot be used changes nothing."""
        while True:
            hub.sleep(LOOK_SECONDS)
            self.look(files)

    def look(self, files: Files) -> None:
        """Read the files again if one has changed."""
        if not self._paths():
            return
        try:
            marks = files.start(self._marks).wait()
            if marks == self._read_as:
                return
            self._read_as = marks  # what cannot be used is said once
            self.access, self.tls = files.start(self._read).wait()
        except (Unusable, Slow) as error:
            _LOG.error("REST goes on with the certificates and tokens it has: %s", error)
            return
        self.on_change()
        _LOG.info("REST has read its certificates and tokens again")

    def _paths(self) -> list[str]:
        given = self._settings
        return [path for path in (*(given.rest_tls or ()), given.rest_authorities, given.rest_access) if path]

    def _marks(self) -> list[tuple[int, ...] | None]:
        """What changes when a file does."""
        return [_mark(path) for path in self._paths()]

    def _read(self) -> tuple[access.Access | None, ssl.SSLContext | None]:
        path = self._settings.rest_access
        return _access(path) if path else None, _context(self._settings)


def _mark(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _access(path: str) -> access.Access:
    try:
        if os.stat(path).st_mode & stat.S_IWOTH:
            raise Unusable(f"{path}: every user may write to it: chmod o-w it")
        with open(path, "rb") as file:
            text = file.read(access.MAX_FILE + 1).decode()
        return access.load(text)
    except (OSError, UnicodeDecodeError, access.WrongAccess) as error:
        raise Unusable(f"{path}: {error.strerror if isinstance(error, OSError) else error}") from error


def _context(settings: Settings) -> ssl.SSLContext | None:
    """A client may show a certificate; whether it must depends on its having a token."""
    if settings.rest_tls is None:
        return None
    try:
        return tls.context(*settings.rest_tls, settings.rest_authorities, must_show=False)
    except OSError as error:
        raise Unusable(f"{error.filename}: {error.strerror}") from error
