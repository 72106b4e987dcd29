"""What wishes about servers would change together, and whether they may.

They are refused if they leave a pool without a server that serves, or take out a server with open connections, unless
they are forced. What would move is said before it happens (a dry run), and after.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from portlb_app.api.batches import Batch, names, subject
from portlb_app.api.messages import Response
from portlb_app.api.pool_changes import PoolChange, moves, riders
from portlb_app.api.pools import server_in_pool
from portlb_app.api.problem_details import failure
from portlb_app.api.servers import View, unknown
from portlb_app.api.snapshot import Snapshot
from portlb_app.api.wishes import Wish
from portlb_app.backends.states import Seen
from portlb_app.config import Wanted
from portlb_app.config.overrides import MAX_OVERRIDES, Overrides
from portlb_app.config.problems import printable


@dataclass(frozen=True)
class Judged:
    """Wishes that may be carried out: the overrides that they lead to, and what they change.

    `subject`: what was asked for, and why.
    """

    overrides: Overrides
    changes: tuple[PoolChange, ...]
    says: tuple[str, ...]
    subject: str
    log_line: str


def judge(asked: Wish | Batch, snapshot: Snapshot) -> Response | Judged:
    """What follows from wishes, or why they are refused."""
    overrides, by_name = snapshot.overrides, snapshot.config.server_by_name
    for wish in asked.wishes:
        if wish.server not in by_name:
            return unknown(wish.server)
    overrides = overrides.put_all((by_name[each.server], each.key, each.value, each.said) for each in asked.wishes)
    if len(overrides.entries) > MAX_OVERRIDES:
        text = f"there are {MAX_OVERRIDES} overrides already: edit the file. Nothing was changed"
        return failure("too-many-overrides", text)
    view, used = View(snapshot), overrides.over(snapshot.config).server_by_name
    after = {wish.server: used[wish.server].wanted for wish in asked.wishes}
    changes = tuple(_changes(view, after, snapshot.backends.tables(overrides)))
    refusal = None if asked.force else _refusal(view, after, changes)
    if refusal is not None:
        return refusal
    says, said = tuple(_sentences(view, after, changes)), asked.wishes[0].said
    why = f": {printable(said.reason)}" if said.reason else ""
    about = subject(asked)
    line = f"{about} is wanted by {printable(said.by)}{why}; {'; '.join(says)}"
    return Judged(overrides, changes, says, f"{about}{why}", line)


def _changes(
    view: View, asked: Mapping[str, Wanted], after: Mapping[tuple[str, int], tuple[str, ...]]
) -> Iterator[PoolChange]:
    """The pools of servers, with their slots before and after."""
    for vip in view.snapshot.config.vips:
        for pool in vip.redirect_ports:
            if not asked.keys().isdisjoint(pool.servers):
                key = (vip.name, pool.port)
                yield PoolChange(vip, pool, view.tables.get(key, ()), after.get(key, ()))


# ---- what is refused ----


def _refusal(view: View, after: Mapping[str, Wanted], changes: tuple[PoolChange, ...]) -> Response | None:
    """Why wishes need force; None if they need none."""
    leaving = {name for name, wanted in after.items() if wanted is not Wanted.READY}
    left = [change for change in changes if _leaves_none(view, after, leaving, change)]
    if left:
        last = sorted(leaving & {name for change in left for name in change.pool.servers})
        said = "; ".join(f"{change.name} ({_others(view, after, leaving, change)})" for change in left)
        are = "is the last serving server" if len(last) == 1 else "are the last serving servers"
        text = f"{names(last)} {are} of {said}; force does it all the same. Nothing was changed"
        pools = [
            {
                "vip": change.vip.name,
                "port": change.pool.port,
                "servers": [server_in_pool(view, name, change.key) for name in change.pool.servers],
            }
            for change in left
        ]
        return failure("would-break", text, pools=pools)
    return _not_drained(view, after)


def _not_drained(view: View, after: Mapping[str, Wanted]) -> Response | None:
    """Why servers may not be taken out: they have connections."""
    found = []
    for name, wanted in after.items():
        drain, was = view.snapshot.drains.get(name), view.used.server_by_name[name].wanted
        if wanted is Wanted.MAINT and was is not Wanted.MAINT and (drain is None or drain.drained_at is None):
            found.append(f"{name} is not drained ({'it does not drain yet' if drain is None else drain.reason})")
    if not found:
        return None
    whose, which = ("its", "it") if len(found) == 1 else ("their", "them")
    text = f"{names(found)}, and maint ends {whose} connections: drain {which} first, or use force"
    return failure("would-break", f"{text}. Nothing was changed")


def _leaves_none(view: View, after: Mapping[str, Wanted], leaving: set[str], change: PoolChange) -> bool:
    """Whether a pool has new connections now, by the servers that leave, and no other would serve them.

    Where none is up all are used, and some less do no harm, unless none is left.
    """
    gone, left = leaving.intersection(change.pool.servers), set(change.after) - leaving
    is_served = any(view.is_serving(name, change.key) for name in gone)

    def will_serve(name: str) -> bool:
        wanted = after.get(name, view.used.server_by_name[name].wanted)
        return wanted is Wanted.READY and view.judgement(name, change.key).seen is not Seen.DOWN

    is_last = is_served and not any(map(will_serve, left))
    return not gone.isdisjoint(change.before) and (is_last or not change.after)


def _others(view: View, after: Mapping[str, Wanted], leaving: set[str], change: PoolChange) -> str:
    """The other servers of a pool and why they do not serve."""
    words = []
    for name in change.pool.servers:
        if name not in leaving:
            wanted = after.get(name, view.used.server_by_name[name].wanted)
            seen = view.judgement(name, change.key).seen
            words.append(f"{name} {seen.value if wanted is Wanted.READY else wanted.value}")
    return ", ".join(words) or "it has no other one"


# ---- what is said ----


def _sentences(view: View, after: Mapping[str, Wanted], changes: tuple[PoolChange, ...]) -> Iterator[str]:
    """What wishes mean, for people: for each pool what moves, and what servers get all the same."""
    for change in changes:
        yield f"{change.name}: {moves(change)}{riders(change)}"
    vips = {vip.name: vip for vip in view.snapshot.config.vips}
    for name, wanted in after.items():
        vip = vips[view.used.server_by_name[name].vip]
        if wanted is Wanted.MAINT:
            yield f"{name}: its service ports close, and connections that are open at it end"
        elif wanted is Wanted.DRAIN:
            if vip.default_server == name:
                yield f"{name} is the default server of {vip.name}, and goes on getting what that gets"
            yield f"{name}: connections that continue on its service ports go on"
            if view.used.server_by_name[name].mptcp is not None:
                yield f"{name}: connections of MPTCP are never moved (none can go on at another server); they go on"
