"""JSON (RFC 8259) from somebody who may be hostile: one reading only, and bounded by the text's length."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from portlb_app.config.problems import ConfigError, refusal


def parse(text: str) -> dict[str, Any]:
    """The object that a text is; ConfigError if it is none, or one with two meanings.

    NaN and Infinity are no JSON, and of a key that is given twice readers take the one or the other.
    """
    try:
        data = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise refusal(where, "not JSON, or cut short") from None
    except RecursionError:
        raise refusal("", "nested too deep") from None
    except ValueError:  # a number of thousands of digits
        raise refusal("", "a number is too long") from None
    if not isinstance(data, dict):
        raise refusal("", "a JSON object is expected")
    return data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise refusal(twice[:64], "is given twice")
    return found


def _refuse(constant: str) -> NoReturn:
    raise refusal("", f"{constant} is not JSON")


__all__ = ["ConfigError", "parse"]
