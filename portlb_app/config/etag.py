"""Which configuration a request means: an entity tag over its text, and preconditions (RFC 9110, 13.1)."""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass

MEANT = 8
"""Tags of If-Match that are looked for in what is kept."""
_HASH = re.compile('"([0-9a-f]{32})"')
_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")\s*(?:,\s*|$)')


@functools.lru_cache(maxsize=8)
def etag(text: str) -> str:
    """The strong entity tag of a configuration's text, quotes included: equal for equal bytes, whenever they live."""
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def weak_etag(body: bytes) -> str:
    """The weak entity tag of any other answer: it says the same as one that had this tag."""
    return f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'


def is_known(none_match: str | None, tag: str) -> bool:
    """Whether a client that sends this If-None-Match has the answer with this tag already; compared weakly."""
    return none_match is not None and _names(none_match.replace("W/", ""), tag.removeprefix("W/"))


@dataclass(frozen=True)
class Precondition:
    """What must be true of the live configuration when a proposed one begins to replace it.

    `match` and `none_match` are the header fields If-Match and If-None-Match, None where they are not given.
    """

    match: str | None = None
    none_match: str | None = None

    def holds(self, text: str) -> bool:
        """Whether a request may change the configuration whose text this is.

        Tags are compared strongly: a weak one (``W/"…"``) and what is no tag at all match nothing.
        """
        if self.match is not None and not _names(self.match, etag(text)):
            return False
        return self.none_match is None or not _names(self.none_match, etag(text))

    @property
    def meant(self) -> tuple[str, ...]:
        """The hashes of the texts that If-Match names; empty where it names none, or any."""
        return tuple(dict.fromkeys(_HASH.findall(self.match or "")))[:MEANT]

    def is_unchanged(self, text: str) -> bool:
        """Whether a client that has what If-None-Match names has this text already."""
        return is_known(self.none_match, etag(text))


ANY = Precondition()
"""No condition."""


def _names(field: str, tag: str) -> bool:
    field = field.strip()
    if field == "*":
        return True
    found, at = False, 0
    while at < len(field):
        item = _TAG.match(field, at)
        if item is None:
            return False
        found = found or (not item[1] and item[2] == tag)
        at = item.end()
    return found
