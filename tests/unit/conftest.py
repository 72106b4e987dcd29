"""Processes that tests of several files use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.programs import Programs

PLAIN = "import portlb_app.compiler, portlb_app.config, portlb_app.store.file"
RYU = """
import eventlet, eventlet.wsgi
eventlet.wsgi.ALREADY_HANDLED = object()
from ryu.base import app_manager  # before the controller: its modules import each other
from portlb_app.controller import other_apps, proposals, rest
from portlb_app.southbound import listener, packet_in, session, tables_process
"""


@pytest.fixture(scope="session")
def plain_programs() -> Iterator[Programs]:
    """For programs that need what reads and compiles configurations, and for which Ryu is not there yet."""
    with Programs(PLAIN) as programs:
        yield programs


@pytest.fixture(scope="session")
def ryu_programs() -> Iterator[Programs]:
    """For programs that use Ryu, which patches Python."""
    with Programs(RYU) as programs:
        yield programs
