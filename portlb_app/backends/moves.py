"""From the slots that a pool has to those it shall have."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from portlb_app.backends.loads import shares
from portlb_app.backends.pools import Pool
from portlb_app.pipeline import SLOTS
from portlb_app.selection import move

Table = Sequence[str | None]
"""The server of each slot. None: one that is not in the pool any more."""


def next_table(
    pool: Pool,
    present: Table | None,
    home: Table | None,
    ready: Collection[str],
    serving: Collection[str],
    follows_load: bool = False,
) -> tuple[str, ...] | None:
    """The slots that a pool shall have; None: those that follow from the configuration alone.

    `present`: those it has, if they are others. `ready`: the servers that may have slots; `serving`: those of them that
    are not down. `follows_load`: each keeps the share that it has, which its load has given it. `home`: the slots that
    it had when it last had all servers: one that comes back has the same again. As few slots as possible move. If no
    server that may have slots works, nothing is better than what there is.
    """
    if not ready:
        return () if pool.default else None
    used = pool.foremost(serving or ready)
    if present is None and used == pool.members and pool.shares == pool.configured:
        return None
    before = pool.default if present is None else present
    if not serving and set(before) <= set(ready):
        return None if present is None else whole(before)
    weights = {server: pool.weight_of[server] for server in pool.servers if server in used}
    if follows_load:
        weights = shares(before, weights, home or ())
    table = move(before, weights, max(pool.bits, bits_of(before)), [home or pool.default])
    return None if table == pool.default else table


def whole(table: Table) -> tuple[str, ...]:
    """A table without slots whose server is gone."""
    return tuple(server for server in table if server is not None)


def bits_of(table: Table) -> int:
    """k of a table with 2^k groups: a pool that is live keeps them, because with fewer many connections would move."""
    return max(0, (len(table) // SLOTS).bit_length() - 1)
