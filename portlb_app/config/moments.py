"""Times as text (RFC 3339), to and from seconds since 1970 in UTC. The machine's clock and zone have no part in it."""

from __future__ import annotations

import calendar
import re

_FORM = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]{1,9})?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_DAY = 86400
_FIRST_YEAR, _LAST_YEAR = 1970, 9999


def parse(text: str) -> int:
    """The second that a text names; ValueError if it names none."""
    found = _FORM.fullmatch(text)
    if not found:
        raise ValueError("a time like 2026-12-01T06:00:00Z is expected")
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    ahead = int(found[8] or 0) * 60 + int(found[9] or 0)
    in_range = year >= _FIRST_YEAR and 1 <= month <= 12 and hour < 24 and minute < 60 and second < 60
    if not in_range or not 1 <= day <= calendar.monthrange(year, month)[1] or ahead >= 24 * 60:
        raise ValueError(f"there is no time {text}")
    return calendar.timegm((year, month, day, hour, minute, second)) - 60 * (-ahead if found[7] == "-" else ahead)


def text(seconds: float) -> str:
    """A second as text, in UTC."""
    days, within = divmod(int(seconds), _DAY)
    year = _FIRST_YEAR + days // 366
    while year < _LAST_YEAR and calendar.timegm((year + 1, 1, 1, 0, 0, 0)) <= days * _DAY:
        year += 1
    month = next(month for month in range(12, 0, -1) if calendar.timegm((year, month, 1, 0, 0, 0)) <= days * _DAY)
    day = 1 + days - calendar.timegm((year, month, 1, 0, 0, 0)) // _DAY
    return f"{year:04}-{month:02}-{day:02}T{within // 3600:02}:{within // 60 % 60:02}:{within % 60:02}Z"
