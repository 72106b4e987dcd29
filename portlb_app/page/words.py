"""Times and numbers as a reader wants them."""

from __future__ import annotations

from portlb_app.config import moments

_SPANS = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
_THOUSANDS = ("", "k", "M", "G", "T")


def span(seconds: float) -> str:
    """A length of time, in its two largest units."""
    whole = max(0, int(seconds))
    for large, unit, small, of in _SPANS:
        if whole >= large:
            rest = whole % large // small
            return f"{whole // large} {unit}" + (f" {rest} {of}" if rest else "")
    return f"{whole} s"


def ago(at: float | None, now: float) -> str:
    """How long ago something was; a dash if that is not known."""
    return "–" if at is None else f"{span(now - at)} ago"


def moment(at: float) -> str:
    """A time of day (Unix seconds) for programs."""
    return moments.text(at)


def clock(at: float) -> str:
    """The same for people, in UTC."""
    day, _, time = moments.text(at).partition("T")
    return f"{day} {time.removesuffix('Z')} UTC"


def rate(per_second: float, unit: str) -> str:
    """A number a second, with three digits at most."""
    number, index = per_second, 0
    while number >= 999.5 and index < len(_THOUSANDS) - 1:
        number, index = number / 1000, index + 1
    digits = f"{number:.0f}" if number >= 99.5 or number == int(number) else f"{number:.1f}"
    return f"{digits} {_THOUSANDS[index]}{unit}/s"


def share(part: int, whole: int) -> str:
    """A part of a whole, in per cent."""
    if not whole:
        return "–"
    found = 100 * part / whole
    return f"{found:.0f} %" if found in (0, 100) or found >= 9.95 else f"{found:.1f} %"
