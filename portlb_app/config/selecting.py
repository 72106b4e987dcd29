"""``….selection``, ``….moves``, ``….slow_start``, ``….when``, ``servers.NAME.priority``: which server is selected.

What contradicts each other is refused, above all what would break plain clients' connections without saying so.
"""

from __future__ import annotations

from portlb_app.config.entries import RedirectPortEntry, ServerEntry
from portlb_app.config.file import File
from portlb_app.config.policies import Legacy, Signal
from portlb_app.config.selection_entries import SelectionEntry
from portlb_app.config.selection_values import FREE, TURNING, Algorithm, Selecting, Turns, When
from portlb_app.pipeline import SLOTS

BACKUP = 1
"""The priority of a server that is a ``backup``."""
_PLAIN = Selecting()


# ---- from entries to values ------------------------------------------------------------------------------------------


def selecting(entry: SelectionEntry | None) -> Selecting:
    """What a port's entry means."""
    if entry is None or entry.kind is None:
        return _PLAIN
    return Selecting(
        entry.kind,
        entry.prefix4 or _PLAIN.prefix4,
        entry.prefix6 or _PLAIN.prefix6,
        entry.period or _PLAIN.period,
        entry.turns or _PLAIN.turns,
        entry.rate or _PLAIN.rate,
    )


def whens(file: File, path: str) -> tuple[When, ...]:
    """The other pools of a port, the first one first."""
    entries = (entry for _, entry in sorted(file.whens.get(path, {}).items()))
    return tuple(When(entry.pool or 0, entry.source, entry.dscp, entry.vlan) for entry in entries)


def priority(entry: ServerEntry) -> int:
    """A server's priority: those with the lowest number that work are used."""
    return entry.priority if entry.priority is not None else BACKUP * bool(entry.backup)


# ---- against each other ----------------------------------------------------------------------------------------------


def check_server(file: File, name: str, entry: ServerEntry) -> None:
    """A server is a backup, or has a priority that says so."""
    if entry.backup is not None and entry.priority is not None:
        file.wrong(f"servers.{name}.backup", "the priority says that already: choose one of them")


def check_port(file: File, vip: str, port: int, pool: RedirectPortEntry, policy: Legacy) -> None:
    """How a redirect port selects, against its other keys."""
    path = f"vips.{vip}.redirect_ports.{port}"
    if (entry := file.selections.get(path)) is not None and entry.kind is not None:
        _check_selection(file, f"{path}.selection", entry)
        _check_algorithm(file, path, pool, policy, selecting(entry))
    _check_when(file, vip, port, path, policy)


def _check_selection(file: File, path: str, entry: SelectionEntry) -> None:
    """The keys of an algorithm belong to it."""
    for key, value in (("prefix4", entry.prefix4), ("prefix6", entry.prefix6)):
        if value is not None and entry.kind is not Algorithm.SOURCE:
            file.wrong(f"{path}.{key}", "needs kind: source")
    if entry.turns is not None and entry.kind not in TURNING:
        file.wrong(f"{path}.turns", "needs kind: round-robin or elevator")
    elif entry.turns is Turns.CONTROLLER and entry.period is not None:
        file.wrong(f"{path}.period", "with turns: controller each SYN is a turn")
    elif entry.period is not None and not selecting(entry).reshuffles:
        file.wrong(f"{path}.period", "needs kind: random, round-robin or elevator")
    if entry.rate is not None and entry.turns is not Turns.CONTROLLER:
        file.wrong(f"{path}.rate", "needs turns: controller")


def _check_algorithm(file: File, path: str, pool: RedirectPortEntry, policy: Legacy, chosen: Selecting) -> None:
    """What an algorithm does to connections that stay on their slots."""
    name = chosen.algorithm.value
    moves = pool.moves
    if chosen.reshuffles:
        if moves is not None and moves != FREE:
            file.wrong(f"{path}.moves", f"selection: {name} moves all slots every period: free")
        elif moves is None and policy is Legacy.BALANCE:
            file.wrong(
                f"{path}.selection",
                f"{name} moves all slots every period, and breaks connections of plain clients (legacy: balance): "
                "say moves: free if that is wanted",
            )
        if pool.slow_start:
            file.wrong(f"{path}.slow_start", f"selection: {name} moves all slots every period")
    if chosen.turns is Turns.CONTROLLER:
        if pool.slow_start:
            file.wrong(f"{path}.slow_start", "with turns: controller a server gets its turns at once")
        if file.whens.get(path):
            file.wrong(f"{path}.when", "with turns: controller all SYNs are of this port's own pool")
    if chosen.algorithm is Algorithm.SOURCE:
        if pool.signal is Signal.OPTION and policy not in (Legacy.BALANCE, Legacy.PIN):
            file.wrong(
                f"{path}.signal",
                "with selection: source the controller cannot tell a SYN's slot: flag, or legacy: balance or pin",
            )
        if len(pool.servers or ()) > SLOTS:
            file.wrong(f"{path}.servers", f"selection: source has {SLOTS} slots, and so many servers at most")


def _check_when(file: File, vip: str, port: int, path: str, policy: Legacy) -> None:
    """What leads to other pools, against the VIP."""
    pool = file.redirect_ports[vip][port]
    is_read = pool.signal is Signal.OPTION and policy not in (Legacy.BALANCE, Legacy.PIN)
    versions = {address.version for address in file.vips[vip].address or ()}
    known: dict[tuple[object, ...], int] = {}
    for position, entry in file.whens.get(path, {}).items():
        where = f"{path}.when[{position}]"
        what = (entry.source, entry.dscp, entry.vlan)
        is_sound = not {where, *(f"{where}.{key}" for key in ("source", "dscp", "vlan"))} & file.faulty
        if what == (None, None, None):
            if is_sound:
                file.wrong(where, "says nothing of a packet: source, dscp or vlan")
        elif known.setdefault(what, position) != position:
            file.wrong(where, f"matches the same packets as when[{known[what]}]")
        if entry.source is not None and versions and entry.source.version not in versions:
            file.wrong(f"{where}.source", f"{vip} has no IPv{entry.source.version} address")
        if entry.vlan is not None and is_read:
            file.wrong(f"{where}.vlan", "with signal: option the controller reads SYNs, and none with a VLAN tag")
        if entry.pool == port:
            file.wrong(f"{where}.pool", f"{port} is this port's own pool")
        elif entry.pool is not None and entry.pool not in file.redirect_ports[vip]:
            file.wrong(f"{where}.pool", f"{entry.pool} is no redirect port of {vip}")
        elif entry.pool is not None and is_read:
            other = file.selections.get(f"vips.{vip}.redirect_ports.{entry.pool}")
            if other is not None and other.kind is Algorithm.SOURCE:
                file.wrong(f"{where}.pool", "with signal: option the controller cannot tell a SYN's slot by its source")
