"""How values are written in ``lb.yaml``, as JSON Schema has it: beside the function that reads them."""

from __future__ import annotations

from typing import Any

from pydantic import WithJsonSchema

from portlb_app.config.values import MAX_SECOND_CHANCE


def shape(schema: dict[str, Any]) -> WithJsonSchema:
    """For an annotation: what the text of a value looks like, which is not what it becomes."""
    return WithJsonSchema(schema)


def pattern(text: str) -> dict[str, Any]:
    """A string of this form."""
    return {"type": "string", "pattern": f"^(?:{text})$"}


_ADDRESS = {"type": "string"}
_NUMBER_OR_TEXT = ["number", "string"]
CONNECTOR = pattern(r"[^:\s]+:[1-9][0-9]{0,5}")
ADDRESSES = {"anyOf": [_ADDRESS, {"type": "array", "items": _ADDRESS, "minItems": 1, "maxItems": 2}]}
FAIL_OPEN = {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 256}, pattern("never|[0-9]{1,3}%")]}
SECOND_CHANCES = {"anyOf": [{"type": "boolean"}, {"type": "integer", "minimum": 60, "maximum": MAX_SECOND_CHANCE}]}
SECONDS = {"type": _NUMBER_OR_TEXT}
_STATUS = {"anyOf": [{"type": "integer", "minimum": 100, "maximum": 599}, pattern("[1-5][0-9]{2}(-[1-5][0-9]{2})?")]}
STATUSES = {"anyOf": [*_STATUS["anyOf"], {"type": "array", "items": _STATUS, "minItems": 1, "maxItems": 16}]}
