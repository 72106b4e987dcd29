"""For all lanes: what programs do does not depend on where the tests were started, and which tests run side by side."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from mininet_topos.demo import surroundings

# How fast a machine is decides no test: no deadline, and inputs may take long to draw.
settings.register_profile("whole", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("whole")
settings.register_profile("quick", settings.get_profile("whole"), max_examples=20)  # for make check

CLOCK = (
    "net/test_connlog", "net/test_reroute", "net/test_trees", "ovs/test_connlog",
    "ovs/test_hostile_openflow", "ovs/test_links", "ovs/test_standstill",
)  # fmt: skip
"""Files whose tests measure time: one at a time."""
LONGEST = (
    "clock", "net/test_agent_redirect", "net/test_end_to_end", "net/test_modes", "net/test_agent_service",
    "net/test_agent_peer", "mininet/test_demo", "ovs/test_trees", "net/test_agent_fallback", "ovs/test_soak",
    "net/test_agent_several", "net/test_agent_security", "net/test_agent_scale", "ovs/test_controller",
    "net/test_agent_veth", "net/test_punt", "net/test_names", "ovs/test_rest", "net/test_agent_packets",
    "ovs/test_punt", "ovs/test_tables", "ovs/test_reference", "net/test_soak", "ovs/test_shares",
)  # fmt: skip
"""Groups that last long, the longest first. They are begun first, so that the last to end are short ones."""


def pytest_configure(config: pytest.Config) -> None:
    """Have pytest-xdist begin groups in the order of the tests, not those of many tests first."""
    if config.pluginmanager.hasplugin("xdist"):
        config.option.loadscopereorder = False


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in a hook of the same name
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of a file share what they have made, so they are run by one process (``--dist loadgroup``)."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            item.add_marker(pytest.mark.xdist_group(_group(item)))
        ranks = {name: rank for rank, name in enumerate(LONGEST)}
        items.sort(key=lambda item: ranks.get(_group(item), len(ranks)))


def _group(item: pytest.Item) -> str:
    name = f"{item.path.parent.name}/{item.path.stem}"
    return "clock" if name in CLOCK else name


def pytest_collection_finish(session: pytest.Session) -> None:
    """A file that two processes share would be slow, and its tests in each other's way."""
    if getattr(session.config.option, "loadgroup", False) and not all("@" in item.nodeid for item in session.items):
        raise pytest.UsageError("pytest-xdist does not heed the groups of tests: use the versions of lock.txt")


@pytest.fixture(scope="session", autouse=True)
def own_surroundings() -> Iterator[None]:
    """A home directory of the tests' own, and no variables of the user's."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="portlb-home-") as home:
        surroundings.leave_behind(Path(home))
        yield
        os.environ.clear()
        os.environ.update(before)
