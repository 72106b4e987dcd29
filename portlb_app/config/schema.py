"""The shape of ``lb.yaml`` as JSON Schema (2020-12), made of the entries: editors complete keys by it.

It says what a text may look like. Whether what it says fits together, only loading finds out.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from portlb_app.config.check_entries import CheckEntry
from portlb_app.config.entries import (
    Entry,
    IcmpEntry,
    RedirectPortEntry,
    ServerEntry,
    ServicePortEntry,
    SwitchEntry,
    VipEntry,
)
from portlb_app.config.selection_entries import SelectionEntry, WhenEntry
from portlb_app.config.shapes import CONNECTOR

_ENTRIES: tuple[type[Entry], ...] = (
    *(CheckEntry, IcmpEntry, RedirectPortEntry, SelectionEntry, ServerEntry, ServicePortEntry, SwitchEntry, VipEntry),
    WhenEntry,
)
_NAME = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
_PORT = "^[1-9][0-9]{0,4}$"


def file_schema() -> dict[str, Any]:
    """The whole schema."""
    _, made = models_json_schema([(entry, "validation") for entry in _ENTRIES])
    found: dict[str, Any] = made["$defs"]
    for entry in _ENTRIES:
        if entry.required:
            found[entry.__name__]["required"] = list(entry.required)
    inner = {
        ("VipEntry", "redirect_ports"): _named(_PORT, _ref(RedirectPortEntry)),
        ("VipEntry", "icmp"): _ref(IcmpEntry),
        ("RedirectPortEntry", "selection"): {"anyOf": [{"type": "string"}, _ref(SelectionEntry)]},
        ("RedirectPortEntry", "when"): {"type": "array", "items": _ref(WhenEntry)},
        ("ServerEntry", "service_ports"): {
            "type": "array",
            "items": {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 65535}, _ref(ServicePortEntry)]},
        },
        **{(name, "check"): _ref(CheckEntry) for name in ("VipEntry", "RedirectPortEntry", "ServerEntry")},
    }
    for (name, key), schema in inner.items():
        found[name]["properties"][key] = {"anyOf": [schema, {"type": "null"}]}
    connectors = {"type": "array", "items": CONNECTOR, "minItems": 2, "maxItems": 2}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lb.yaml",
        "type": "object",
        "additionalProperties": False,
        "required": ["switches"],
        "properties": {
            "switches": _named(_NAME, _ref(SwitchEntry)),
            "links": {"anyOf": [{"type": "array", "items": connectors}, {"type": "null"}]},
            "vips": _named(_NAME, _ref(VipEntry)),
            "servers": _named(_NAME, _ref(ServerEntry)),
        },
        "$defs": found,
    }


def _ref(entry: type[Entry]) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{entry.__name__}"}


def _named(names: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A mapping of such names."""
    return {"type": "object", "patternProperties": {names: schema}, "additionalProperties": False}
