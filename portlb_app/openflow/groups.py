"""Groups: buckets of actions, of which a packet gets one, or all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from portlb_app.openflow.actions import Action, actions_text
from portlb_app.openflow.fields import FIELDS
from portlb_app.openflow.text import value_text


@dataclass(frozen=True)
class Selection:
    """How a select group hashes: method and parameter (low 32 bits: basis; high 32 bits: algorithm).

    `fields`: names and masks of what the method ``hash`` covers; Open vSwitch makes a datapath flow for each value.
    """

    method: str
    parameter: int
    fields: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        words = [f"selection_method={self.method}", f"selection_method_param={self.parameter}"]
        if self.fields:
            named = (
                name if mask == (1 << FIELDS[name].bits) - 1 else f"{name}={value_text(name, mask)}"
                for name, mask in self.fields
            )
            words.append(f"fields({','.join(named)})")
        return ",".join(words)


@dataclass(frozen=True)
class Group:
    """One OpenFlow group. Bucket *i* has bucket id *i* and weight 1 (weight 0, i.e. none, in an ``all`` group).

    `watched`: for each bucket the port without which it gets no packets, 0 for none; empty if no bucket has one.
    """

    number: int
    type: Literal["select", "all"]
    buckets: tuple[tuple[Action, ...], ...]
    selection: Selection | None = None
    watched: tuple[int, ...] = ()

    def __hash__(self) -> int:
        """That of its number: of two groups of a switch only one has it, and a group may have 256 buckets."""
        return hash(self.number)

    def __str__(self) -> str:
        words = [f"group_id={self.number}", f"type={self.type}"]
        if self.selection:
            words.append(str(self.selection))
        weight = "weight:1," if self.type == "select" else ""
        for number, actions in enumerate(self.buckets):
            watch = f"watch_port:{self.watched[number]}," if self.watched and self.watched[number] else ""
            words.append(f"bucket=bucket_id:{number},{weight}{watch}actions={actions_text(actions)}")
        return ",".join(words)
