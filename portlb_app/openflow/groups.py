"""Groups: buckets of actions, of which a packet gets one, or all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from portlb_app.openflow.actions import Action, actions_text


@dataclass(frozen=True)
class Selection:
    """How a select group hashes: method and parameter (low 32 bits: basis; high 32 bits: algorithm)."""

    method: str
    parameter: int


@dataclass(frozen=True)
class Group:
    """One OpenFlow group. Bucket *i* has bucket id *i* and weight 1 (weight 0, i.e. none, in an ``all`` group)."""

    number: int
    type: Literal["select", "all"]
    buckets: tuple[tuple[Action, ...], ...]
    selection: Selection | None = None

    def __str__(self) -> str:
        words = [f"group_id={self.number}", f"type={self.type}"]
        if self.selection:
            words.append(f"selection_method={self.selection.method}")
            words.append(f"selection_method_param={self.selection.parameter}")
        weight = "weight:1," if self.type == "select" else ""
        for number, actions in enumerate(self.buckets):
            words.append(f"bucket=bucket_id:{number},{weight}actions={actions_text(actions)}")
        return ",".join(words)
