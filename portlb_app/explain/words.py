"""What became of a packet, for people: from the values that `explain` makes, or that JSON brought."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Value = Mapping[str, Any]
_GOES_ON = "MISS"
_SHORT = 60
"""Characters of a list of slots that is worth reading."""


def answer(explained: Value) -> Iterator[str]:
    """Where it goes, and which parts of the configuration decide that."""
    for start in explained["starts"]:
        yield from _head(explained, start)
        yield from _outcomes(start)
        yield "  because:"
        rows = [_reason(step) for step in start["steps"] if _decides(step)]
        yield from _aligned("    ", _once(rows))
        yield from _warnings(start)


def by_tables(explained: Value) -> Iterator[str]:
    """Every table that it passes, with what it changes."""
    for start in explained["starts"]:
        yield from _head(explained, start)
        for step in start["steps"]:
            yield from _step(step, _table_lines)
        yield from _outcomes(start)
        yield from _warnings(start)


def by_flows(explained: Value) -> Iterator[str]:
    """Every flow that it finds, as ovs-ofctl writes it, and every bucket."""
    for start in explained["starts"]:
        yield from _head(explained, start)
        for step in start["steps"]:
            yield from _step(step, _flow_lines)
        yield from _outcomes(start)
        yield from _warnings(start)


# ---- outcomes --------------------------------------------------------------------------------------------------------


def _head(explained: Value, start: Value) -> Iterator[str]:
    yield f"{explained['packet']}"
    slot = "" if explained.get("slot") is None else f", slot {explained['slot']}"
    yield f"  comes in by {start['switch']}:{start['port']}, {start['place']}{slot}"


def _outcomes(start: Value) -> Iterator[str]:
    """Outcomes that look alike are one line: their slots are counted together."""
    counted: dict[tuple[str, ...], int] = {}
    for outcome in start["outcomes"]:
        said = tuple(_fate(outcome))
        counted[said] = counted.get(said, 0) + outcome["slots"]
    among = start["outcomes"][0]["among"]
    for said, slots in sorted(counted.items(), key=lambda each: (-each[1], each[0])):
        share = "" if len(counted) == 1 else f"{slots} of {among} slots ({100 * slots / among:.1f} %): "
        yield f"  {share}{said[0]}"
        for more in said[1:]:
            yield f"  {' ' * len(share)}{more}"


def _fate(outcome: Value) -> Iterator[str]:
    for each in outcome["exits"]:
        if each["kind"] in ("controller", "copy"):
            what = "a copy goes up to the controller" if each["kind"] == "copy" else "goes up to the controller"
            yield f"{what}: {each['words']}"
        elif each["kind"] == "stopped":
            yield f"cannot be followed: {each['words']}"
        else:
            changed = ", ".join(f"{change['field']} {change['after']}" for change in each["changed"])
            yield f"reaches {each['words']} by {each['switch']}:{each['port']}, {changed or 'unchanged'}"
    for each in outcome["dropped"][-1:]:
        path = f" ({each['path']})" if each["path"] else ""
        yield f"is dropped by {each['switch']}, table {each['table']}: {each['why']}{path}"
    if not outcome["exits"] and not outcome["dropped"]:
        yield "is dropped: no action sends it anywhere"


# ---- steps -----------------------------------------------------------------------------------------------------------


def _decides(step: Value) -> bool:
    """Whether a table says something about this packet, rather than about none in particular."""
    goes_on = step.get("reason") == _GOES_ON and step["actions"].startswith("goto")
    return bool(step["kind"] == "table" and not goes_on)


def _reason(step: Value) -> tuple[str, str, str, str]:
    return step["switch"], step["table"], step["why"], step["path"]


def _step(step: Value, lines: Any) -> Iterator[str]:
    indent = "  " * (step["depth"] + 1)
    kind = step["kind"]
    if kind == "enters":
        yield f"{indent}{step['switch']}:{step['port']} ({step['words']})"
    elif kind == "table":
        yield from (f"{indent}{line}" for line in lines(step))
    elif kind == "choice":
        watched = f", while port {step['watched']} is up" if step["watched"] else ""
        whose = f" of {step['server']}" if step["server"] else ""
        which = f": {step['which']}" if len(step["which"]) <= _SHORT else ""
        yield f"{indent}{step['slots']} of {step['of']} slots{whose}{watched}{which}"
    elif kind == "leaves":
        yield f"{indent}leaves by {step['switch']}:{step['port']} to {step['words']}"
    else:
        yield f"{indent}{step['words']}"


def _table_lines(step: Value) -> Iterator[str]:
    path = f"  [{step['path']}]" if step["path"] else ""
    yield f"{step['table']:<10} {step['why']}{path}{_odd(step)}"
    for change in step["changed"]:
        yield f"{'':<10} {change['field']}: {change['before']} -> {change['after']}"


def _flow_lines(step: Value) -> Iterator[str]:
    yield f"{step['table']:<10} {step['flow'] or step['why']}{_odd(step)}"


def _odd(step: Value) -> str:
    return "" if step["as_desired"] else "  (not a flow of the configuration)"


def _warnings(start: Value) -> Iterator[str]:
    tables = [step for step in start["steps"] if step["kind"] == "table"]
    odd = sorted({step["switch"] for step in tables if not step["as_desired"]})
    if odd:
        yield f"  warning: {', '.join(odd)} does not hold what the configuration asks for"
    if any(step.get("unread") for step in tables):
        yield "  warning: a table on the way has flows that match what is not understood here"


def _once(rows: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return list(dict.fromkeys(rows))


def _aligned(indent: str, rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    for row in rows:
        yield indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
