"""What becomes of the slots of a pool: for people, and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from portlb_app.config import Legacy, RedirectPort, Vip
from portlb_app.topology.conditions import PoolKey


@dataclass(frozen=True)
class PoolChange:
    """What becomes of one pool: its slots before and after."""

    vip: Vip
    pool: RedirectPort
    before: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def name(self) -> str:
        """How it is called."""
        return f"{self.vip.name}:{self.pool.port}"

    @property
    def key(self) -> PoolKey:
        """What the pool is known by."""
        return self.vip.name, self.pool.port

    @property
    def moved(self) -> int:
        """How many slots change their server; all, if there were or are none."""
        if len(self.before) != len(self.after):
            return len(self.before) or len(self.after)
        return sum(old != new for old, new in zip(self.before, self.after, strict=True))


def moves(change: PoolChange) -> str:
    """How many slots move, and to which servers."""
    if not change.moved:
        return "no slot moves"
    if not change.after:
        return f"all {len(change.before)} slots go: nobody is left for new connections"
    count = f"{change.moved} of {len(change.after)} slots move" if change.before else f"{len(change.after)} slots"
    gains: dict[str, int] = {}
    for old, new in zip(change.before or change.after, change.after, strict=False):
        if old != new or not change.before:
            gains[new] = gains.get(new, 0) + 1
    return f"{count} ({', '.join(f'{number} to {name}' for name, number in sorted(gains.items()))})"


def riders(change: PoolChange) -> str:
    """Who rides on the slots that move: plain clients by the port's policy, UDP and SCTP in any case."""
    if not change.moved:
        return ""
    others = "UDP and SCTP on them change their server"
    match change.pool.legacy:
        case Legacy.BALANCE:
            return f"; connections of plain clients on them (legacy: balance) break, {others}"
        case Legacy.PIN:
            return f"; plain clients (legacy: pin) keep their servers, {others}"
        case Legacy.OWNER | Legacy.DEFAULT as legacy:
            return f"; plain clients (legacy: {legacy.value}) stay where they are, {others}"
    return f"; no plain clients (legacy: drop), {others}"


def listed(changes: tuple[PoolChange, ...]) -> dict[str, Any]:
    """The same for programs."""
    found = []
    for change in changes:
        names = sorted({*change.before, *change.after})
        found.append(
            {
                "vip": change.vip.name,
                "port": change.pool.port,
                "slots": len(change.after),
                "moved": change.moved,
                "servers": {name: [change.before.count(name), change.after.count(name)] for name in names},
                "plain": change.pool.legacy.value,
                "breaks_plain": change.moved > 0 and change.pool.legacy is Legacy.BALANCE,
                "udp_slots_moved": change.moved,
            }
        )
    return {"pools": found}
