"""The entries of ``lb.yaml``, each read by itself; what is wrong with one is a problem, and hides no other."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from portlb_app.config.check_entries import CheckEntry
from portlb_app.config.entries import (
    IcmpEntry,
    RedirectPortEntry,
    ServerEntry,
    ServicePortEntry,
    SwitchEntry,
    VipEntry,
    link,
    read,
)
from portlb_app.config.problems import MAX_NOTICES, Notice, Problems
from portlb_app.config.selection_entries import SelectionEntry, WhenEntry
from portlb_app.config.text import below
from portlb_app.config.values import MAX_LINKS, MAX_SERVERS, MAX_SWITCHES, Connector, Link
from portlb_app.openflow.limits import MAX_VIPS

MAX_ENTRIES = {"switches": MAX_SWITCHES, "vips": MAX_VIPS, "servers": MAX_SERVERS}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_PORT = re.compile(r"[1-9][0-9]{0,4}")


@dataclass(frozen=True)
class File:
    """All entries of a file, in its order, and the problems found so far."""

    problems: Problems
    notices: list[Notice] = field(default_factory=list)
    switches: dict[str, SwitchEntry] = field(default_factory=dict)
    vips: dict[str, VipEntry] = field(default_factory=dict)
    servers: dict[str, ServerEntry] = field(default_factory=dict)
    redirect_ports: dict[str, dict[int, RedirectPortEntry]] = field(default_factory=dict)
    icmp: dict[str, IcmpEntry] = field(default_factory=dict)
    service_ports: dict[str, dict[int, ServicePortEntry]] = field(default_factory=dict)
    checks: dict[str, CheckEntry] = field(default_factory=dict)
    """By the path of what they are given for: a VIP, a redirect port or a server."""
    selections: dict[str, SelectionEntry] = field(default_factory=dict)
    whens: dict[str, dict[int, WhenEntry]] = field(default_factory=dict)
    """Both by the path of their redirect port; entries of ``when`` by their position."""
    bare_ports: dict[int, ServicePortEntry] = field(default_factory=dict)
    """The entries that bare numbers are short for: the same value each time, because a text may have half a million."""
    links: dict[int, Link] = field(default_factory=dict)
    """By their position in the file."""
    owners: dict[tuple[str | None, int], str] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    faulty: set[str] = field(default_factory=set)
    """Paths of fields that are given and wrong; that they are missing is no second mistake."""

    def is_network_side(self, connector: Connector) -> bool:
        """Whether a connector is the network side of its switch: a server is there with the clients (row N5)."""
        switch = self.switches.get(connector.switch)
        return switch is not None and switch.network == connector.port

    def wrong(self, path: str, message: str) -> None:
        """Note a mistake."""
        self.problems.add(path, message)

    def notice(self, path: str, message: str) -> None:
        """Note what is allowed, but may not be wanted; at most `MAX_NOTICES` are kept."""
        if len(self.notices) < MAX_NOTICES:
            self.notices.append(Notice(path, message))
        elif len(self.notices) == MAX_NOTICES:
            self.notices.append(Notice("", "there are more such notices"))

    def unknown(self, path: str, section: str, message: str) -> None:
        """A name that `section` does not have; no mistake of its own if the section could not be read."""
        if section not in self.unreadable:
            self.wrong(path, message)


def read_file(data: dict[Any, Any], problems: Problems) -> File:
    """All entries of a file's data; `problems` has what is wrong with the text, and gets what is wrong with them."""
    file = File(problems)
    for key in data:
        if key not in ("switches", "links", "vips", "servers"):
            file.wrong(str(key), "unknown key")
    for name, entry in _named(file, data, "switches").items():
        file.switches[name] = read(SwitchEntry, f"switches.{name}", entry, problems)
    _read_links(file, data.get("links"))
    for name, entry in _named(file, data, "vips").items():
        path = f"vips.{name}"
        file.vips[name] = read(VipEntry, path, entry, problems)
        file.redirect_ports[name] = _redirect_ports(file, path, file.vips[name])
        file.icmp[name] = read(IcmpEntry, f"{path}.icmp", file.vips[name].icmp or {}, problems)
        _read_check(file, path, file.vips[name].check)
    for name, entry in _named(file, data, "servers").items():
        path = f"servers.{name}"
        file.servers[name] = read(ServerEntry, path, entry, problems)
        _read_check(file, path, file.servers[name].check)
        file.service_ports[name] = {
            position: _service_port(file, f"{path}.service_ports[{position}]", given)
            for position, given in enumerate(file.servers[name].service_ports or ())
        }
    return file


