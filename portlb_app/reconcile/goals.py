"""Configurations, loaded and compiled: what switches shall hold, by goal."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping

from portlb_app import config
from portlb_app.compiler.memo import Memo
from portlb_app.config import Config, ConfigError, Switch
from portlb_app.openflow import SwitchState
from portlb_app.reconcile.results import Mistakes, Target
from portlb_app.reconcile.targets import compiled
from portlb_app.topology.conditions import Conditions

Made = dict[int, tuple[Target, SwitchState]]
"""What is compiled, by datapath id."""


class Goals:
    """The goals that are kept, and which of them is the current one."""

    def __init__(
        self,
        load: Callable[[str], Config] = config.load,
        compile: Callable[[Config, Conditions], Made] | None = None,  # noqa: A002
    ) -> None:
        self._load = load
        self._compile = compile or functools.partial(compiled, memo=Memo())
        self._loaded: dict[str, Config] = {}
        self._made: dict[int, Made] = {}
        self._configs: dict[int, Config] = {}
        """What each goal was made of."""
        self.current = 0

    def load(self, text: str) -> Config | Mistakes:
        """Read and check a text."""
        try:
            loaded = self._load(text)
        except ConfigError as error:
            return Mistakes(error.errors)
        self._loaded = {text: loaded, **{each: known for each, known in list(self._loaded.items())[:1] if each != text}}
        return loaded

    def known(self, text: str) -> Config | Mistakes:
        """What a text means; it may have been loaded before."""
        return self._loaded.get(text) or self.load(text)

    def make(self, loaded: Config, conditions: Conditions) -> Made | Mistakes:
        """Compile a configuration that is no goal."""
        try:
            return self._compile(loaded, conditions)
        except ConfigError as error:
            return Mistakes(error.errors)

    def aim(
        self, goal: int, text: str, conditions: Conditions, keep: Collection[int]
    ) -> Mapping[int, Target] | Mistakes:
        """Make this the goal, and compile it if it is none of those that are kept. All others are forgotten."""
        kept = {number: made for number, made in self._made.items() if number in keep}
        if goal not in kept:
            loaded = self.known(text)
            if isinstance(loaded, Mistakes):
                return loaded
            self._configs[goal] = loaded
            made = self.make(loaded, conditions)
            if isinstance(made, Mistakes):
                return made
            kept[goal] = made
        self._made, self.current = kept, goal
        self._configs = {number: made_of for number, made_of in self._configs.items() if number in kept}
        return {dpid: target for dpid, (target, _) in kept[goal].items()}

    @property
    def config(self) -> Config | None:
        """What the current goal was made of."""
        return self._configs.get(self.current)

    def desired(self, dpid: int) -> SwitchState:
        """What a switch shall hold; nothing if the goal does not name it."""
        return self.of(dpid) or SwitchState()

    def of(self, dpid: int) -> SwitchState | None:
        """What a switch of the goal shall hold."""
        found = self._made.get(self.current, {}).get(dpid)
        return found[1] if found else None

    def switch(self, dpid: int) -> Switch | None:
        """The switch of the current configuration with a datapath id."""
        return next((each for each in self.config.switches if each.dpid == dpid), None) if self.config else None
