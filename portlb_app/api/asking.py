"""``GET /v1/ask``: which slot and server a packet to a redirect port would get, asked of the switches themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from portlb_app.api.messages import Response, json_text
from portlb_app.api.problem_details import failure
from portlb_app.api.routing import Call, Parameter
from portlb_app.api.snapshot import Snapshot
from portlb_app.config.problems import printable
from portlb_app.punt.asking import PROTOCOLS, Answer, Question
from portlb_app.topology.conditions import HeldSlots, PoolKey

QUERY = (
    Parameter("vip", "The VIP that the packet goes to"),
    Parameter("port", "Its redirect port", numbers=(1, 65535)),
    Parameter("source", "The IP address that it comes from"),
    Parameter("source_port", "The port that it comes from", numbers=(1, 65535)),
    Parameter("protocol", "tcp if it is not given", words=tuple(PROTOCOLS)),
    Parameter("dscp", "Its DSCP; 0 if it is not given", numbers=(1, 63)),
)
_NEEDED = ("vip", "port", "source", "source_port")

Held = Mapping[str, Mapping[PoolKey, HeldSlots] | None]


def read(call: Call) -> Question | Response:
    """What a query asks, or what is wrong with it."""
    given = call.query
    for key in _NEEDED:
        if key not in given:
            return failure("bad-query", f"{key} is missing; {', '.join(_NEEDED)} are needed")
    try:
        source = ip_address(given["source"])
    except ValueError:
        return failure("bad-query", f"{printable(given['source'])} is no IP address")
    vip = next((each for each in call.snapshot.config.vips if each.name == given["vip"]), None)
    if vip is None:
        return failure("not-found", f"there is no VIP {printable(given['vip'])}")
    if all(address.version != source.version for address in vip.addresses):
        return failure("bad-query", f"{vip.name} has no IPv{source.version} address")
    port = int(given["port"])
    if vip.pool_on(port) is None:
        return failure("not-found", f"{port} is no redirect port of {vip.name}")
    protocol = PROTOCOLS[given.get("protocol", "tcp")]
    return Question(vip.name, port, protocol, source, int(given["source_port"]), int(given.get("dscp", 0)))


def response(question: Question, answers: Sequence[Answer], snapshot: Snapshot) -> Response:
    """The answer to a request."""
    if not answers:
        return failure("no-switch", "no switch is connected that such a packet would find a server by")
    if all(answer.slot is None for answer in answers):
        return failure("timed-out", "no switch has answered")
    names = {switch.dpid: switch.name for switch in snapshot.config.switches}
    held = {switch.name: switch.held for switch in snapshot.status.switches}
    entered = {answer.server for answer in answers if answer.is_entrance}
    value = {
        "vip": question.vip,
        "port": question.port,
        "server": entered.pop() if len(entered) == 1 else None,
        "switches": [_answer(answer, question.vip, names.get(answer.dpid, ""), held) for answer in answers],
    }
    return Response(200, json_text(value))


def _answer(answer: Answer, vip: str, name: str, held: Held) -> dict[str, Any]:
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
