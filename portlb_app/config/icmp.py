"""``vips.NAME.icmp``: where ICMP that quotes nothing goes (row I1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from portlb_app.config.entries import IcmpEntry
from portlb_app.config.policies import IcmpPolicy
from portlb_app.config.values import IcmpRule
from portlb_app.pipeline import FAMILIES, ND_ADVERTISE, ND_OTHERS, ND_SOLICIT

Report = Callable[[str, str], None]
"""Takes a path below ``icmp`` and what is wrong there."""

_TYPE = re.compile(r"0|[1-9][0-9]{0,2}")
_KEYS = {4: "types", 6: "types6"}
_DISCOVERY = (ND_SOLICIT, ND_ADVERTISE, *ND_OTHERS)


def rules(entry: IcmpEntry, report: Report) -> tuple[IcmpRule, ...]:
    """The rules an entry means, without those that are wrong, which are reported."""
    found: dict[tuple[int, int], IcmpRule] = {}
    for version, family in FAMILIES.items():
        for icmp_type, target in _types(entry, version, report):
            key = f"{_KEYS[version]}.{icmp_type}"
            if target is IcmpPolicy.ANSWER:
                report(key, "the switch answers pings only: use echo")
            elif icmp_type == family.echo and entry.echo is not None:
                report(key, "is given twice: echo is this type")
            elif icmp_type in family.errors:
                report(key, "is an error about a packet: use icmp.errors")
            elif version == 6 and icmp_type in _DISCOVERY:
                report(key, "is neighbour discovery")
            else:
                found[version, icmp_type] = IcmpRule(version, icmp_type, target)
        if entry.echo is not None:
            found[version, family.echo] = IcmpRule(version, family.echo, entry.echo)
    return tuple(sorted(found.values(), key=lambda rule: (rule.version, rule.type)))


def _types(entry: IcmpEntry, version: int, report: Report) -> Iterator[tuple[int, IcmpPolicy | str]]:
    given: dict[Any, Any] = (entry.types if version == 4 else entry.types6) or {}
    for key, value in given.items():
        if not _TYPE.fullmatch(str(key)) or int(key) > 255:
            report(f"{_KEYS[version]}.{key}", "an ICMP type is a number from 0 to 255")
        elif not isinstance(value, str):
            report(f"{_KEYS[version]}.{key}", "balance, default, drop or a server's name is expected")
        else:
            yield int(key), IcmpPolicy(value) if value in IcmpPolicy.__members__.values() else value


def targets(entry: IcmpEntry) -> Iterator[tuple[str, IcmpPolicy | str]]:
    """Every target an entry names, with its path below ``icmp``."""
    for key, target in (("echo", entry.echo), ("other", entry.other)):
        if target is not None:
            yield key, target
    for version in FAMILIES:
        for icmp_type, target in _types(entry, version, lambda path, message: None):
            yield f"{_KEYS[version]}.{icmp_type}", target
