"""``GET /v1/ask``: which slot and server a packet to a redirect port would get, asked of the switches themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from portlb_app.api.messages import Response, failure, json_text
from portlb_app.api.servers import read_query
from portlb_app.api.snapshot import Snapshot
from portlb_app.punt.asking import PROTOCOLS, Answer, Question

_KEYS = ("vip", "port", "protocol", "source", "source_port", "dscp")
_MOST = {"port": 65535, "source_port": 65535, "dscp": 63}


def read(query: str, snapshot: Snapshot) -> Question | Response:
    """What a query asks, or what is wrong with it."""
    given = read_query(query, _KEYS, snapshot)
    if isinstance(given, Response):
        return given
    given = {"protocol": "tcp", "dscp": "0", **given}
    if missing := [key for key in _KEYS if key not in given]:
        return failure(400, f"{missing[0]} is missing; there are {', '.join(_KEYS)}")
    numbers = {key: _number(given[key], most) for key, most in _MOST.items()}
    if wrong := next((key for key, number in numbers.items() if number is None), None):
        return failure(400, f"{wrong} is a number from 0 to {_MOST[wrong]}")
    if given["protocol"] not in PROTOCOLS:
        return failure(400, f"protocol is one of {', '.join(PROTOCOLS)}")
    try:
        source = ip_address(given["source"])
    except ValueError:
        return failure(400, "source is an IP address")
    vip = next(each for each in snapshot.config.vips if each.name == given["vip"])
    if all(address.version != source.version for address in vip.addresses):
        return failure(400, f"{vip.name} has no IPv{source.version} address")
    port = numbers["port"] or 0
    if vip.pool_on(port) is None:
        return failure(404, f"{port} is no redirect port of {vip.name}")
    protocol = PROTOCOLS[given["protocol"]]
    return Question(vip.name, port, protocol, source, numbers["source_port"] or 0, numbers["dscp"] or 0)


def response(question: Question, answers: Sequence[Answer], snapshot: Snapshot) -> Response:
    """The answer to a request. 503 if no switch could be asked, 504 if none has answered."""
    if not answers:
        return failure(503, "no switch is connected that such a packet would find a server by")
    if all(answer.slot is None for answer in answers):
        return failure(504, "no switch has answered")
    names = {switch.dpid: switch.name for switch in snapshot.config.switches}
    held = {switch.name: switch.held for switch in snapshot.status.switches}
    entered = {answer.server for answer in answers if answer.is_entrance}
    value = {
        "vip": question.vip,
        "port": question.port,
        "server": entered.pop() if len(entered) == 1 else None,
        "switches": [_answer(answer, question.vip, names[answer.dpid], held) for answer in answers],
    }
    return Response(200, json_text(value))


def _answer(answer: Answer, vip: str, name: str, held: Mapping[str, Any]) -> dict[str, Any]:
    """What one switch says; `held`: the server that it was read to give the slot to."""
    known = (held.get(name) or {}).get((vip, answer.pool))
    slots: Sequence[str | None] = known.servers if known is not None else ()
    return {
        "switch": name,
        "ports": list(answer.ingress_ports),
        "entrance": answer.is_entrance,
        "pool": answer.pool,
        "slot": answer.slot,
        "server": answer.server,
        "output": answer.output,
        "held": slots[answer.slot] if answer.slot is not None and answer.slot < len(slots) else None,
        "certain": answer.is_certain,
    }


def _number(text: str, most: int) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= 5) or int(text) > most:
        return None
    return int(text)
