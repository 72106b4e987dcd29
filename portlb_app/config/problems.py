"""What is said about a configuration: mistakes, of which one is enough to refuse it, and notices, which refuse nothing.

A configuration's author may be hostile, so what is said is bounded in number, and what is quoted from the text is
printable: no key of a file moves the cursor of a terminal.
"""

from __future__ import annotations

from typing import NamedTuple

MAX_PROBLEMS = 100
"""Mistakes that are told one by one; of more, only how many there are."""
MAX_NOTICES = 100


class Problem(NamedTuple):
    """One mistake in a configuration: where, and what."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class Notice(NamedTuple):
    """Something in a valid configuration that may not be what is wanted: where, and what."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigError(Exception):
    """The configuration has mistakes: all of them, or the first MAX_PROBLEMS and how many more there are."""

    def __init__(self, errors: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, errors)))
        self.errors = errors

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[Problem, ...]]]:
        return type(self), (self.errors,)  # so that it can come from another process


class Problems:
    """The mistakes found so far."""

    def __init__(self) -> None:
        self.kept: list[Problem] = []
        self.count = 0

    def add(self, path: str, message: str) -> None:
        """Note a mistake."""
        self.count += 1
        if self.count <= MAX_PROBLEMS:
            self.kept.append(Problem(printable(path), printable(message)))

    @property
    def too_many(self) -> bool:
        """Whether some are not kept."""
        return self.count > MAX_PROBLEMS

    def raise_any(self) -> None:
        """ConfigError, if there is a mistake."""
        if self.too_many:
            raise ConfigError((*self.kept, Problem("", f"and {self.count - MAX_PROBLEMS} more")))
        if self.kept:
            raise ConfigError(tuple(self.kept))


def refusal(path: str, message: str) -> ConfigError:
    """The error for a text that is not read any further."""
    return ConfigError((Problem(printable(path), printable(message)),))


def printable(text: str) -> str:
    """A text in which every character that does not print is written as Python writes it, such as ``\\x1b``."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
