"""A reconciler with FIG. 2, a clock, and overrides that are wished for."""

from __future__ import annotations

from pathlib import Path

from portlb_app.config import Wanted
from portlb_app.config.overrides import NONE, Override, Overrides
from portlb_app.reconcile.commands import CountPackets, Log, ReadState
from portlb_app.reconcile.events import SwitchConnected
from tests.support.reconciling import Fed, Loop, StateRead, Wants, Whole

FIG2 = Whole.of((Path(__file__).parents[2] / "flows/fig2/lb.yaml").read_text())
UNIX = 1_764_000_000.0
"""A time of day, in seconds since 1970."""


def drained(name: str = "b", until: float | None = None) -> Overrides:
    """A server of FIG. 2 is to drain."""
    said = Override(Wanted.DRAIN, Wanted.READY, since=UNIX, until=until)
    return NONE.put(FIG2.config.server_by_name[name], "state", Wanted.DRAIN, said)


class Session:
    """A reconciler with FIG. 2, the time, and what it commanded, logs apart."""

    def __init__(self) -> None:
        self.loop = Loop(FIG2, 30.0)
        self.now = 0.0
        self.logs: list[str] = []
        self.counts: list[CountPackets] = []

    def __call__(self, event: Fed, after: float = 0.0) -> list[Wants]:
        self.now += after
        commands = self.loop.handle(event, self.now)
        self.counts = [command for command in commands if isinstance(command, CountPackets)]
        self.logs += [command.text for command in commands if isinstance(command, Log)]
        return [command for command in commands if not isinstance(command, Log | CountPackets)]

    def sync(self) -> None:
        """Its switch connects, and has what it shall have."""
        assert self(SwitchConnected(1)) == [ReadState(1)]
        assert self(StateRead(1, FIG2.targets[1].state)) == []

    @property
    def overrides(self) -> Overrides:
        """Those that there are now."""
        return self.loop.reconciler.overrides
