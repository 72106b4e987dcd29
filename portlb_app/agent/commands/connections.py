"""`portlb agent connections`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys

from portlb_app.agent import running
from portlb_app.agent.commands.register import AddCommand
from portlb_app.agent.mapping import Address
from portlb_app.agent.record import Record


def register(add_command: AddCommand) -> None:
    """Add the command."""
    parser = add_command("connections", "list the connections the agents of an interface know")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default %(default)s")
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    known: list[tuple[str, Record]] = []
    with running.agents(given.interface) as found:
        for role, agent in found:
            walk = agent.connections()
            known += ((role, each) for each in walk)
            if walk.cut:
                print(f"{role}: the list is cut: connections come and go faster than it is read", file=sys.stderr)
    if given.format == "json":
        print(json.dumps([{"role": role, **_plain(each)} for role, each in known], indent=2))
        return 0
    print(f"{'role':<7} {'client':<45} {'on the wire':<14} {'program':<12} {'state':<8} idle")
    for role, each in known:
        print(f"{role:<7} {_client(each):<45} {_wire(each):<14} {_program(each):<12} {each.state:<8} {each.idle:.0f} s")
    return 0


def _plain(each: Record) -> dict[str, object]:
    return {**dataclasses.asdict(each), "client": str(each.client), "vip": str(each.vip)}


def _at(address: Address, port: int) -> str:
    return f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"


def _client(each: Record) -> str:
    moved = f" (wire {each.client_wire})" if each.client_wire != each.client_port else ""
    return _at(each.client, each.client_port) + moved


def _wire(each: Record) -> str:
    """Opened, and where it has gone on; what has been announced, and not followed yet, in brackets."""
    gone_on = f" → {each.wire}" if each.wire != each.opened else ""
    gone_on += f" by {each.name}" if each.name else ""
    return f"{each.opened}{gone_on}" + (f" ({each.target}?)" if each.moving else "")


def _program(each: Record) -> str:
    return f"{each.port}" + (" (leaving)" if each.leaving else "")
