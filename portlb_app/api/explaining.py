"""``POST /v1/explain``: where a packet goes, and why, by what the switches were read to hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from portlb_app.api.messages import Response, json_text
from portlb_app.api.models.explaining import ExplainBody
from portlb_app.api.problem_details import failure
from portlb_app.api.routing import Call
from portlb_app.config import ConfigError
from portlb_app.config.problems import Problem
from portlb_app.config.strict_json import parse
from portlb_app.explain import PacketError

MAX_BODY = 4096
"""Bytes; the longest sound body has less than 600."""


@dataclass(frozen=True)
class Asked:
    """A packet that is to be followed. `slot`: the one that it has, where that is known."""

    text: str
    slot: int | None


def read(call: Call) -> Asked | Response:
    """What a request asks, or what is wrong with it."""
    if len(call.request.body) > MAX_BODY:
        return failure("too-large", f"a packet is said in at most {MAX_BODY} bytes")
    try:
        body = ExplainBody.model_validate(parse(call.request.body.decode()), strict=True)
    except UnicodeDecodeError as error:
        return _mistaken(Problem("", f"byte {error.start} is not UTF-8"))
    except ConfigError as error:
        return _mistaken(*error.errors)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        return _mistaken(*(Problem(".".join(map(str, each["loc"])), each["msg"]) for each in found))
    return Asked(body.packet, body.slot)


def response(found: dict[str, Any] | PacketError) -> Response:
    """The answer to what was asked."""
    if isinstance(found, PacketError):
        return _mistaken(Problem("packet", str(found)))
    return Response(200, json_text(found))


def _mistaken(*problems: Problem) -> Response:
    return failure("invalid-request", "the request does not say a packet", errors=problems)
