"""One private Open vSwitch for all tests of this directory; each test makes its own bridges."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest

from tests.ovs.controller import ControllerProcess
from tests.ovs.switch import Switch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ryu's own, while it is imported
    import ryu.ofproto  # noqa: F401


@pytest.fixture(scope="session")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Switch]:
    """A running Open vSwitch without bridges."""
    switch = Switch(tmp_path_factory.mktemp("ovs"))
    yield switch
    switch.close()


@pytest.fixture(scope="module", autouse=True)
def no_controller_is_left() -> Iterator[None]:
    """A stage that fails leaves no process behind: it would be reported with another test, and take its time."""
    yield
    ControllerProcess.end_all()
