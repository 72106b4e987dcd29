"""What a compilation has in common with the one before: most parts of most switches' tables, and all of some.

The key is the function and all of its arguments, so what is remembered is always right. Equal results are the same
object, so that comparing a switch's new flows with its old ones is mostly a matter of identity.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from typing import Any, TypeVar

from portlb_app.openflow import SwitchState

Made = TypeVar("Made")
Known = dict[Hashable, Any]


class Memo:
    """Results for every switch as it was compiled last; those are in its tables in any case."""

    def __init__(self) -> None:
        self._states: dict[str, tuple[tuple[object, ...], SwitchState, Known]] = {}
        """By switch, what its tables were made of, these, and what was computed for them."""
        self._before, self._own, self._others = Known(), Known(), Known()
        """Of the switch that is being compiled: the last time, and now; and of those before it in this compilation."""
        self._of_now, self._of_before = Known(), Known()

    def begin(self, switches: Collection[str]) -> None:
        """Begin a compilation for these switches, and forget others."""
        self._states = {name: known for name, known in self._states.items() if name in switches}
        self._of_now, self._of_before = {}, self._of_now
        self._others = {}

    def state(self, switch: str, made_of: tuple[object, ...], make: Callable[[], SwitchState]) -> SwitchState:
        """The tables of a switch: the same object as the last time, if they are made of what is equal."""
        before, state, known = self._states.get(switch, (None, SwitchState(), Known()))
        if before == made_of:
            return state
        self._before, self._own = known, {}
        state = make()
        self._states[switch] = made_of, state, self._own
        self._others |= self._own
        self._before, self._own = {}, {}
        return state

    def get(self, make: Callable[..., Made], *values: Hashable) -> Made:
        """The result of ``make(*values)``."""
        key = make, values
        if key in self._own:
            known: Made = self._own[key]
        elif key in self._before:
            known = self._before[key]
        else:
            known = self._others[key] if key in self._others else make(*values)
        self._own[key] = known
        return known

    def of(self, make: Callable[..., Made], one: object, *values: Hashable) -> Made:
        """The same for what is of all switches: ``make(one, *values)``. `one` is compared by identity."""
        key = make, id(one), values
        if key not in self._of_now:  # with the object, so that no other gets its identity
            self._of_now[key] = self._of_before[key] if key in self._of_before else (one, make(one, *values))
        made: Made = self._of_now[key][1]
        return made
