"""Starts every green thread of the controller, so that none ends without being noticed.

A green thread that ends by an error leaves the rest running as if all were well: a clock that has stopped looks like a
network in which nothing happens. So an unexpected error ends the controller, and its supervisor (systemd) starts
it again; meanwhile the switches go on as they are.

Threads of one connection that only Ryu knows are not started here: their errors cost that connection.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ryu.lib import hub

_LOG = logging.getLogger("portlb")
_failures: list[str] = []
_ending: list[bool] = []


def failures() -> tuple[str, ...]:
    """The names of what has ended by an error, or ended at all and should not."""
    return tuple(_failures)


def fail(name: str) -> None:
    """End the controller because of `name`, which the log has said more about."""
    _failures.append(name)


def end() -> None:
    """The controller ends, and its green threads with it: none is missed from now on."""
    _ending.append(True)


def spawn(name: str, function: Callable[..., object], *arguments: Any) -> Any:
    """Start a green thread that may end, or be killed, but not fail."""
    return hub.spawn(_run, name, function, arguments)


def spawn_after(seconds: float, name: str, function: Callable[..., object], *arguments: Any) -> Any:
    """The same, later."""
    return hub.spawn_after(seconds, _run, name, function, arguments)


def spawn_forever(name: str, function: Callable[..., object], *arguments: Any) -> Any:
    """Start a green thread that never ends and is never ended."""
    return hub.spawn(_run_forever, name, function, arguments)


@contextmanager
def watched(name: str) -> Iterator[None]:
    """What runs inside is a part of the controller in a thread of Ryu; an error in it is raised, too."""
    try:
        yield
    except hub.TaskExit:  # it is ended on purpose
        raise
    except BaseException:  # a time-out of eventlet's is no Exception
        _LOG.exception("%s failed", name)
        fail(name)
        raise


def _run(name: str, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    with watched(name):
        function(*arguments)


def _run_forever(name: str, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    how = "has been ended"
    try:
        _run(name, function, arguments)
        how = "has ended"
    finally:
        if not _ending and name not in _failures:  # else the log has said more
            _LOG.error("%s %s", name, how)
            fail(name)
