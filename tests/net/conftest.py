"""Both agents' programs for the packet tests: a file loads them once, and no test finds what another has left."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from portlb_app.agent import client, server
from portlb_app.agent.loader import Programs
from tests.net.frames import FAMILIES, MAPPING, VIPS, Family
from tests.net.programs import Loaded


@pytest.fixture(scope="module")
def loaded() -> Iterator[Loaded]:
    """Programs that are loaded once for the tests of a file."""
    with contextlib.closing(Loaded()) as made:
        yield made


@pytest.fixture
def client_programs(loaded: Loaded) -> Programs:
    """The client's, which know nothing."""
    return loaded("client", client.settings(VIPS))


@pytest.fixture
def server_programs(loaded: Loaded) -> Programs:
    """The server's, which know nothing."""
    return loaded("server", server.settings(MAPPING))


@pytest.fixture(params=FAMILIES, ids=lambda family: f"IPv{family.version}")
def family(request: pytest.FixtureRequest) -> Family:
    """Both IP versions, one after the other."""
    chosen: Family = request.param
    return chosen
