"""The order of change: agents are told of a service port after the switches forward it, and it goes after they are."""

from __future__ import annotations

from pathlib import Path

from portlb_app.openflow import SwitchState
from portlb_app.pipeline import SERVICE, Reason, parse_cookie
from portlb_app.reconcile.announced import AGENTS_READ
from portlb_app.reconcile.commands import ReadState
from portlb_app.reconcile.events import SwitchConnected, SwitchDisconnected, Tick
from portlb_app.reconcile.plan import apply
from portlb_app.topology.links import HEARING
from tests.support.reconciling import Applied, Apply, Fed, Loop, Propose, StateRead, Wants, Whole

FLOWS = Path(__file__).parents[3] / "flows"
FIG2 = Whole.of((FLOWS / "fig2/lb.yaml").read_text())
TREE = Whole.of((FLOWS / "tree/lb.yaml").read_text())
A_PORTS = "[{port: 1, application: 20}, {port: 5, application: 22}, 9]"
MORE = Whole.of(FIG2.text.replace(A_PORTS, A_PORTS.replace("9]", "9, 13]")))
LESS = Whole.of(FIG2.text.replace(A_PORTS, A_PORTS.replace(", 9]", "]")))
MOVED = Whole.of(LESS.text.replace("{port: 10, application: 22}]", "{port: 10, application: 22}, 9]"))


class Network:
    """Switches that take what they are told at once, but for those that are away."""

    def __init__(self, live: Whole = FIG2, connected: bool = True) -> None:
        self.live = live
        self.loop = Loop(live, 30.0)
        self.now = 0.0
        self.held = {dpid: target.state for dpid, target in live.targets.items()}
        self.away: set[int] = set()
        self.tickets = 0
        if connected:
            for dpid in self.held:
                self(SwitchConnected(dpid))

    def __call__(self, event: Fed, after: float = 0.0) -> None:
        self.now += after
        self._do(self.loop.handle(event, self.now))

    def _do(self, wants: list[Wants]) -> None:
        for want in wants:
            if isinstance(want, Apply):
                self.held[want.dpid] = apply(want.plan, self.held[want.dpid])
                self(Applied(want.dpid))
            elif isinstance(want, ReadState):
                self(StateRead(want.dpid, self.held[want.dpid]))

    def propose(self, what: Whole, unverified: bool = False) -> None:
        self.tickets += 1
        self(Propose(self.tickets, what, unverified=unverified))

    def wait(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self(Tick(), after=1.0)

    def told(self, server: str) -> str | None:
        return self.loop.reconciler.text_for(server)

    def owner(self, port: int, dpid: int = 1) -> set[str]:
        """What a switch does with TCP to a port, as text of its actions."""
        flows = (flow for flow in self.held[dpid].flows if flow.table == SERVICE.number)
        return {
            str(flow.actions) for flow in flows if parse_cookie(flow.cookie)[::2] == (Reason.SERVICE, port)
        }


def test_a_new_port_is_announced_when_the_switch_forwards_it() -> None:
    network = Network()
    assert network.told("a") == FIG2.text
    network.propose(MORE)
    assert network.owner(13) and network.told("a") == MORE.text


def test_not_before() -> None:
    """Accepted without a switch, it is live; the switch that is away has no flow for the new port yet."""
    network = Network()
    network(SwitchDisconnected(1))
    network.propose(MORE, unverified=True)
    assert network.loop.reconciler.text == MORE.text
    network.wait(2 * HEARING)
    assert not network.owner(13)
    assert (network.told("a"), network.told("b")) == (FIG2.text, MORE.text), "b has the same ports"
    network(SwitchConnected(1))
    assert network.owner(13) and network.told("a") == MORE.text


def test_one_switch_of_several_is_away() -> None:
    """A path to the server may lead through it, so its agent is told later."""
    more = Whole.of(TREE.text.replace(A_PORTS, A_PORTS.replace("9]", "9, 13]")))
    assert more.config != TREE.config
    network = Network(TREE)
    network.wait(HEARING + 2)
    away = next(switch.dpid for switch in TREE.config.switches if switch.network is None)
    network(SwitchDisconnected(away))
    network.propose(more)
    network.wait(5)
    assert network.loop.reconciler.text == more.text
    assert network.told("a") == TREE.text
    network(SwitchConnected(away))
    network.wait(5)
    assert network.told("a") == more.text


def test_a_port_that_goes_is_forwarded_until_agents_have_read_that() -> None:
    network = Network()
    forwarded = network.owner(9)
    network.propose(LESS)
    assert network.loop.reconciler.text == network.told("a") == LESS.text
    assert network.owner(9) == forwarded
    network.wait(AGENTS_READ - 2)
    assert network.owner(9) == forwarded
    network.wait(4)
    assert network.owner(9) == set()
    assert network.held[1] == LESS.targets[1].state


def test_it_is_kept_as_long_as_the_agent_is_told_of_it() -> None:
    """With the switch away nobody can be told otherwise."""
    network = Network()
    network(SwitchDisconnected(1))
    network.propose(LESS, unverified=True)
    network.wait(2 * AGENTS_READ)
    assert network.told("a") == FIG2.text
    network(SwitchConnected(1))
    assert network.told("a") == LESS.text and network.owner(9)
    network.wait(AGENTS_READ + 2)
    assert not network.owner(9)


def test_a_port_that_moves_has_one_owner_at_any_time() -> None:
    """First it is its old owner's, whose agent forgets it; then its new owner's, whose agent is told then."""
    network = Network()
    old = network.owner(9)
    network.propose(MOVED)
    assert (network.told("a"), network.told("b")) == (MOVED.text, FIG2.text)
    assert network.owner(9) == old
    network.wait(AGENTS_READ + 2)
    assert network.owner(9) not in (old, set())
    assert network.told("b") == MOVED.text
    assert network.held[1] == MOVED.targets[1].state


def test_back_again_before_it_has_gone() -> None:
    network = Network()
    network.propose(LESS)
    network.propose(FIG2)
    assert network.told("a") == FIG2.text
    network.wait(2 * AGENTS_READ)
    assert network.held[1] == FIG2.targets[1].state and network.owner(9)


def test_a_configuration_that_is_refused_changes_nothing() -> None:
    network = Network()
    network.loop.slow = True
    network.propose(LESS)
    assert network.told("a") == FIG2.text and network.owner(9)


def test_at_the_start_it_is_seen_first() -> None:
    """A controller whose switch lacks the file's ports tells of none; one whose switch is away trusts the file."""
    network = Network(connected=False)
    network.held[1] = SwitchState()
    network(Tick())
    assert network.told("a") is None
    network(SwitchConnected(1))
    assert network.told("a") == FIG2.text and network.held[1] == FIG2.targets[1].state
    alone = Network(connected=False)
    alone(Tick())
    assert alone.told("a") is None
    alone.wait(HEARING + 1)
    assert alone.told("a") == FIG2.text


def test_a_new_server_is_told_nothing_at_first() -> None:
    """Not that there is no such server: its agent would take that for a mistake, and end."""
    before = Whole.of(FIG2.text.replace("[a, b, c, d]", "[b, c, d]").replace("[a, b]", "[b]").replace(
        FIG2.text[FIG2.text.index("  a:\n"):FIG2.text.index("  b:\n")], ""
    ))  # fmt: skip
    network = Network(before)
    network(SwitchDisconnected(1))
    network.propose(FIG2, unverified=True)
    assert network.told("a") is None
    network(SwitchConnected(1))
    assert network.told("a") == FIG2.text
    assert network.told("nobody") == FIG2.text, "its agent is to hear that"
