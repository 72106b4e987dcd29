"""Flows: a match, a priority, and actions."""

from __future__ import annotations

from dataclasses import dataclass, field

from portlb_app.openflow.actions import Action, actions_text
from portlb_app.openflow.matches import Match

FlowKey = tuple[int, int, Match]
"""Table, priority and match: what identifies a flow in a switch (OpenFlow 1.5.1, 5.2)."""


@dataclass(frozen=True)
class FlowFilter:
    """Flows of a table: their cookies have these bits, and their matches have at least what this one has."""

    table: int
    cookie: int
    cookie_mask: int
    match: Match


@dataclass(frozen=True)
class Flow:
    """One OpenFlow flow. ``reason`` says in a sentence why it exists; it is never compared."""

    table: int
    priority: int
    match: Match
    actions: tuple[Action, ...]
    cookie: int
    reason: str = field(default="", compare=False)

    def __hash__(self) -> int:
        """That of its key, computed once: in a large network, a flow becomes a member of several sets."""
        known: int | None = self.__dict__.get("_hash")
        if known is None:
            known = hash(self.key)
            object.__setattr__(self, "_hash", known)
        return known

    def __getstate__(self) -> dict[str, object]:
        """All but the hash, because another process hashes text in another way."""
        return {name: value for name, value in self.__dict__.items() if name != "_hash"}

    @property
    def key(self) -> FlowKey:
        """What identifies a flow in a switch."""
        return (self.table, self.priority, self.match)

    def __str__(self) -> str:
        matching = f",{self.match}" if str(self.match) else ""
        return (
            f"cookie={self.cookie:#018x}, table={self.table}, priority={self.priority}{matching} "
            f"actions={actions_text(self.actions)}"
        )
