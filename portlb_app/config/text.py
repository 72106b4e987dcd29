"""Text to plain data: the part of YAML a configuration needs, bounded, because it also comes over REST.

Read from libyaml's events, without recursion: its composer crashes the process on deep nesting. Anchors, aliases,
tags, directives and duplicate keys are refused. Plain scalars follow YAML 1.2's core schema, so that no MAC address
becomes a sexagesimal number and no server is called False. JSON is a subset.

Time and memory grow with the length of the text, never with its square: what a sound configuration has no use for is
refused where it begins, and a path is only made for a mistake that is told.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from portlb_app.config.problems import Problems, refusal

MAX_BYTES = 4 << 20
"""Size of a configuration's text; 1000 servers with 10 ports each need about 200 kB."""
MAX_DEPTH = 16
"""Nesting of a configuration's text; a sound one needs 6."""
MAX_KEY = 64
"""Characters of a key; a name has at most 63."""
MAX_SCALAR = 256
"""Characters of any other value; the longest sound one is a connector, of 69."""
MAX_NODES = 500_000
"""Values of a text, keys and collections among them; 50,000 service ports in the long form are 250,000."""

_INTEGER = re.compile(r"(?:0|-?[1-9][0-9]{0,20})|0x[0-9a-fA-F]{1,16}")
_DIRECTIVE = re.compile("(?:\\A\ufeff?|[\r\n\x85\u2028\u2029])%")
"""A directive is a line that begins with "%"; libyaml compares each with all before it."""
_KEY_BITS = 32
"""Numbers as keys are ports and ICMP types. Larger ones could be chosen to collide in a dictionary."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def below(path: str, step: object) -> str:
    """The path of what stands under `path`: a list's position in brackets, a key behind a dot."""
    if isinstance(step, int):
        return f"{path}[{step}]"
    return f"{path}.{step}" if path else str(step)


def parse(text: str) -> tuple[Any, Problems]:
    """The data of a text, and what is wrong with it but leaves data to look at.

    Raises ConfigError for a text that cannot be read at all.
    """
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise refusal("", f"the configuration is larger than {MAX_BYTES} bytes")
    if _DIRECTIVE.search(text):
        raise refusal("", "directives (lines that begin with %) are not supported")
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.feed(event)
    except yaml.MarkedYAMLError as error:
        where, hint = _where(error.problem_mark), one_line_hint(text)
        raise refusal(where, f"not YAML: {error.problem or error.context}{hint}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise refusal("", f"not YAML: {' '.join(str(error).split())}") from None
    return builder.document, builder.problems


def one_line_hint(text: str) -> str:
    """What to say about a text that is YAML without its line breaks; "" for any other."""
    line = text.strip()
    if not line or "\n" in line or "\r" in line or line[0] in "{[" or ": " not in f"{line} ":
        return ""
    return "; the text is one line; if curl sent it, --data took the line breaks out, and --data-binary keeps them"


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

    def __init__(self, into: dict[Any, Any] | list[Any]) -> None:
        self.into = into
        self.key: Any = None
        self.has_key = False
        self.names: set[str] = set()
        """The keys as a path has them: ``1`` and ``"1"`` are the same."""

    @property
    def step(self) -> object:
        """Where the value stands that is read at the moment."""
        return len(self.into) - 1 if isinstance(self.into, list) else str(self.key)


class _Builder:
    """Builds the document event by event."""

    def __init__(self) -> None:
        self.document: Any = None
        self.problems = Problems()
        self._open: list[_Open] = []
        self._documents = 0
        self._nodes = 0

    def feed(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event, "anchors and aliases are not supported")
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            self._refuse(event, "anchors and aliases are not supported")
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and event.tag not in (None, "!"):
            self._refuse(event, "tags are not supported")
        if isinstance(event, yaml.ScalarEvent):
            self._place(self._bounded(event), event)
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
        raise refusal(_where(event.start_mark), message)

    def _bounded(self, event: yaml.ScalarEvent) -> Any:
        if len(event.value) > MAX_SCALAR:
            self._refuse(event, f"a value has {len(event.value)} characters; {MAX_SCALAR} are the most")
        return _scalar(event)

    def _start(self, collection: dict[Any, Any] | list[Any], event: yaml.Event) -> None:
        if len(self._open) >= MAX_DEPTH:
            self._refuse(event, f"nested deeper than {MAX_DEPTH} levels")
        self._place(collection, event)
        self._open.append(_Open(collection))

    def _place(self, value: Any, event: yaml.Event) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._refuse(event, f"the configuration has more than {MAX_NODES} values")
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
            self._key(parent, value, event)

    def _key(self, parent: _Open, value: Any, event: yaml.Event) -> None:
        if isinstance(value, (dict, list)):
            self._refuse(event, "a key is a plain word or number")
        if isinstance(value, int) and value.bit_length() > _KEY_BITS:
            self._refuse(event, f"a number as a key has at most {_KEY_BITS} bits")
        name = str(value)
        if len(name) > MAX_KEY:
            self._refuse(event, f"a key has {len(name)} characters; {MAX_KEY} are the most")
        parent.key, parent.has_key = value, True
        if name in parent.names:
            self.problems.add(self._path(), "is given twice")
        parent.names.add(name)

    def _path(self) -> str:
        path = ""
        for each in self._open:
            path = below(path, each.step)
        return path
