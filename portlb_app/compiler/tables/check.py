"""Checks of servers: the way in by the tables that clients' packets pass, and the way of the answers to the controller.

Flows of CLASSIFY, NEIGHBOUR and ADVERTISE, on the switch of the checked servers. The controller has the switch send a
check as if it came from a side of its own, which it writes into the register itself, so no other packet can be taken
for one. From NEIGHBOUR on a check is a packet to the VIP like any other, but for the log of connections.

A server that is checked may send to the address that checks come from, and ask for its MAC address. What it sends there
goes to the controller and nowhere else, through a meter of its connector.
"""

from __future__ import annotations

from collections.abc import Iterator

from portlb_app.compiler.tables import advertise
from portlb_app.compiler.tables.neighbour import answers
from portlb_app.compiler.vip_on_switch import VipOnSwitch
from portlb_app.config import Address
from portlb_app.openflow import Flow, match
from portlb_app.pipeline import (
    CLASSIFY,
    FRAGMENT,
    NEIGHBOUR,
    SERVICE,
    Priority,
    Reason,
    Side,
    check_mac,
    family,
    flow,
    from_side,
    goto,
    make_cookie,
    punt,
)


def flows(local: VipOnSwitch) -> Iterator[Flow]:
    """The flows for a switch with servers that are checked; none without."""
    if not local.checked:
        return
    yield flow(
        CLASSIFY,
        Priority.FIRST,
        match(**from_side(Side.CHECK)),
        (goto(NEIGHBOUR),),
        make_cookie(Reason.CHECK),
        "the controller checks a server",
    )
    for address in local.vip.addresses:
        yield from _to_servers(local, address)
        yield from _to_controller(local, local.vip.check_address(address.version))


def _to_servers(local: VipOnSwitch, vip: Address) -> Iterator[Flow]:
    cookie, reason = make_cookie(Reason.CHECK, local.number), "a check of a server: as a client's packet"
    to_vip = match(**from_side(Side.CHECK), **family(vip).to(vip))
    yield flow(NEIGHBOUR, Priority.GENERAL, to_vip, (goto(FRAGMENT),), cookie, reason)
    for server in local.checked:
        for address in server.service_addresses:
            if address.version == vip.version:
                to_server = match(**from_side(Side.CHECK), **family(address).to(address))
                yield flow(NEIGHBOUR, Priority.GENERAL, to_server, (goto(SERVICE),), cookie, reason)


def _to_controller(local: VipOnSwitch, checker: Address) -> Iterator[Flow]:
    for port in local.checked_ports:
        source = {**from_side(Side.SERVER), "in_port": port}
        yield from answers(checker, check_mac(checker), 0, source, "a server asks for the address checks come from")
        yield flow(
            NEIGHBOUR,
            Priority.EXCEPTION,
            match(**source, **family(checker).to(checker)),
            punt(Reason.TO_CHECKER, port),
            make_cookie(Reason.TO_CHECKER, port=port),
            "a server answers a check: to the controller",
        )
    if checker.version == 6:
        yield advertise.answer(checker, check_mac(checker), 0)
