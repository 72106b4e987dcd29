"""What every subcommand prints: errors as sentences, and output that may have no reader."""

from __future__ import annotations

import argparse
import os
import sys

Commands = argparse._SubParsersAction
"""What subcommands' parsers are added to."""

FAILED = 1
WRONG_INPUT = 2
NOT_YET = 3
"""It stands, but has not come about within the time; or two things are not the same."""
ATTENTION = 4
"""Something needs a person. These are the exit codes, with 0 for what is done."""
INTERRUPTED = 130
"""By ^C, as shells have it."""


class WrongInput(Exception):
    """The input is wrong; the message says all that is."""


class Failed(Exception):
    """It could not be done; the message says why."""


def sentence(error: OSError | UnicodeDecodeError) -> str:
    """What went wrong, and with which file if that is known."""
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}"
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename is not None else reason


def flush() -> None:
    """Write what is buffered, so that a full disk or a closed pipe is an exit code; OSError."""
    if sys.stdout is not None:  # it is None where the shell closed it
        sys.stdout.flush()


def drop_output() -> None:
    """Output that could not be written must not be tried again when Python ends."""
    try:
        flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
