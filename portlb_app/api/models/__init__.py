"""The shapes of answers, and of bodies that are taken: the OpenAPI document has them, and tests compare answers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    """Every member is named here; the docstring below a member is its description."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


Count = Annotated[int, Field(ge=0)]
Slots = dict[str, Count]
"""Slots by server; ``?`` for servers that the configuration does not name."""
Moment = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")]
"""A time (RFC 3339)."""
Port = Annotated[int, Field(ge=1, le=65535)]