def _named(file: File, data: dict[Any, Any], section: str) -> dict[str, Any]:
    entries = data.get(section)
    if entries is None:
        if section == "switches":
            file.wrong(section, "is missing")
            file.unreadable.add(section)
        return {}
    if not isinstance(entries, dict):
        file.wrong(section, "is a mapping from names to entries")
        file.unreadable.add(section)
        return {}
    if len(entries) > MAX_ENTRIES[section]:
        file.wrong(section, f"has {len(entries)} entries; {MAX_ENTRIES[section]} are the most")
        file.unreadable.add(section)
        return {}
    sound = {}
    for name, entry in entries.items():
        if isinstance(name, str) and _NAME.fullmatch(name):
            sound[name] = entry
        else:
            hint = "" if isinstance(name, str) else " (quote it if that is what it is)"
            file.wrong(
                below(section, str(name)),
                "a name is up to 63 letters, digits, '.', '_' or '-', the first a letter or digit" + hint,
            )
    return sound


def _read_links(file: File, entries: Any) -> None:
    if entries is None:
        return
    if not isinstance(entries, list):
        file.wrong("links", "is a list of links, like [s1:2, s2:1]")
        file.unreadable.add("links")
        return
    if len(entries) > MAX_LINKS:
        file.wrong("links", f"has {len(entries)} entries; {MAX_LINKS} are the most")
        file.unreadable.add("links")
        return
    for position, entry in enumerate(entries):
        try:
            file.links[position] = link(entry)
        except ValueError as error:
            file.wrong(f"links[{position}]", str(error))
            file.unreadable.add("links")


def _service_port(file: File, path: str, given: Any) -> ServicePortEntry:
    if type(given) is int and 1 <= given <= 65535:
        if given not in file.bare_ports:
            file.bare_ports[given] = ServicePortEntry(port=given)
        return file.bare_ports[given]
    return read(ServicePortEntry, path, given if isinstance(given, dict) else {"port": given}, file.problems)


def _redirect_ports(file: File, path: str, vip: VipEntry) -> dict[int, RedirectPortEntry]:
    pools = {}
    for key, entry in (vip.redirect_ports or {}).items():
        where = f"{path}.redirect_ports.{key}"
        if not _PORT.fullmatch(str(key)) or int(key) > 65535:
            file.wrong(where, "a port is a number from 1 to 65535")
            continue
        pools[int(key)] = read(RedirectPortEntry, where, entry, file.problems)
        _read_check(file, where, pools[int(key)].check)
        _read_selection(file, where, pools[int(key)])
    return pools


def _read_selection(file: File, path: str, entry: RedirectPortEntry) -> None:
    if entry.selection is not None:
        given = {"kind": entry.selection} if isinstance(entry.selection, str) else entry.selection
        file.selections[path] = read(SelectionEntry, f"{path}.selection", given, file.problems)
    if entry.when:
        file.whens[path] = {
            position: read(WhenEntry, f"{path}.when[{position}]", given, file.problems)
            for position, given in enumerate(entry.when)
        }


def _read_check(file: File, path: str, given: dict[Any, Any] | None) -> None:
    if given is not None:
        file.checks[path] = read(CheckEntry, f"{path}.check", given, file.problems)
