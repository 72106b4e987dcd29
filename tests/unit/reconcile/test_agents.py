"""How agents differ from the controller: their clock, their version, and what they serve."""

from __future__ import annotations

from pathlib import Path

import pytest

from portlb_app.agent import server
from portlb_app.agent.mapping import mapping_of
from portlb_app.config import Config, Wanted, load
from portlb_app.config.overrides import NONE, Override
from portlb_app.net.heartbeat import About, Heartbeat, Serving
from portlb_app.reconcile.agents import SILENT, Agents, Compared
from portlb_app.reconcile.announced import AGENTS_READ
from portlb_app.reconcile.configuration import Configuration
from portlb_app.reconcile.happened import Happened
from portlb_app.reconcile.network import Network
from portlb_app.reconcile.results import Compiled

FLOWS = Path(__file__).parents[3] / "flows"
FIG2 = load((FLOWS / "fig2/lb.yaml").read_text())
OTHER = load((FLOWS / "fig2/lb.yaml").read_text().replace("application: 22}, 9]", "application: 22}, 7009]", 1))
UNIX = 1_764_000_000.0


def serving(config: Config, name: str) -> Serving:
    """What an agent tells that has this configuration: from what its programs are made with."""
    return server.serving(server.settings(mapping_of(config, name)))


class Beside:
    """A controller that has this configuration since its start, at time 100."""

    def __init__(self, config: Config = FIG2) -> None:
        self.config = config
        self.network = Network(Configuration("", config), Compiled(1, {}))
        self.network.now, self.network.unix_at_zero = 100.0, UNIX - 100.0
        self.agents = Agents(self.network, lambda _: self.config)

    def hear(self, name: str, config: Config, ahead: float = 0.0, software: str = "1") -> Compared | None:
        """An agent with this configuration is heard."""
        now = self.network.now + self.network.unix_at_zero
        self.agents.hear(name, Heartbeat(1, 2, about=About(now + ahead, serving(config, name), software)))
        return self.agents.of(name)

    def happened(self) -> list[tuple[str | None, str]]:
        """The events since this was asked last."""
        commands, self.network.commands = self.network.commands, []
        return [(each.before, each.after) for each in commands if isinstance(each, Happened)]


@pytest.mark.parametrize("path", sorted(FLOWS.glob("*/lb.yaml")), ids=lambda path: path.parent.name)
def test_an_agent_with_the_same_configuration_does_not_differ(path: Path) -> None:
    """In no scenario, whatever is rewritten: both sides sum up the same."""
    config = load(path.read_text())
    beside = Beside(config)
    for each in config.servers:
        assert beside.hear(each.name, config) == Compared("1", 0.0)
    assert beside.happened() == []


def test_another_configuration_is_told_at_once_after_a_start_and_once() -> None:
    assert FIG2.server_by_name["a"].service_ports != OTHER.server_by_name["a"].service_ports
    beside = Beside()
    for _ in range(3):
        assert beside.hear("a", OTHER, software="2") == Compared("2", 0.0, ("services",))
    assert beside.happened() == [("same", "differs")]
    assert beside.hear("a", FIG2) == Compared("1", 0.0)
    assert beside.happened() == [("differs", "same")]


def test_a_new_configuration_may_be_read_first() -> None:
    """For as long as agents have for that; and one that is the same for a server gives it no more time."""
    beside = Beside()
    beside.hear("a", FIG2)
    beside.hear("b", FIG2)
    beside.config = OTHER
    late = beside.hear("a", FIG2)
    assert late is not None and late.differs and not late.counts and beside.happened() == []
    known = beside.hear("b", FIG2)
    assert known is not None and known.counts
    beside.network.now += AGENTS_READ
    late = beside.hear("a", FIG2)
    assert late is not None and late.counts and beside.happened() == [("same", "differs")]


def test_clocks_are_compared_once_the_time_of_day_is_known() -> None:
    beside = Beside()
    found = beside.hear("a", FIG2, ahead=-7.5)
    assert found is not None and found.clock == pytest.approx(-7.5, abs=1e-3)
    beside.network.unix_at_zero = float("-inf")
    beside.agents.hear("a", Heartbeat(1, 3, about=About(UNIX, serving(FIG2, "a"))))
    assert beside.agents.of("a") == Compared("", None)


def test_an_agent_that_tells_nothing_and_a_server_that_is_gone_are_forgotten() -> None:
    beside = Beside()
    beside.hear("a", FIG2)
    beside.hear("b", FIG2)
    beside.agents.hear("a", Heartbeat(1, 3))
    assert beside.agents.of("a") is None
    beside.agents.keep({"a": None})
    assert beside.agents.of("b") is None


def test_an_agent_that_is_not_heard_any_more_is_missed_for_a_while() -> None:
    """If its server is to serve; what is missed for an hour is away on purpose."""
    beside = Beside()
    for each in ("a", "b"):
        beside.network.backends.hear(each, Heartbeat(1, 2), 100.0)
        beside.agents.hear(each, Heartbeat(1, 2))
    assert beside.agents.silent(101.0) == {}
    beside.network.backends.tick(110.0)
    assert beside.agents.silent(110.0) == {"a": 10.0, "b": 10.0}
    server = FIG2.server_by_name["b"]
    drained = NONE.put(server, "state", Wanted.DRAIN, Override(Wanted.DRAIN, Wanted.DRAIN, "", "root", 0.0, None))
    beside.network.backends.override(drained, 111.0)
    assert beside.agents.silent(112.0) == {"a": 12.0}
    assert beside.agents.silent(100.0 + SILENT) == {}
