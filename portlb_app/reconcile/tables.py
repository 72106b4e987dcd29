"""What switches shall hold, and what they hold: the large values, and everything that is made of them.

They live in a process of their own (`tables_worker`), because at the size of a large network each of these jobs takes
seconds: the loop, which talks with switches and users, sends a job and goes on. It gets back small values only: how
many steps a switch needs and of which kinds, how much drift there is, and, when a switch is to be told something, the
messages as bytes. So what the loop's process holds does not grow with the tables.

A *goal* is a configuration compiled under some conditions; the loop numbers it. Jobs are done one after the other; an
answer is about the goal that was compiled last; it says which that was.

Pure: a job is a method, and the bytes of switches are read and written by a `Codec`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from portlb_app import config
from portlb_app.config import Config, ConfigError
from portlb_app.config.editing import patched
from portlb_app.config.effective import Chosen, Given, Used, effective, given
from portlb_app.config.overrides import Overrides
from portlb_app.config.text import parse
from portlb_app.explain import PacketError, explain
from portlb_app.openflow import SwitchState
from portlb_app.reconcile import entries
from portlb_app.reconcile.entries import Entries
from portlb_app.reconcile.goals import Goals, Made
from portlb_app.reconcile.plan import Verb, diff
from portlb_app.reconcile.preview import Preview, Situation, SwitchPreview, pool_previews
from portlb_app.reconcile.results import Compiled, Kind, MessageCounts, Mistakes, Read, Remaining, Unknown
from portlb_app.reconcile.switch_tables import Codec, PassedSwitch, SwitchTables
from portlb_app.topology.conditions import Conditions


class Tables:
    """The jobs. `load` and `compile` are arguments so that tests can have small networks."""

    def __init__(
        self,
        codec: Codec,
        load: Callable[[str], Config] = config.load,
        compile: Callable[[Config, Conditions], Made] | None = None,  # noqa: A002
    ) -> None:
        self._codec = codec
        self._goals = Goals(load, compile)
        self._switches: dict[int, SwitchTables] = {}
        self._passed: dict[int, PassedSwitch] = {}
        """Also of switches that are not connected."""
        self._given: tuple[str, Given] = "", {}
        """What the text gives of which was asked last."""

    # ---- configurations ----

    def load(self, text: str) -> Config | Mistakes:
        """Read and check a text."""
        return self._goals.load(text)

    def compile(self, goal: int, text: str, conditions: Conditions, keep: Collection[int]) -> Compiled | Mistakes:
        """Make this the goal, and compile it if it is none of those that are kept. All others are forgotten."""
        targets = self._goals.aim(goal, text, conditions, keep)
        if isinstance(targets, Mistakes):
            return targets
        plans = {dpid: switch.plan() for dpid, switch in self._switches.items() if switch.known is not None}
        return Compiled(goal, targets, plans)

    def edit(self, text: str, patch: Mapping[str, Any]) -> str | Mistakes:
        """A configuration's text with some values changed."""
        try:
            return patched(text, patch)
        except ConfigError as error:
            return Mistakes(error.errors)

    def effective(self, text: str, overrides: Overrides, chosen: Chosen) -> list[Used] | Mistakes:
        """The values of a configuration that are used, each with where it comes from."""
        loaded = self._goals.known(text)
        if isinstance(loaded, Mistakes):
            return loaded
        if self._given[0] != text:
            self._given = text, given(parse(text)[0])
        return list(effective(loaded, self._given[1], overrides, chosen))

    def preview(self, now: Situation, then: Situation, with_steps: bool) -> Preview | Mistakes:
        """What it would do if `then` took the place of `now`, which is live. The goal stays."""
        live, loaded = self._goals.known(now.text), self._goals.known(then.text)
        if isinstance(live, Mistakes):
            return live
        if isinstance(loaded, Mistakes):
            return loaded
        made = self._goals.make(loaded, then.conditions)
        if isinstance(made, Mistakes):
            return made
        switches: dict[int, SwitchPreview | None] = dict.fromkeys(made)
        for dpid, switch in self._switches.items():
            if switch.known is not None:
                state = made[dpid][1] if dpid in made else SwitchState()
                switches[dpid] = SwitchPreview.of(diff(switch.known, state), with_steps)
        return Preview(switches, tuple(pool_previews((live, now), (loaded, then))))

    def entries(self, dpid: int, is_wanted: bool, first: int, count: int) -> Entries | None:
        """Some entries that a switch holds, or shall hold; None if that is not known."""
        state = self._of_switch(dpid, is_wanted)
        return None if state is None else entries.some(state, first, count)

    def entries_text(self, name: str, dpid: int, is_wanted: bool) -> str | None:
        """All of them, as ovs-ofctl writes them."""
        state = self._of_switch(dpid, is_wanted)
        return None if state is None else entries.as_text(name, state)

    def _of_switch(self, dpid: int, is_wanted: bool) -> SwitchState | None:
        if is_wanted:
            return self._goals.of(dpid)
        return self._switches[dpid].known if dpid in self._switches else None

    # ---- where packets go ----

    def explain(self, text: str, slot: int | None) -> dict[str, Any] | PacketError:
        """Follow the packet that a text means through what the switches hold; an error says why it means none."""
        made_of = self._goals.config
        if made_of is None:
            raise Unknown
        named = [(each.name, each.dpid) for each in made_of.switches]
        known = {name: self._switches[dpid].known for name, dpid in named if dpid in self._switches}
        held = {name: state for name, state in known.items() if state is not None}
        made = {name: self._goals.of(dpid) for name, dpid in named}
        desired = {name: state for name, state in made.items() if state is not None}
        try:
            return explain(text, made_of, held, desired, slot)
        except PacketError as error:
            return PacketError(error.position, error.message)  # without the frames that it was raised in

    # ---- one switch ----

    def forget(self, dpid: int) -> None:
        """A switch is gone, or another connection took its place."""
        self._switches.pop(dpid, None)

    def begin(self, dpid: int) -> None:
        """A switch is about to tell what it holds."""
        self._connected(dpid).begin()

    def read(self, dpid: int, kind: Kind, messages: Iterable[bytes]) -> int:
        """Take multipart replies; return how many entries of this kind there are by now. Unreadable."""
        return self._known(dpid).read(kind, messages)

    def occupied(self, dpid: int, tables: Mapping[int, int]) -> tuple[int, ...]:
        """Return the tables of a switch that have flows of others to ask for; `tables`: how many flows each has."""
        return self._known(dpid).occupied(tables)

    def end(self, dpid: int) -> Read:
        """Return what it holds: it has told everything."""
        return self._known(dpid).end(self._passed.setdefault(dpid, PassedSwitch()))

    def see(self, dpid: int, seen: SwitchState, metered: Mapping[int, int] | None = None) -> Read:
        """Take what a switch holds; return its counts, and the plan to the goal."""
        return self._connected(dpid).see(seen, metered)

    def to_count(self, dpid: int) -> tuple[int | None, ...]:
        """Return the groups of a switch whose buckets' counters are to be asked for; None: all at once, if not many."""
        return self._known(dpid).to_count()

    def count(self, dpid: int, messages: Iterable[bytes]) -> None:
        """Take what groups have counted. Unreadable."""
        self._known(dpid).count(messages)

    def prepare(self, dpid: int, verbs: Collection[Verb]) -> MessageCounts:
        """Prepare the stages of these verbs; return how many messages they have."""
        return self._known(dpid).prepare(verbs)

    def encode(self, dpid: int, first: int, number: int, xid: int, bundle: int | None) -> bytes:
        """Return `number` of its messages from `first` on, with xids from `xid` on."""
        return self._known(dpid).encode(first, number, xid, bundle)

    def applied(self, dpid: int) -> Remaining:
        """Note that a switch has taken all that was prepared; return what remains."""
        return self._known(dpid).applied()

    def refused(self, dpid: int, numbers: Iterable[int]) -> tuple[str, ...]:
        """A switch refused the steps of these numbers, so all of the bundle; the steps as text."""
        return self._known(dpid).refused(numbers)

    def _connected(self, dpid: int) -> SwitchTables:
        if dpid not in self._switches:
            self._switches[dpid] = SwitchTables(dpid, self._codec, self._goals)
        return self._switches[dpid]

    def _known(self, dpid: int) -> SwitchTables:
        if dpid not in self._switches:
            raise Unknown
        return self._switches[dpid]
