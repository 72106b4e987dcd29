"""What is used instead of the file's value for a server's state or weight, since somebody asked for it at run time.

An override is kept apart from the configuration: it has the value that the file had when it was made, and holds as long
as the file has that one. So a change of the file always wins, and a file that is only read again changes nothing. One
with an end (`until`) ends by itself; one of a server that is not there any more is dropped.

Times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from portlb_app.config import moments
from portlb_app.config.policies import Wanted
from portlb_app.config.problems import printable
from portlb_app.config.values import MAX_WEIGHT, Config, Server

Key = Literal["state", "weight"]
"""A key of a server that can be overridden."""
Value = Wanted | int

MAX_OVERRIDES = 4096
"""What is more than that belongs into the file."""


@dataclass(frozen=True)
class Override:
    """A value in place of the file's, which was `replaced`. `until`: when it ends; None for never.

    `deadline`: when connections that are still open at a server that drains are to be ended; None for never. `move`:
    the server's agent is to redirect them before.
    """

    value: Value
    replaced: Value
    reason: str = ""
    by: str = ""
    since: float = 0.0
    until: float | None = None
    deadline: float | None = None
    move: bool = False


class Note(NamedTuple):
    """A line of the log about an override that ends."""

    level: Literal["info", "warning"]
    text: str


@dataclass(frozen=True)
class Overrides:
    """All of them, by server and key."""

    entries: Mapping[tuple[str, Key], Override] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.entries)

    def of(self, server: str) -> dict[Key, Override]:
        """Those of one server."""
        found: dict[Key, Override] = {}
        for key in _KEYS:
            if (server, key) in self.entries:
                found[key] = self.entries[server, key]
        return found

    def over(self, config: Config) -> Config:
        """The configuration as it is used: with the values of the overrides that hold for it."""
        changed: dict[str, Server] = {}
        for (name, key), each in self.entries.items():
            server = config.server_by_name.get(name)
            if server is not None and configured(server, key) == each.replaced:
                server = changed.get(name, server)
                changed[name] = _with(server, key, each.value)
        if not changed:
            return config
        return replace(config, servers=tuple(changed.get(server.name, server) for server in config.servers))

    def of_members(self, config: Config) -> Config:
        """The same, but one that takes a server out changes nothing: it is only away, and its place is kept."""
        kept = (Wanted.READY, *range(1, MAX_WEIGHT + 1))
        return Overrides({key: each for key, each in self.entries.items() if each.value in kept}).over(config)

    def put(self, server: Server, key: Key, value: Value | None, by: Override) -> Overrides:
        """With this value for a key of a server of the configuration; `by` says why, who, since and until when.

        None, and the value that the file has, are none.
        """
        return self.put_all([(server, key, value, by)])

    def put_all(self, given: Iterable[tuple[Server, Key, Value | None, Override]]) -> Overrides:
        """With each of these, as `put` says."""
        entries = dict(self.entries)
        for server, key, value, by in given:
            before = entries.pop((server.name, key), None)
            if value is not None and value != configured(server, key):
                since = before.since if before and before.value == value else by.since
                entries[server.name, key] = replace(by, value=value, replaced=configured(server, key), since=since)
        return Overrides(entries)

    def settle(self, config: Config, now: float) -> tuple[Overrides, tuple[Note, ...]]:
        """What is left of them with this configuration at this time, and what is to be said about the others."""
        ended = {key: note for key, each in self.entries.items() if (note := _end(config, *key, each, now))}
        if not ended:
            return self, ()
        return Overrides({key: each for key, each in self.entries.items() if key not in ended}), tuple(ended.values())

    def __iter__(self) -> Iterator[tuple[tuple[str, Key], Override]]:
        return iter(sorted(self.entries.items()))


NONE = Overrides()
_KEYS: tuple[Key, ...] = ("state", "weight")


def configured(server: Server, key: Key) -> Value:
    """What the file says."""
    return server.state if key == "state" else server.weight


def word(value: Value) -> str:
    """A value as it is written."""
    return value.value if isinstance(value, Wanted) else str(value)


def _with(server: Server, key: Key, value: Value) -> Server:
    if isinstance(value, Wanted):
        return replace(server, state=value)
    return replace(server, weight=value)


def _end(config: Config, name: str, key: Key, override: Override, now: float) -> Note | None:
    """Why an override does not hold any more; None if it does."""
    server = config.server_by_name.get(name)
    value = word(override.value)
    if server is None:
        return Note("warning", f"server {name}: {key} {value} is dropped, because there is no such server any more")
    says = configured(server, key)
    if says != override.replaced:
        by = f" of {printable(override.by)}" if override.by else ""
        was = f"{value}{by} in place of {word(override.replaced)}"
        return Note("info", f"server {name}: the file says {key} {word(says)} now, so {was} ends")
    if override.until is not None and now >= override.until:
        end = moments.text(override.until)
        return Note("info", f"server {name}: {key} {value} was until {end}; the file's {word(says)} holds again")
    return None
