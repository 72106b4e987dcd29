"""Changes of single values in the text of a configuration: what is not changed stays as it is, comments included.

A change is a merge patch (RFC 7396): a mapping that says for some keys what they shall be; null takes a key away. The
nodes that PyYAML finds tell where each value stands, and only that part of the text is written anew, on one line. The
result is read again: it means what the patch says, or the change is refused. Keys of a patch are texts; ports are
numbers in the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from portlb_app.config.problems import refusal
from portlb_app.config.text import parse

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*(?::[0-9]+)?")
_NUMBER = re.compile("[1-9][0-9]{0,8}")
_NOT_PLAIN = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


class Whole(dict[str, Any]):
    """In a patch: a mapping that takes the place of the one that is there, and is not merged with it."""


class _Edit(NamedTuple):
    """This part of the text becomes another one."""

    start: int
    end: int
    text: str


def patched(text: str, patch: Mapping[str, Any]) -> str:
    """The text with these changes; ConfigError if it cannot be changed in place."""
    data, problems = parse(text)
    problems.raise_any()
    node = yaml.compose(text, Loader=_LOADER)
    if not isinstance(data, dict) or not isinstance(node, yaml.MappingNode):
        raise refusal("", "the configuration is not a mapping")
    merged = merge(data, patch)
    edits = sorted(_edits(text, node, data, patch), key=lambda edit: edit.start)
    parts, at = [], 0
    for edit in edits:
        parts += [text[at : edit.start], edit.text]
        at = max(at, edit.end)
    made = "".join([*parts, text[at:]])
    if parse(made)[0] != merged:
        raise refusal("", "this cannot be changed in place: replace the whole text by PUT /v1/config")
    return made


def merge(data: Any, patch: Any) -> Any:
    """The data that a patch makes of others."""
    if not isinstance(patch, Mapping):
        return patch
    if isinstance(patch, Whole):
        data = {}
    merged = dict(data) if isinstance(data, dict) else {}
    for name, value in patch.items():
        key = _key(merged, name)
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def _key(data: Mapping[Any, Any], name: str) -> Any:
    """The key that a patch means: the one that is there; else a number, if it is one and others are, too."""
    for key in data:
        if str(key) == name:
            return key
    return int(name) if _NUMBER.fullmatch(name) else name


def _edits(text: str, node: yaml.MappingNode, data: dict[Any, Any], patch: Mapping[str, Any]) -> Iterator[_Edit]:
    """The changes below a mapping: inner ones before those that follow them at the same place."""
    pairs = {key.value: (key, value) for key, value in node.value}
    gone = [name for name, value in patch.items() if value is None and name in pairs]
    kept = [pair for name, pair in pairs.items() if name not in gone]
    new = {name: value for name, value in patch.items() if value is not None and name not in pairs}
    for name, value in patch.items():
        if value is None or name not in pairs:
            continue
        key, there = pairs[name]
        inner = data[_key(data, name)]
        is_merged = isinstance(value, Mapping) and not isinstance(value, Whole) and isinstance(inner, dict)
        if is_merged and not _is_rewritten(there, value):
            yield from _edits(text, there, inner, value)
        elif merge(inner, value) != inner:
            colon = text.index(":", key.end_mark.index)
            yield _Edit(colon + 1, max(colon + 1, _end(there)), f" {flow(merge(inner, value))}")
    for name in gone:
        key, there = pairs[name]
        yield _Edit(text.rfind("\n", 0, key.start_mark.index) + 1, _line_end(text, _end(there)) + 1, "")
    if new:
        last = _end(kept[-1][1])
        if node.flow_style:
            yield _Edit(last, last, "".join(f", {_named(name, value)}" for name, value in new.items()))
        else:
            indent = "\n" + " " * kept[-1][0].start_mark.column
            at = _line_end(text, last)
            yield _Edit(at, at, "".join(f"{indent}{_named(name, value)}" for name, value in new.items()))


def _is_rewritten(node: yaml.Node, patch: Mapping[str, Any]) -> bool:
    """Whether a mapping is written anew: one that is empty before or after, or is on one line and loses keys."""
    if not isinstance(node, yaml.MappingNode):
        return True
    names = {key.value for key, _ in node.value}
    gone = names & {name for name, value in patch.items() if value is None}
    return gone == names or bool(gone and node.flow_style)


def _end(node: yaml.Node) -> int:
    """Where what a node says ends: that of the last value in it, and not where the next one begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _line_end(text: str, at: int) -> int:
    """The end of the line of a position, with what is behind it there."""
    found = text.find("\n", at)
    return len(text) if found < 0 else found


def _named(name: str, value: Any) -> str:
    return f"{_scalar(int(name) if _NUMBER.fullmatch(name) else name)}: {flow(merge(None, value))}"


def flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(key)}: {flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _NOT_PLAIN:
        return value
    return json.dumps(value)
