"""For all lanes: what programs do does not depend on the environment that the tests were started from."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mininet_topos import surroundings


@pytest.fixture(scope="session", autouse=True)
def own_surroundings() -> Iterator[None]:
    """A home directory of the tests' own, and no variables of the user's."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="portlb-home-") as home:
        surroundings.leave_behind(Path(home))
        yield
        os.environ.clear()
        os.environ.update(before)
