"""Text to plain data: the part of YAML a configuration needs, bounded, because it also comes over REST.

Read from libyaml's events, without recursion: its composer crashes the process on deep nesting. Anchors, aliases,
tags and duplicate keys are refused. Plain scalars follow YAML 1.2's core schema, so that no MAC address becomes a
sexagesimal number and no server is called False. JSON is a subset.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from portlb_app.config.values import ConfigError, Problem

MAX_BYTES = 4 << 20
"""Size of a configuration's text; 1000 servers with 10 ports each need about 200 kB."""
MAX_DEPTH = 16
"""Nesting of a configuration's text; a sound one needs 6."""

_INTEGER = re.compile(r"(?:0|-?[1-9][0-9]{0,20})|0x[0-9a-fA-F]{1,16}")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def below(path: str, step: object) -> str:
    """The path of what stands under `path`: a list's position in brackets, a key behind a dot."""
    if isinstance(step, int):
        return f"{path}[{step}]"
    return f"{path}.{step}" if path else str(step)


def parse(text: str) -> tuple[Any, list[Problem]]:
    """The data of a text, and what is wrong with it but leaves data to look at.

    Raises ConfigError for a text that cannot be read at all.
    """
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise ConfigError((Problem("", f"the configuration is larger than {MAX_BYTES} bytes"),))
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.feed(event)
    except yaml.MarkedYAMLError as error:
        where = _where(error.problem_mark)
        raise ConfigError((Problem(where, f"not YAML: {error.problem or error.context}"),)) from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError((Problem("", f"not YAML: {' '.join(str(error).split())}"),)) from None
    return builder.document, builder.problems


def _where(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""


def _scalar(event: yaml.ScalarEvent) -> Any:
    if event.style:
        return event.value
    if _INTEGER.fullmatch(event.value):
        return int(event.value, 0)
    if event.value in ("null", "~", ""):
        return None
    if event.value in ("true", "false"):
        return event.value == "true"
    return event.value


class _Open:
    """A collection whose end has not come yet."""

    def __init__(self, path: str, into: dict[Any, Any] | list[Any]) -> None:
        self.path = path
        self.into = into
        self.key: Any = None
        self.has_key = False

    @property
    def next_path(self) -> str:
        return below(self.path, len(self.into) if isinstance(self.into, list) else str(self.key))


class _Builder:
    """Builds the document event by event."""

    def __init__(self) -> None:
        self.document: Any = None
        self.problems: list[Problem] = []
        self._open: list[_Open] = []
        self._documents = 0

    def feed(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event, "anchors and aliases are not supported")
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            self._refuse(event, "anchors and aliases are not supported")
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and event.tag not in (None, "!"):
            self._refuse(event, "tags are not supported")
        if isinstance(event, yaml.ScalarEvent):
            self._place(_scalar(event), event)
        elif isinstance(event, yaml.MappingStartEvent):
            self._start({}, event)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._start([], event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._refuse(event, "one document is expected")

    def _refuse(self, event: yaml.Event, message: str) -> None:
        raise ConfigError((Problem(_where(event.start_mark), message),))

    def _start(self, collection: dict[Any, Any] | list[Any], event: yaml.Event) -> None:
        if len(self._open) >= MAX_DEPTH:
            self._refuse(event, f"nested deeper than {MAX_DEPTH} levels")
        path = self._open[-1].next_path if self._open else ""
        self._place(collection, event)
        self._open.append(_Open(path, collection))

    def _place(self, value: Any, event: yaml.Event) -> None:
        if not self._open:
            self.document = value
            return
        parent = self._open[-1]
        if isinstance(parent.into, list):
            parent.into.append(value)
        elif parent.has_key:
            parent.into[parent.key] = value
            parent.has_key = False
        else:
            if isinstance(value, (dict, list)):
                self._refuse(event, "a key is a plain word or number")
            parent.key, parent.has_key = value, True
            if value in parent.into:
                self.problems.append(Problem(parent.next_path, "is given twice"))
