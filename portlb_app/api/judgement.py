"""What a wish about a server would change, whether it may, and what is answered about it.

A wish is refused if it leaves a pool without a server that serves, or takes out a server with open connections, unless
it is forced. What would move is said before it happens (a dry run), and after.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from portlb_app.api.messages import Response, json_text
from portlb_app.api.pools import server_in_pool
from portlb_app.api.problem_details import failure
from portlb_app.api.servers import View, unknown
from portlb_app.api.snapshot import Snapshot
from portlb_app.api.wishes import Wish
from portlb_app.config import Legacy, RedirectPort, Vip, Wanted
from portlb_app.config.overrides import MAX_OVERRIDES, Overrides, word
from portlb_app.config.problems import printable
from portlb_app.reconcile.outcomes import Carried, Lacking, WishOutcome
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


@dataclass(frozen=True)
class Judged:
    """A wish that may be carried out: the overrides that it leads to, and what it changes."""

    overrides: Overrides
    changes: tuple[PoolChange, ...]
    says: tuple[str, ...]
    log_line: str


def judge(wish: Wish, snapshot: Snapshot) -> Response | Judged:
    """What follows from a wish, or why it is refused."""
    server = snapshot.config.server_by_name.get(wish.server)
    if server is None:
        return unknown(wish.server)
    overrides = snapshot.overrides.put(server, wish.key, wish.value, wish.said)
    if len(overrides.entries) > MAX_OVERRIDES:
        text = f"there are {MAX_OVERRIDES} overrides already: edit the file. Nothing was changed"
        return failure("too-many-overrides", text)
    view, after = View(snapshot), overrides.over(snapshot.config).server_by_name[wish.server].wanted
    changes = tuple(_changes(view, wish.server, snapshot.backends.tables(overrides)))
    refusal = _refusal(view, wish, after, changes)
    if refusal is not None:
        return refusal
    says = tuple(_sentences(view, wish.server, after, changes))
    value = "the file's" if wish.value is None else word(wish.value)
    why = f": {printable(wish.said.reason)}" if wish.said.reason else ""
    return Judged(
        *(overrides, changes, says),
        f"server {wish.server}: {wish.key} {value} is wanted by {printable(wish.said.by)}{why}; {'; '.join(says)}",
    )


def dry_run(wish: Wish, judged: Judged, switches: Mapping[str, Any]) -> Response:
    """What would change; `switches`: what each would be told."""
    said = {"server": wish.server, "dry_run": True, "says": list(judged.says), "switches": switches}
    return Response(200, json_text({**said, **_listed(judged.changes)}))


def answer(wish: Wish, judged: Judged, outcome: WishOutcome, snapshot: Snapshot) -> Response:
    """The answer to a wish that was carried out, as far as it was."""
    if isinstance(outcome, Lacking):
        names = ", ".join(outcome.switches)
        text = f"the wish is saved and stands, but within {outcome.seconds:.0f} s {names} did not take it"
        switches = {name: list(errors) for name, errors in outcome.switches.items()}
        return failure("timed-out", text, switches=switches, says=list(judged.says))
    if not isinstance(outcome, Carried):
        return failure("ending", "the controller ends; the wish is saved, and switches get it when it is started again")
    if wish.server not in snapshot.config.server_by_name:
        return failure("changed-meanwhile", f"the configuration that is live now has no server {wish.server}")
    is_seen = any(switch.state == "synced" for switch in snapshot.status.switches)
    says = list(judged.says)
    if outcome.absent:
        says.append(f"not connected, and to get it later: {', '.join(outcome.absent)}")
    body = {"server": wish.server, "dry_run": False, "says": says, "absent": list(outcome.absent)}
    body |= {**View(snapshot).server(wish.server), "server": wish.server}
    return Response(200 if is_seen else 202, json_text({**body, **_listed(judged.changes)}))


def _changes(view: View, server: str, after: Mapping[tuple[str, int], tuple[str, ...]]) -> Iterator[PoolChange]:
    """The pools of a server, with their slots before and after."""
    for vip in view.snapshot.config.vips:
        for pool in vip.redirect_ports:
            if server in pool.servers:
                key = (vip.name, pool.port)
                yield PoolChange(vip, pool, view.tables.get(key, ()), after.get(key, ()))


# ---- what is refused ----


def _refusal(view: View, wish: Wish, after: Wanted, changes: tuple[PoolChange, ...]) -> Response | None:
    """Why a wish needs force; None if it needs none, or has it."""
    if wish.force or after is Wanted.READY:
        return None
    left = [change for change in changes if _leaves_none(view, wish.server, change)]
    if left:
        said = "; ".join(f"{change.name} ({_others(view, wish.server, change)})" for change in left)
        text = f"{wish.server} is the last serving server of {said}; force does it all the same. Nothing was changed"
        pools = [
            {
                "vip": change.vip.name,
                "port": change.pool.port,
                "servers": [server_in_pool(view, name, change.key) for name in change.pool.servers],
            }
            for change in left
        ]
        return failure("would-break", text, pools=pools)
    drain = view.snapshot.drains.get(wish.server)
    was = view.used.server_by_name[wish.server].wanted
    if after is Wanted.MAINT and was is not Wanted.MAINT and (drain is None or drain.drained_at is None):
        how = "it does not drain yet" if drain is None else drain.reason
        text = f"{wish.server} is not drained ({how}), and maint ends its connections: drain it first, or use force"
        return failure("would-break", f"{text}. Nothing was changed")
    return None


def _leaves_none(view: View, server: str, change: PoolChange) -> bool:
    """Whether a pool has new connections now, by this server, and no other would serve them.

    Where none is up all are used, and one less does no harm, unless it is the last one.
    """
    others = (name for name in change.pool.servers if name != server and view.is_serving(name, change.key))
    is_last = view.is_serving(server, change.key) and not any(name in change.after for name in others)
    return server in change.before and (is_last or not change.after)


def _others(view: View, server: str, change: PoolChange) -> str:
    """The other servers of a pool and why they do not serve."""
    words = []
    for name in change.pool.servers:
        if name != server:
            wanted = view.used.server_by_name[name].wanted
            seen = view.judgement(name, change.key).seen
            words.append(f"{name} {seen.value if wanted is Wanted.READY else wanted.value}")
    return ", ".join(words) or "it has no other one"


# ---- what is said ----


def _sentences(view: View, server: str, after: Wanted, changes: tuple[PoolChange, ...]) -> Iterator[str]:
    """What a wish means, for people: for each pool what moves, and what it gets all the same."""
    for change in changes:
        yield f"{change.name}: {_moves(change)}{_plain(change)}"
    vip = next(vip for vip in view.snapshot.config.vips if vip.name == view.used.server_by_name[server].vip)
    if after is Wanted.MAINT:
        yield f"{server}: its service ports close, and connections that are open at it end"
    elif after is Wanted.DRAIN:
        if vip.default_server == server:
            yield f"{server} is the default server of {vip.name}, and goes on getting what that gets"
        yield f"{server}: connections that continue on its service ports go on"
        if view.used.server_by_name[server].mptcp is not None:
            yield f"{server}: connections of MPTCP are never moved (none can go on at another server); they go on"


def _moves(change: PoolChange) -> str:
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


def _plain(change: PoolChange) -> str:
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


def _listed(changes: tuple[PoolChange, ...]) -> dict[str, Any]:
    """The same for programs."""
    listed = []
    for change in changes:
        names = sorted({*change.before, *change.after})
        listed.append(
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
    return {"pools": listed}
