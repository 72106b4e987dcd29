"""Times and durations on the command line."""

from __future__ import annotations

import argparse
import datetime
import re

from portlb_app.config import moments

_DURATION = re.compile(r"([0-9]{1,8})([smhd]?)")
_OF_DAY = re.compile(r"([0-9]{1,2}):([0-9]{2})")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: str) -> float:
    """Seconds, from a number with or without a unit: 90, 90s, 10m, 2h, 1d; ArgumentTypeError."""
    found = _DURATION.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration like 90s, 10m, 2h or 1d")
    return float(int(found[1]) * _SECONDS[found[2]])


def moment(text: str) -> str:
    """A time (RFC 3339): as it is given, or in so long, or the next time that it is so late here; ArgumentTypeError."""
    now = datetime.datetime.now().astimezone()
    if found := _OF_DAY.fullmatch(text):
        if int(found[1]) > 23 or int(found[2]) > 59:
            raise argparse.ArgumentTypeError(f"{text!r} is no time of day")
        then = now.replace(hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0)
        if then <= now:
            then += datetime.timedelta(days=1)
        return moments.text(then.timestamp())
    if _DURATION.fullmatch(text):
        return moments.text(now.timestamp() + duration(text))
    try:
        return moments.text(moments.parse(text))
    except ValueError as error:
        known = "2026-12-01T06:00:00Z, a time of day like 06:00, or a duration like 2h"
        raise argparse.ArgumentTypeError(f"{text!r} is no time: say {known}") from error
