"""`portlb agent redirect`, `move` and `connections`: what is done to connections that are open."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable

from portlb_app.agent import loader, redirect
from portlb_app.agent.announcer import How
from portlb_app.agent.mapping import Address
from portlb_app.agent.record import Record

AddCommand = Callable[[str, str], argparse.ArgumentParser]


def register(add_command: AddCommand) -> None:
    """Add the commands; `add_command` takes a name and a summary."""
    parser = add_command("redirect", "on a server: tell clients to go on at another port of the VIP")
    parser.add_argument(
        "--from", dest="selection", required=True, metavar="WHICH",
        help="the connections: ADDRESS[:PORT] of a client ([IPV6]:PORT), or :PORT of this server",
    )  # fmt: skip
    parser.add_argument("--to", required=True, type=_port, metavar="PORT", help="service port or redirect port")
    how = parser.add_mutually_exclusive_group()
    for name, value, text in (
        ("--close", How.CLOSE, "the client closes by FIN when it is quiet, and opens anew (default)"),
        ("--reset", How.RESET, "the client resets at once, and opens anew"),
        ("--in-place", How.IN_PLACE, "the connection goes on; to a service port of this server only"),
    ):
        how.add_argument(name, dest="how", action="store_const", const=value, help=text)
    _add_timeout(parser, "; who has not followed by then is reset, or in place stays as it is")
    parser.set_defaults(run=_run_redirect, how=How.CLOSE)

    parser = add_command("move", "on a client: go on from another local port, in place")
    parser.add_argument("--local-port", required=True, type=_port, metavar="PORT", help="the connections' local port")
    parser.add_argument("--to", required=True, type=_port, metavar="PORT", help="one that programs do not get")
    _add_timeout(parser, "")
    parser.set_defaults(run=_run_move)

    parser = add_command("connections", "list the connections the agents of an interface know")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default %(default)s")
    parser.set_defaults(run=_run_connections)


def _add_timeout(parser: argparse.ArgumentParser, consequence: str) -> None:
    parser.add_argument(
        "--timeout", type=_seconds, default=redirect.TIMEOUT, metavar="SECONDS",
        help=f"how long the other end has to follow (default %(default)s){consequence}",
    )  # fmt: skip


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not {port}")
    return port


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 86400:
        raise argparse.ArgumentTypeError("must be more than 0, and 86400 at most")
    return seconds


def _run_redirect(arguments: argparse.Namespace) -> int:
    wanted = redirect.selection(arguments.selection)
    return _report(redirect.redirect(arguments.interface, wanted, arguments.to, arguments.how, arguments.timeout))


def _run_move(arguments: argparse.Namespace) -> int:
    return _report(redirect.move(arguments.interface, arguments.local_port, arguments.to, arguments.timeout))


def _report(outcome: redirect.Outcome) -> int:
    print(outcome)
    return 0 if outcome.complete else 1


def _run_connections(arguments: argparse.Namespace) -> int:
    known: list[tuple[str, Record]] = []
    with loader.agents(arguments.interface) as found:
        for role, agent in found:
            walk = agent.connections()
            known += ((role, each) for each in walk)
            if walk.cut:
                print(f"{role}: the list is cut: connections come and go faster than it is read", file=sys.stderr)
    if arguments.format == "json":
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
