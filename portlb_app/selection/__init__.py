"""Which server a new connection gets: a pool has slots, and each slot names a server.

A hash of a packet's addresses and ports chooses the slot (`pipeline.groups`). A pool has 256 slots, a large one a power
of two times as many (`size`). `quotas` says how many slots a server has; `table` which ones a pool begins with, made
from names and weights alone, so that every restart and every switch computes the same; `assignment` which ones move
when the pool changes, which are as few as can be.

The algorithms of `selection:` in lb.yaml: `shuffled` (random), `turns` (round-robin, elevator), `least`, `packets`
(least-packets).
"""

from __future__ import annotations

from portlb_app.selection.assignment import move, resize
from portlb_app.selection.quotas import quotas
from portlb_app.selection.size import deviation, fewest_bits, group_bits
from portlb_app.selection.table import choose, restrict, shares, slots, slots_among

__all__ = [
    "choose",
    "deviation",
    "fewest_bits",
    "group_bits",
    "move",
    "quotas",
    "resize",
    "restrict",
    "shares",
    "slots",
    "slots_among",
]
