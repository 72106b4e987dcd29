"""Texts about agents: rates, health, Prometheus' format. All functions are pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

_GROUPS = {
    "opened": "syn_marked plain unredirected syn_redirect supported",
    "redirected": "bound confirmed moved reopen steered own_port_moved arrived announced redirected server_moved "
    "client_moved",
    "fallen back": "tried_both fallen_back remembered unsteered repaired reset_from_old_port stayed answered_as_asked "
    "sent_from_both reflected",
    "refused": "refused_announcement collision wrong_port from_old_port no_room map_full rewrite_failed signed",
    "aged": "swept_closing swept_opening swept_idle swept_gone made_room",
    "forged": "forged_synack second_synack forged_announcement forged_error bad_option",
}
"""Groups of counters, by what has happened."""
GROUP_OF = {counter: group for group, members in _GROUPS.items() for counter in members.split()}


class Entries(NamedTuple):
    """How full a map of connections is."""

    used: int
    room: int

    @property
    def almost_full(self) -> bool:
        """Whether nine of ten places are taken."""
        return 10 * self.used >= 9 * self.room


def crowded(connections: Entries, refused: int) -> str:
    """Return what is wrong with a table of open connections, "" if nothing is.

    `refused`: connections that found no room since the last call.
    """
    if refused:
        return f"all {connections.room} places for connections are taken: new ones are opened plainly"
    if connections.almost_full:
        return f"more than 90 % of the {connections.room} places for connections are taken by open ones"
    return ""


@dataclass(frozen=True)
class Chain:
    """Other programs on one hook of an agent's, in words, before and behind it.

    `passes`: whether packets come through to the agent, None if that could not be found out.
    """

    direction: str
    before: tuple[str, ...]
    behind: tuple[str, ...]
    passes: bool | None = True


def total(each: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Add up counters of several agents."""
    found: dict[str, int] = {}
    for counters in each:
        for name, value in counters.items():
            found[name] = found.get(name, 0) + value
    return found


def all_entries(each: Iterable[Mapping[str, Entries]]) -> dict[str, Entries]:
    """Add up entries of several agents, by map."""
    found: dict[str, Entries] = {}
    for maps in each:
        for name, (used, room) in maps.items():
            before = found.get(name, Entries(0, 0))
            found[name] = Entries(before.used + used, before.room + room)
    return found


def is_of(role: str, meaning: str) -> bool:
    """Tell whether a counter can move in a role, by the word its meaning begins with if it is for one only."""
    first, colon, _ = meaning.partition(":")
    return not colon or first not in ("client", "server") or first == role


def rates(before: Mapping[str, int], after: Mapping[str, int], seconds: float) -> str:
    """Return what moved, in words, with each counter's mean per second; empty if nothing did."""
    moved: dict[str, list[str]] = {}
    for name, value in after.items():
        rate = (value - before.get(name, 0)) / seconds
        if rate:
            moved.setdefault(GROUP_OF.get(name, "other"), []).append(f"{name} {_rounded(rate)}")
    return "; ".join(f"{group}: {', '.join(moved[group])}" for group in (*_GROUPS, "other") if group in moved)


def _rounded(rate: float) -> str:
    """Three digits are enough, and no exponent."""
    return f"{rate:.0f}" if abs(rate) >= 100 else f"{rate:.3g}"


def prometheus(
    interface: str, found: Mapping[str, tuple[Mapping[str, int], Mapping[str, Entries]]], meanings: Mapping[str, str]
) -> Iterator[str]:
    """Yield the lines of Prometheus' text format, version 0.0.4: counters and entries of each role."""
    place = f'interface="{_escaped(interface)}"'
    for name, meaning in meanings.items():
        yield f"# HELP portlb_agent_{name}_total {meaning}"
        yield f"# TYPE portlb_agent_{name}_total counter"
        for role, (counters, _) in found.items():
            yield f'portlb_agent_{name}_total{{{place},role="{role}"}} {counters[name]}'
    for metric, meaning, value in (
        ("portlb_agent_entries", "entries in use, closed connections left out: they give way", "used"),
        ("portlb_agent_entries_max", "entries the map has room for", "room"),
    ):
        yield f"# HELP {metric} {meaning}"
        yield f"# TYPE {metric} gauge"
        for role, (_, maps) in found.items():
            for name, entries in maps.items():
                yield f'{metric}{{{place},role="{role}",map="{name}"}} {getattr(entries, value)}'


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def health(
    attached: Collection[str],
    entries: Mapping[str, Entries],
    pids: Collection[int],
    all_known: bool,
    notes: Iterable[object] = (),
    chains: Collection[Chain] = (),
) -> tuple[bool, str]:
    """Tell whether an agent is well, and in words: on which hooks it is, how full it is, which process looks after it.

    `pids`: processes that hold its programs; `all_known`: there are no others; `notes`: what else is to be said;
    `chains`: what else is on its hooks.
    """
    words = ["attached" if len(attached) == 2 else f"attached at {', '.join(attached)} only"]
    words += [
        f"{name}: {each.used} of {each.room} entries{', almost full' if each.almost_full else ''}"
        for name, each in entries.items()
    ]
    if pids:
        words.append(f"process {', '.join(map(str, pids))}")
    else:
        words.append("no process, so entries do not age" if all_known else "process unknown")
    words += map(str, notes)
    words += [word for chain in chains for word in _neighbours(chain)]
    well = len(attached) == 2 and (bool(pids) or not all_known) and not any(e.almost_full for e in entries.values())
    return well and all(chain.passes is not False for chain in chains), "; ".join(words)


def _neighbours(chain: Chain) -> Iterator[str]:
    """Yield in words what runs before an agent on a hook, with what it does to it, and what runs behind it."""
    if chain.before:
        does = {
            True: "and lets packets pass to it",
            False: "and keeps packets from it: attach that one behind it, or have it return TCX_NEXT (-1)",
            None: "and may keep packets from it",
        }[chain.passes]
        yield f"at {chain.direction} another program runs before it ({', '.join(chain.before)}), {does}"
    if chain.behind:
        yield f"at {chain.direction} another program runs behind it ({', '.join(chain.behind)})"
